"""What Detectron2 0.6 needs to run with today's NumPy, Pillow and setuptools, uncompiled.

Detectron2's last release is from 2021. Everything in it that newer libraries broke is mended here,
each change under a name. In the release, every edit must match exactly as often as it says; the
official repository has mended some of this itself, so there an edit may match nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import InstallError

__all__ = ["EDITS", "PORTABLE_EDITS", "Edit", "apply_edits"]


@dataclass(frozen=True)
class Edit:
    """One named change to the sources of Detectron2.

    Attributes:
        name: short name, printed when the edit is applied.
        why: the reason, one clause.
        files: globs below the folder `detectron2/`.
        pattern: regular expression (multi-line); what it matches is replaced.
        replacement: the new text, with group references.
        places: number of matches in release 0.6.
    """

    name: str
    why: str
    files: tuple[str, ...]
    pattern: str
    replacement: str
    places: int

    def apply_to(self, text: str) -> tuple[str, int]:
        """The changed text and the number of changes."""
        return re.subn(self.pattern, self.replacement, text, flags=re.MULTILINE)


EDITS: tuple[Edit, ...] = (
    Edit(
        name="numpy-aliases",
        why="NumPy 1.24 removed np.int, np.float, np.bool, np.object and np.str",
        files=("**/*.py",),
        pattern=r"\bnp\.(bool|int|float|object|str)\b",
        replacement=r"\1",
        places=19,
    ),
    Edit(
        name="numpy-copy",
        why="in NumPy 2, copy=False forbids a copy instead of avoiding it",
        files=("layers/mask_ops.py",),
        pattern=r"np\.array\((\w+), copy=False\)",
        replacement=r"np.asarray(\1)",
        places=1,
    ),
    Edit(
        name="numpy-copy-of-masks",
        why="the same in the evaluator of the repository, which the release does not have",
        files=("evaluation/sem_seg_evaluation.py",),
        pattern=r"np\.array\(Image\.open\(f\), copy=copy, dtype=dtype\)",
        replacement=r"np.array(Image.open(f), dtype=dtype)",
        places=0,
    ),
    Edit(
        name="pillow-linear",
        why="Pillow 10 removed Image.LINEAR, another name of BILINEAR",
        files=("**/*.py",),
        pattern=r"\bImage\.LINEAR\b",
        replacement="Image.BILINEAR",
        places=1,
    ),
    Edit(
        name="optional-operators",
        why="deformable convolution and rotated boxes import compiled operators at once; "
        "without them only these layers fail, when they are used",
        files=("layers/deform_conv.py", "layers/roi_align_rotated.py", "layers/rotated_boxes.py"),
        pattern=r"^from detectron2 import _C$",
        replacement=(
            "try:\n"
            "    from detectron2 import _C\n"
            "except ImportError:  # installed without compiled operators\n"
            "    _C = None"
        ),
        places=3,
    ),
    Edit(
        name="optional-fast-coco",
        why="the fast COCO evaluation is compiled; pycocotools' own takes its place",
        files=("evaluation/coco_evaluation.py",),
        pattern=r"^from detectron2\.evaluation\.fast_eval_api import COCOeval_opt$",
        replacement=(
            "try:\n"
            "    from detectron2.evaluation.fast_eval_api import COCOeval_opt\n"
            "except ImportError:  # installed without compiled operators\n"
            "    COCOeval_opt = COCOeval"
        ),
        places=1,
    ),
    Edit(
        name="model-zoo-import",
        why="setuptools 82 removed pkg_resources",
        files=("model_zoo/model_zoo.py",),
        pattern=r"^import pkg_resources\n",
        replacement="",
        places=1,
    ),
    Edit(
        name="model-zoo-path",
        why="the only use of pkg_resources",
        files=("model_zoo/model_zoo.py",),
        pattern=(
            r"pkg_resources\.resource_filename\(\s*"
            r'"detectron2\.model_zoo", os\.path\.join\("configs", config_path\)\s*\)'
        ),
        replacement='os.path.join(os.path.dirname(__file__), "configs", config_path)',
        places=1,
    ),
    Edit(
        name="optional-pycocotools",
        why="pycocotools is compiled and has no wheel for every Python; only COCO's own formats "
        "need it",
        files=("**/*.py",),
        pattern=r"^import pycocotools\.mask as mask_util$",
        replacement=(
            "try:\n"
            "    import pycocotools.mask as mask_util\n"
            "except ImportError:  # needed for run-length encoded masks\n"
            "    mask_util = None"
        ),
        places=8,
    ),
    Edit(
        name="optional-pycocotools-classes",
        why="the same for the classes that COCO's evaluators derive from",
        files=("**/*.py",),
        pattern=r"^(from pycocotools\.\w+ import (\w+))(, \w+)?$",
        replacement=(
            "try:\n"
            "    \\1\\3\n"
            "except ImportError:  # needed for COCO's own metrics\n"
            "    \\2 = object"
        ),
        places=4,
    ),
)

PORTABLE_EDITS: tuple[Edit, ...] = (
    Edit(
        name="fallback-packages",
        why="packages that the other machine may have in a better version are found last",
        files=("__init__.py",),
        pattern=r"\A",
        replacement=(
            "import os as _os\n"
            "import sys as _sys\n"
            "\n"
            "_sys.path.append(_os.path.join(_os.path.dirname(_os.path.dirname(__file__)), "
            '"fallback"))\n'
            "\n"
        ),
        places=1,
    ),
)


def apply_edits(package: Path, edits: Sequence[Edit], exact: bool) -> dict[str, int]:
    """Applies `edits` to the sources in `package`, in place.

    Args:
        package: the folder `detectron2/` of the sources.
        edits: what to change.
        exact: every edit must match as often as it says (release 0.6).
    Returns:
        Number of changes by name of the edit.
    Raises:
        InstallError: an edit matches more or less often than it should.
    """
    changes: dict[str, int] = {}
    for edit in edits:
        changes[edit.name] = 0
        for path in sorted({path for glob in edit.files for path in package.glob(glob)}):
            text, count = edit.apply_to(path.read_text(encoding="utf-8"))
            if count:
                path.write_text(text, encoding="utf-8")
                changes[edit.name] += count
        if exact and changes[edit.name] != edit.places:
            raise InstallError(
                f"the edit '{edit.name}' matches {changes[edit.name]} places of Detectron2's "
                f"sources instead of {edit.places}: these are not the sources of release 0.6, "
                "take them from the package index or from --source git"
            )
    return changes
