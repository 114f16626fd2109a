from __future__ import annotations

import pytest
from detectron2.config import CfgNode

from prolab_d2 import ProLabError
from prolab_d2.modeling.decode_heads import FCNHead, UPerNetHead, build_decode_head
from tests.modeling.head_tester import INPUT_SHAPE, make_features


def test_head_of_the_config(tiny_cfg: CfgNode) -> None:
    node = tiny_cfg.MODEL.DECODE_HEAD
    node.CHANNELS = 10
    node.POOL_SCALES = [1, 3]
    head = build_decode_head(node, INPUT_SHAPE)
    assert type(head) is UPerNetHead
    assert head.out_channels == 10
    assert len(head.psp_modules) == 2
    assert head(make_features((64, 64))).shape == (2, 10, 16, 16)


def test_auxiliary_head_of_the_config(tiny_cfg: CfgNode) -> None:
    head = build_decode_head(tiny_cfg.MODEL.AUX_HEAD, INPUT_SHAPE)
    assert type(head) is FCNHead
    assert (head.in_features, len(head.convs), head.conv_cat) == (("res4",), 1, None)


def test_fcn_head_follows_its_keys(tiny_cfg: CfgNode) -> None:
    node = tiny_cfg.MODEL.AUX_HEAD
    node.NUM_CONVS, node.CONCAT_INPUT = 3, True
    head = build_decode_head(node, INPUT_SHAPE)
    assert len(head.convs) == 3
    assert head.conv_cat is not None


def test_unknown_head_is_one_sentence(tiny_cfg: CfgNode) -> None:
    tiny_cfg.MODEL.DECODE_HEAD.NAME = "UperHead"
    with pytest.raises(ProLabError, match=r"'UperHead'.*'FCNHead'.*'UPerNetHead'"):
        build_decode_head(tiny_cfg.MODEL.DECODE_HEAD, INPUT_SHAPE)
