"""Text of others inside HTML pages, and the hashes that let a page's own parts run."""

from __future__ import annotations

import base64
import hashlib
import html
import unicodedata

__all__ = ["escape", "integrity"]


def escape(text: str, longest: int | None = None) -> str:
    """Text as HTML that shows it and does nothing else, in an element or a quoted attribute.

    What is no character (bytes of a file name that are no text, control characters) becomes U+FFFD.

    Args:
        longest: characters above which the text is cut and ends in an ellipsis.
    """
    if longest is not None and len(text) > longest:
        text = text[: longest - 1].rstrip() + "\u2026"
    shown = (
        "\ufffd" if unicodedata.category(c) in ("Cc", "Cs") and c not in "\t\n" else c for c in text
    )
    return html.escape("".join(shown))


def integrity(content: str) -> str:
    """The source expression of a content security policy that allows exactly this content."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
