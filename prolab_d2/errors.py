"""The error for everything a user can mend, and how command-line tools report it."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable

__all__ = ["ProLabError", "exit_cleanly", "first_line"]


class ProLabError(ValueError):
    """Input that cannot be used. The message is one sentence: what, where, how to mend."""


def first_line(error: BaseException) -> str:
    """What another library's error says, short enough for brackets in a sentence of ours."""
    lines = str(error).strip().splitlines()
    return lines[0][:200].rstrip(" .:;") if lines else type(error).__name__


_MARKER = f"{ProLabError.__name__}: "


def _sentence(error: BaseException) -> str:
    """The sentence of an error, also after a worker process has wrapped it in its traceback."""
    text = str(error).strip()
    if "Traceback (most recent call last)" in text and _MARKER in text:
        text = text[text.rfind(_MARKER) + len(_MARKER) :].strip()
    return text


def exit_cleanly(main: Callable[..., int | None]) -> Callable[..., int]:
    """Turns a `ProLabError` into one line on stderr and exit code 2, an interrupt into code 130.

    Where nobody reads the output any more (`| head`), the program ends with code 141, as others do.
    """

    @functools.wraps(main)
    def wrapped(*args, **kwargs) -> int:
        try:
            code = main(*args, **kwargs) or 0
            sys.stdout.flush()
            return code
        except BrokenPipeError:
            # Nor may the interpreter complain when it flushes at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        except ProLabError as error:
            print(f"error: {_sentence(error)}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130
        except Exception as error:
            # torch.multiprocessing hands on what a process of a distributed run has raised.
            if type(error).__name__ != "ProcessRaisedException" or _MARKER not in str(error):
                raise
            print(f"error: {_sentence(error)}", file=sys.stderr)
            return 2

    return wrapped
