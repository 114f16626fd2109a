"""Why a pixel, a region or a category got its answer: numbers, in words and from many images.

`evidence` takes a score apart, `contrast` the difference of two scores, `changes` finds what would
have to be different; all take the unit activations of a pixel or their mean over a region.
`unknown` finds what fits no category, `statistics` and `blame` look at a data set.
"""

from prolab_d2.explain.blame import Blame, blame_properties
from prolab_d2.explain.changes import Change, Changes, find_changes
from prolab_d2.explain.contrast import Contrast, Term, contrast_categories
from prolab_d2.explain.evidence import Evidence, Explanation, explain_pixel
from prolab_d2.explain.findings import Finding, doubtful_first, find_categories
from prolab_d2.explain.regions import pixel_mask, polygon_mask, segment_mask
from prolab_d2.explain.statistics import ExplanationStatistics
from prolab_d2.explain.unknown import UnknownRegion, unknown_map

__all__ = [
    "Blame",
    "Change",
    "Changes",
    "Contrast",
    "Evidence",
    "Explanation",
    "ExplanationStatistics",
    "Finding",
    "Term",
    "UnknownRegion",
    "blame_properties",
    "contrast_categories",
    "doubtful_first",
    "explain_pixel",
    "find_categories",
    "find_changes",
    "pixel_mask",
    "polygon_mask",
    "segment_mask",
    "unknown_map",
]
