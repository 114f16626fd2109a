"""The error for everything a user can mend, and how command-line tools report it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable

__all__ = ["ProLabError", "exit_cleanly"]


class ProLabError(ValueError):
    """Input that cannot be used. The message is one sentence: what, where, how to mend."""


def _sentence(error: BaseException) -> str:
    """The sentence of an error, also after a worker process has wrapped it in its traceback."""
    text = str(error).strip()
    if "Traceback (most recent call last)" in text:
        marker = f"{ProLabError.__name__}: "
        text = text[text.rfind(marker) + len(marker) :].strip() if marker in text else text
    return text


def exit_cleanly(main: Callable[..., int | None]) -> Callable[..., int]:
    """Turns a `ProLabError` into one line on stderr and exit code 2, an interrupt into code 130."""

    @functools.wraps(main)
    def wrapped(*args, **kwargs) -> int:
        try:
            return main(*args, **kwargs) or 0
        except ProLabError as error:
            print(f"error: {_sentence(error)}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130

    return wrapped
