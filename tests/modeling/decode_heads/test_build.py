from __future__ import annotations

import sys
from pathlib import Path

import pytest
from detectron2.config import CfgNode

from prolab_d2 import ProLabError
from prolab_d2.modeling import decode_heads
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


def test_a_new_head_is_one_file(
    tiny_cfg: CfgNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "first_head.py").write_text(
        "from prolab_d2.modeling.decode_heads.base import DECODE_HEADS_REGISTRY, DecodeHead\n"
        "@DECODE_HEADS_REGISTRY.register()\n"
        "class FirstHead(DecodeHead):\n"
        "    def forward(self, features):\n"
        "        return features[self.in_features[0]]\n"
    )
    monkeypatch.setattr(decode_heads, "__path__", [*decode_heads.__path__, str(tmp_path)])
    monkeypatch.setattr(decode_heads.DECODE_HEADS_REGISTRY, "_obj_map", {})
    decode_heads._register_heads()
    tiny_cfg.MODEL.DECODE_HEAD.NAME = "FirstHead"
    features = make_features((64, 64))
    assert build_decode_head(tiny_cfg.MODEL.DECODE_HEAD, INPUT_SHAPE)(features) is features["res2"]
    sys.modules.pop(f"{decode_heads.__name__}.first_head")


def test_unknown_head_is_one_sentence(tiny_cfg: CfgNode) -> None:
    tiny_cfg.MODEL.DECODE_HEAD.NAME = "UperHead"
    with pytest.raises(ProLabError, match=r"'UperHead'.*'FCNHead'.*'UPerNetHead'"):
        build_decode_head(tiny_cfg.MODEL.DECODE_HEAD, INPUT_SHAPE)
