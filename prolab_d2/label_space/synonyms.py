"""Names under which data sets know the same category."""

from __future__ import annotations

__all__ = ["PARTS", "SYNONYMS", "concept"]

# What one data set calls so, another calls otherwise; both have the same sentences in the label
# spaces that come with the package.
SYNONYMS = {
    "aeroplane": "airplane",
    "building-other": "building",
    "ceiling-other": "ceiling",
    "desk-stuff": "desk",
    "diningtable": "dining table",
    "door-stuff": "door",
    "floor-other": "floor",
    "food-other": "food",
    "ground-other": "ground",
    "minibike": "motorcycle",
    "mirror-stuff": "mirror",
    "motorbike": "motorcycle",
    "plant-other": "plant",
    "pottedplant": "potted plant",
    "railroad": "track",
    "shelves": "shelf",
    "sidewalk": "pavement",
    "sign": "traffic sign",
    "sky-other": "sky",
    "sofa": "couch",
    "television receiver": "tv",
    "tvmonitor": "tv",
    "wall-other": "wall",
    "water-other": "water",
    "window-blind": "blind",
    "window-other": "window",
    "windowpane": "window",
}
# A data set's only name for most of what another has under a wider one. The sentences differ, but
# who has learnt one has seen the other.
PARTS = {"pedestrian": "person", "sign symbol": "traffic sign"}


def concept(name: str) -> str:
    """One name for all that mean the same, in lower case."""
    name = " ".join(name.lower().split())
    name = SYNONYMS.get(name, name)
    return PARTS.get(name, name)
