from __future__ import annotations

from prolab_d2.modeling.key_map import segmentor_names


def test_published_names_keep_their_place_but_for_the_projection() -> None:
    expected = {
        "backbone.blocks.0.attn.qkv.weight": "backbone.blocks.0.attn.qkv.weight",
        "decode_head.conv_seg.weight": "projection.weight",
        "decode_head.lateral_convs.0.conv.weight": "decode_head.lateral_convs.0.conv.weight",
        "auxiliary_head.conv_seg.bias": "aux_projection.bias",
        "auxiliary_head.convs.0.bn.weight": "aux_head.convs.0.bn.weight",
    }
    assert segmentor_names(expected) == expected
