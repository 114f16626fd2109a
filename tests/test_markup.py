from __future__ import annotations

import base64
import hashlib

from prolab_d2.markup import escape, integrity


def test_markup_becomes_text_in_elements_and_attributes() -> None:
    assert escape("<b a=\"x\" c='y'>&</b>") == (
        "&lt;b a=&quot;x&quot; c=&#x27;y&#x27;&gt;&amp;&lt;/b&gt;"
    )


def test_what_is_no_character_is_replaced() -> None:
    name = b"a\xff\x01.png".decode("utf-8", "surrogateescape")
    assert escape(name) == "a\ufffd\ufffd.png"
    escape(name).encode("utf-8")
    assert escape("two\nlines\tand 家具 🚲") == "two\nlines\tand 家具 🚲"


def test_long_text_ends_in_an_ellipsis() -> None:
    assert escape("abcdef", 6) == "abcdef"
    assert escape("abcdefg", 6) == "abcde\u2026"
    assert escape("<" * 9, 3) == "&lt;&lt;\u2026"


def test_integrity_is_the_hash_that_browsers_compute() -> None:
    digest = base64.b64encode(hashlib.sha256("é".encode()).digest()).decode()
    assert integrity("é") == f"sha256-{digest}"
