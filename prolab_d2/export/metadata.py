"""What an exported file says about itself, so that it can be used without anything else.

Shapes: K properties, N categories.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode

from prolab_d2._version import __version__
from prolab_d2.export.graph import InferenceGraph
from prolab_d2.predictor import Predictor

__all__ = ["describe"]

FORMAT_VERSION = 1


def describe(predictor: Predictor, cfg: CfgNode, graph: InferenceGraph) -> dict[str, Any]:
    """The metadata of an exported file, for JSON.

    Returns:
        "format_version", "prolab_d2", "torch": versions; "supervision": "property" or "category";
        "categories": N names in the order of the ids, "colors": N triples of 0 to 255;
        "label_space_hash"; with property supervision "properties": K names, "signatures": N lists
        of indices of properties, "similarity", "temperature", and "property_weights": K numbers
        that the scores of the graph have in them, or None;
        "pixel_format": always "RGB", "pixel_mean": 3 values of 0 to 255, to fill up images with;
        "input_type"; "size": [H, W] or None for any multiples of "size_divisibility", and
        "min_size_test" and "max_size_test", the sides to which the checkpoint's config resizes an
        image; "outputs": names in their order; "resized": the scores have the size of the image;
        "stride": pixels a cell of properties, and of scores that are not resized.
    """
    space, options = predictor.label_space, graph.options
    mean = graph.mean.flatten().tolist()
    result = {
        "format_version": FORMAT_VERSION,
        "prolab_d2": __version__,
        "torch": str(torch.__version__),
        "supervision": predictor.model.supervision,
        "categories": list(space.categories),
        "colors": [list(map(int, color)) for color in predictor.metadata.stuff_colors],
        "label_space_hash": space.hash,
        "pixel_format": "RGB",
        "pixel_mean": mean[::-1] if graph.flip_channels else mean,
        "input_type": options.input_type,
        "size": None if options.size is None else list(options.size),
        "size_divisibility": graph.divisor,
        "min_size_test": int(cfg.INPUT.MIN_SIZE_TEST),
        "max_size_test": int(cfg.INPUT.MAX_SIZE_TEST),
        "outputs": graph.output_names,
        "resized": options.resize or options.output == "labels",
        "stride": graph.stride,
    }
    if graph.is_property:
        weights = space.property_weights
        result |= {
            "properties": [entry.name for entry in space.properties],
            "signatures": [np.flatnonzero(row).tolist() for row in space.signatures],
            "similarity": graph.property_space.similarity,
            "temperature": graph.property_space.temperature,
            "property_weights": None if weights is None else weights.tolist(),
        }
    return result
