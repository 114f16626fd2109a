"""The edits that let Detectron2's release of 2021 run with the libraries of today."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools.sources import write

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import install_detectron2 as tool
from _detectron2_installer.edits import EDITS, PORTABLE_EDITS, Edit, apply_edits
from _detectron2_installer.errors import InstallError

# One miniature source per edit: file, text before, text after.
MINIATURES: dict[str, tuple[str, str, str]] = {
    "numpy-aliases": (
        "data/build.py",
        "a = np.zeros(3, dtype=np.int)\nb = c.astype(np.bool)\nd = np.int64(np.floor(1.5))\n",
        "a = np.zeros(3, dtype=int)\nb = c.astype(bool)\nd = np.int64(np.floor(1.5))\n",
    ),
    "numpy-copy": (
        "layers/mask_ops.py",
        "mask = np.array(mask, copy=False)\n",
        "mask = np.asarray(mask)\n",
    ),
    "numpy-copy-of-masks": (
        "evaluation/sem_seg_evaluation.py",
        "array = np.array(Image.open(f), copy=copy, dtype=dtype)\n",
        "array = np.array(Image.open(f), dtype=dtype)\n",
    ),
    "pillow-linear": (
        "data/transforms/transform.py",
        "def resize(image, interp=Image.LINEAR, fill=0): ...\n",
        "def resize(image, interp=Image.BILINEAR, fill=0): ...\n",
    ),
    "optional-operators": (
        "layers/rotated_boxes.py",
        "from detectron2 import _C\n\n\ndef iou(a, b):\n    return _C.box_iou_rotated(a, b)\n",
        "try:\n    from detectron2 import _C\n"
        "except ImportError:  # installed without compiled operators\n    _C = None\n"
        "\n\ndef iou(a, b):\n    return _C.box_iou_rotated(a, b)\n",
    ),
    "optional-fast-coco": (
        "evaluation/coco_evaluation.py",
        "from detectron2.evaluation.fast_eval_api import COCOeval_opt\n",
        "try:\n    from detectron2.evaluation.fast_eval_api import COCOeval_opt\n"
        "except ImportError:  # installed without compiled operators\n"
        "    COCOeval_opt = COCOeval\n",
    ),
    "model-zoo-import": ("model_zoo/model_zoo.py", "import pkg_resources\nx = 1\n", "x = 1\n"),
    "model-zoo-path": (
        "model_zoo/model_zoo.py",
        "cfg_file = pkg_resources.resource_filename(\n"
        '    "detectron2.model_zoo", os.path.join("configs", config_path)\n)\n',
        'cfg_file = os.path.join(os.path.dirname(__file__), "configs", config_path)\n',
    ),
    "optional-pycocotools": (
        "structures/masks.py",
        "import pycocotools.mask as mask_util\n",
        "try:\n    import pycocotools.mask as mask_util\n"
        "except ImportError:  # needed for run-length encoded masks\n    mask_util = None\n",
    ),
    "optional-pycocotools-classes": (
        "evaluation/rotated_coco_evaluation.py",
        "from pycocotools.cocoeval import COCOeval, maskUtils\n",
        "try:\n    from pycocotools.cocoeval import COCOeval, maskUtils\n"
        "except ImportError:  # needed for COCO's own metrics\n    COCOeval = object\n",
    ),
    "fallback-packages": (
        "__init__.py",
        "x = 1\n",
        "import os as _os\nimport sys as _sys\n\n"
        "_sys.path.append(_os.path.join(_os.path.dirname(_os.path.dirname(__file__)), "
        '"fallback"))\n\nx = 1\n',
    ),
}
ALL_EDITS = EDITS + PORTABLE_EDITS


@pytest.mark.parametrize("edit", ALL_EDITS, ids=lambda edit: edit.name)
def test_each_edit_changes_its_miniature_source(edit: Edit, tmp_path: Path) -> None:
    name, before, after = MINIATURES[edit.name]
    package = write(tmp_path, {name: before, "untouched.py": "x = 1\n"})
    apply_edits(package, [edit], exact=False)
    assert (package / name).read_text() == after
    assert (package / "untouched.py").read_text() == "x = 1\n"
    compile(after, name, "exec")


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.name)
def test_an_edit_leaves_edited_sources_alone(edit: Edit) -> None:
    _, _, after = MINIATURES[edit.name]
    assert edit.apply_to(after) == (after, 0)


def test_edits_have_names_of_their_own_and_reasons() -> None:
    assert len({edit.name for edit in ALL_EDITS}) == len(ALL_EDITS)
    assert all(edit.why and edit.files for edit in ALL_EDITS)
    assert set(MINIATURES) == {edit.name for edit in ALL_EDITS}


def test_an_edit_that_matches_nothing_is_an_error_in_the_release(tmp_path: Path) -> None:
    (edit,) = [edit for edit in EDITS if edit.name == "pillow-linear"]
    package = write(tmp_path, {"data/transforms/transform.py": "interp = Image.BILINEAR\n"})
    with pytest.raises(InstallError, match="'pillow-linear' matches 0 places .* instead of 1"):
        apply_edits(package, [edit], exact=True)
    assert apply_edits(package, [edit], exact=False) == {"pillow-linear": 0}


def test_unguarded_operators_import_and_fail_only_when_used(tmp_path: Path) -> None:
    name, before, _ = MINIATURES["optional-operators"]
    package = write(tmp_path / "detectron2", {"__init__.py": "", name: before})
    apply_edits(package, EDITS, exact=False)
    code = "from detectron2.layers import rotated_boxes as r; assert r._C is None; r.iou(1, 2)"
    run = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.stderr.strip().endswith("has no attribute 'box_iou_rotated'")


def test_the_installed_detectron2_carries_every_edit() -> None:
    version = importlib.metadata.version("detectron2")
    if version != tool.VERSIONS["release"]:
        pytest.skip(f"Detectron2 {version} was not installed by this tool")
    found = importlib.metadata.distribution("detectron2").locate_file("detectron2")
    package = Path(str(found))
    sources = {path: path.read_text() for path in package.rglob("*.py")}
    assert len(sources) > 150
    for edit in EDITS:
        files = {path for glob in edit.files for path in package.glob(glob)}
        assert files, edit.name
        assert not [path for path in files if edit.apply_to(sources[path])[1]], edit.name
