from __future__ import annotations

import numpy as np
import pytest
import torch

from prolab_d2.data.property_targets import PropertyTargets, make_property_targets
from prolab_d2.errors import ProLabError

SIGNATURES = torch.tensor([[1, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]], dtype=torch.bool)
MASK = torch.tensor([[0, 1, 255], [2, 255, 1]])


def test_multi_hot_holds_the_signature_of_every_labelled_pixel_and_zero_elsewhere() -> None:
    targets = make_property_targets(MASK, SIGNATURES, 255)
    dense = targets.multi_hot()
    assert dense.shape == (4, 2, 3) and dense.dtype == torch.float32
    for y in range(2):
        for x in range(3):
            label = int(MASK[y, x])
            expected = torch.zeros(4) if label == 255 else SIGNATURES[label].float()
            assert torch.equal(dense[:, y, x], expected)
    assert torch.equal(targets.valid, torch.tensor([[True, True, False], [True, False, True]]))


def test_mask_and_table_are_not_copied() -> None:
    targets = make_property_targets(MASK, SIGNATURES, 255)
    assert targets.mask.data_ptr() == MASK.data_ptr()
    assert targets.signatures.data_ptr() == SIGNATURES.data_ptr()


def test_numpy_arrays_and_small_integer_types_are_accepted() -> None:
    targets = make_property_targets(MASK.numpy().astype(np.uint8), SIGNATURES.numpy(), 255)
    assert targets.mask.dtype == torch.int64
    assert torch.equal(
        targets.multi_hot(), make_property_targets(MASK, SIGNATURES, 255).multi_hot()
    )


def test_255_is_a_category_like_any_other_when_there_are_more_than_255() -> None:
    signatures = torch.rand(300, 5) > 0.5
    mask = torch.tensor([[255, 299, 65535]])
    targets = make_property_targets(mask, signatures, 65535)
    assert targets.valid.tolist() == [[True, True, False]]
    assert torch.equal(targets.multi_hot()[:, 0, 0], signatures[255].float())
    assert not targets.multi_hot()[:, 0, 2].any()


@pytest.mark.parametrize("unknown", [3, 254, -1, 256])
def test_unknown_ids_are_refused_and_named(unknown: int) -> None:
    mask = MASK.clone()
    mask[1, 0] = unknown
    with pytest.raises(ProLabError, match=f"label id {unknown} .*0..2 and 255"):
        make_property_targets(mask, SIGNATURES, 255)


def test_ignore_label_may_lie_anywhere_outside_the_categories() -> None:
    assert not make_property_targets(torch.tensor([[-1]]), SIGNATURES, -1).valid.any()
    with pytest.raises(ProLabError, match="ignore_label 2 is also the id of a category"):
        make_property_targets(MASK, SIGNATURES, 2)


@pytest.mark.parametrize(
    ("mask", "signatures", "message"),
    [
        (MASK.float(), SIGNATURES, "integer tensor"),
        (MASK[0], SIGNATURES, r"\(H, W\)"),
        (MASK, SIGNATURES.float(), r"\(N, K\) bool"),
        (MASK, SIGNATURES[0], r"\(N, K\) bool"),
    ],
)
def test_wrong_shapes_and_types_are_refused(mask, signatures, message) -> None:
    with pytest.raises(ProLabError, match=message):
        make_property_targets(mask, signatures, 255)


def test_an_empty_or_unlabelled_mask_is_fine() -> None:
    assert make_property_targets(torch.empty(0, 5).long(), SIGNATURES, 255).valid.shape == (0, 5)
    unlabelled = make_property_targets(torch.full((2, 2), 255), SIGNATURES, 255)
    assert not unlabelled.valid.any() and not unlabelled.multi_hot().any()


def test_moving_keeps_type_and_content() -> None:
    moved = make_property_targets(MASK, SIGNATURES, 255).to("cpu")
    assert isinstance(moved, PropertyTargets)
    assert torch.equal(moved.mask, MASK) and moved.ignore_label == 255
