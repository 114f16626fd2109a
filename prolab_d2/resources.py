"""Where the files that come with the package lie: label spaces and configs.

In a checkout they are top-level folders; an installed package carries copies of them.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["resource_folder"]

_PACKAGE = Path(__file__).resolve().parent
_PLACES = {
    "label_spaces": (_PACKAGE / "_resources/label_spaces", _PACKAGE.parent / "label_spaces"),
    "configs": (_PACKAGE / "_resources/configs", _PACKAGE.parent / "projects/ProLab/configs"),
}


def resource_folder(kind: str) -> Path:
    """The folder of "label_spaces" or "configs" that belongs to this package.

    Raises:
        FileNotFoundError: the installation carries no such folder.
    """
    for place in _PLACES[kind]:
        if place.is_dir():
            return place
    raise FileNotFoundError(f"this installation of prolab_d2 has no {kind} folder; reinstall it")
