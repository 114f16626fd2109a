"""The error of the installer."""

from __future__ import annotations

__all__ = ["InstallError"]


class InstallError(Exception):
    """Detectron2 could not be installed. The message is one sentence: what, where, how to mend."""
