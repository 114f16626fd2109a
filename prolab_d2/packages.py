"""Models inside installed Python packages, named "package:NAME" wherever a model is asked for."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from prolab_d2.errors import ProLabError

__all__ = ["PACKAGE", "package_folder"]

PACKAGE = "package:"


def package_folder(source: str, what: str) -> Path:
    """Where the package of "package:NAME" lies. Nothing of it is imported.

    Args:
        what: the setting or kind of model that names it, for the message.
    Raises:
        ProLabError: no such package is installed.
    """
    name = source.removeprefix(PACKAGE)
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ProLabError(
            f"{what}: the Python package {name!r} is not installed: run "
            f"`pip install --no-deps {name.replace('_', '-')}`"
        )
    return Path(next(iter(spec.submodule_search_locations)))
