"""A label space whose texts would do harm if they were taken as markup; a page, taken apart."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import numpy as np

from prolab_d2 import LabelSpace

SEPARATORS = "line\u2028and\u2029paragraph\nend\ttab"
NASTY = (
    "<script>window.hurt = 1</script>",
    '"quoted" \'twice\' & </script><img src=x onerror="window.hurt = 1">',
    SEPARATORS,
    "{{data}} {{title}} \\u003c $& \\1",
    "<!-- <script> ]]>",
    "שלום مرحبا 家具 🚲",
    "__proto__",
    "long " * 80,
)


def nasty_space() -> LabelSpace:
    """8 categories, 10 properties, 4 sentences for every category."""
    n, k = len(NASTY), 10
    sentences = {
        name: [f"{name} {i} </script><script>window.hurt = 1</script>" for i in range(4)]
        for name in NASTY
    }
    assigned = (np.arange(4 * n) * 3) % k
    signatures = np.zeros((n, k), dtype=bool)
    signatures[np.repeat(np.arange(n), 4), assigned] = True
    return LabelSpace.from_arrays(
        list(sentences),
        np.random.default_rng(0).normal(size=(k, 6)),
        signatures,
        [f"{NASTY[i % n]} {i}" for i in range(k)],
        sentences,
        {"llm": "<img src=x onerror=alert(1)>", "clustering": {"</script>": ["<b>", 1, None]}},
        property_of_description=assigned,
    )


VOID = {"meta", "input", "br", "link", "img"}


class Page(HTMLParser):
    """The elements of a page, and what every script and style holds."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.contents: list[tuple[str, str]] = []
        self.text: list[str] = []
        self.faults: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("script", "style"):
            self.contents.append((tag, ""))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> at line {self.getpos()[0]}")

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            tag, before = self.contents[-1]
            self.contents[-1] = (tag, before + data)
        else:
            self.text.append(data)

    @property
    def scripts(self) -> list[str]:
        return [content for tag, content in self.contents if tag == "script"]

    @property
    def style(self) -> str:
        (content,) = [content for tag, content in self.contents if tag == "style"]
        return content

    @property
    def data(self) -> dict[str, object]:
        return json.loads(self.scripts[0])
