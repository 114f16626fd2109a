from __future__ import annotations

import copy

import yaml
from detectron2.config import CfgNode

from prolab_d2.engine import load_config


def test_a_checkpoint_of_another_detectron2_has_keys_that_are_unknown_here(
    tiny_cfg: CfgNode,
) -> None:
    expected = yaml.safe_load(tiny_cfg.dump())
    stored = copy.deepcopy(expected)
    stored["SOLVER"]["KEY_OF_ANOTHER_VERSION"] = 3
    stored["GROUP_OF_ANOTHER_VERSION"] = {"KEY": "value"}
    del stored["SOLVER"]["NESTEROV"]
    cfg = load_config(None, text=yaml.safe_dump(stored))
    assert yaml.safe_load(cfg.dump()) == expected
