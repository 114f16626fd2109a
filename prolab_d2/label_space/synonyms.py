"""Names under which data sets know the same category."""

from __future__ import annotations

__all__ = ["PARTS", "SYNONYMS", "concept"]

# What one data set calls so, another calls otherwise; both have the same sentences in the label
# spaces that come with the package.
SYNONYMS = {
    "aeroplane": "airplane",
    "building-other": "building",
    "ceiling-other": "ceiling",
    "cone": "traffic cone",
    "desk-stuff": "desk",
    "diningtable": "dining table",
    "door-stuff": "door",
    "drop": "waterdrops",
    "fire place": "fireplace",
    "floor-other": "floor",
    "food-other": "food",
    "fridge": "refrigerator",
    "ground-other": "ground",
    "minibike": "motorcycle",
    "mirror-stuff": "mirror",
    "motorbike": "motorcycle",
    "picture": "painting",
    "pillar": "column",
    "plant-other": "plant",
    "pottedplant": "potted plant",
    "racket": "tennis racket",
    "railroad": "track",
    "range hood": "hood",
    "remote control": "remote",
    "shelves": "shelf",
    "sidewalk": "pavement",
    "sign": "traffic sign",
    "signal light": "traffic light",
    "ski": "skis",
    "sky-other": "sky",
    "sofa": "couch",
    "stair": "stairs",
    "sunshade": "awning",
    "television receiver": "tv",
    "toy": "plaything",
    "trash bin": "ashcan",
    "tvmonitor": "tv",
    "wall-other": "wall",
    "washing machine": "washer",
    "water-other": "water",
    "wharf": "pier",
    "window blinds": "blind",
    "window-blind": "blind",
    "window-other": "window",
    "windowpane": "window",
    "wineglass": "wine glass",
}
# A data set's only name for most of what another has under a wider one. The sentences differ, but
# who has learnt one has seen the other.
PARTS = {"pedestrian": "person", "sign symbol": "traffic sign"}


def concept(name: str) -> str:
    """One name for all that mean the same, in lower case."""
    name = " ".join(name.lower().split())
    name = SYNONYMS.get(name, name)
    return PARTS.get(name, name)
