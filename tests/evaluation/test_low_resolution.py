from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from prolab_d2 import Predictor, ProLabError
from prolab_d2.data import register_folder
from prolab_d2.evaluation.low_resolution import category_places, places_of_labels
from tests.conftest import TINY_CATEGORIES


def test_case_and_spaces_of_names_do_not_matter() -> None:
    """As in training."""
    assert category_places(["Bus", "sign  Symbol", "x"], ["sign symbol", "bus"]).tolist() == [
        1, 0, -1,
    ]  # fmt: skip


def test_labels_of_a_data_set_in_the_label_space_of_a_model(
    tiny_checkpoint: Path, tiny_dataset_folder: Path
) -> None:
    predictor = Predictor.from_checkpoint(tiny_checkpoint, "cpu")
    names = [*reversed(TINY_CATEGORIES), "something else"]
    file = tiny_dataset_folder / "categories.txt"
    file.write_text("".join(f"{name.title()}\n" for name in names))
    places = places_of_labels(register_folder(tiny_dataset_folder)["val"], predictor)
    np.testing.assert_array_equal(places, [4, 3, 2, 1, 0, -1, -1])
    file.write_text("".join(f"other {i}\n" for i in range(5)))
    other = register_folder(tiny_dataset_folder)["val"]
    with pytest.raises(ProLabError, match=f"{other} has no category of the checkpoint's .*'sky'"):
        places_of_labels(other, predictor)
    with pytest.raises(ProLabError, match="data set nowhere is not known"):
        places_of_labels("nowhere", predictor)
