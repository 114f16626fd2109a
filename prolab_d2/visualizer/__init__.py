"""Pictures of predictions: overlay, evidence, contrast, property heat maps, all of it on one sheet.

Every function takes and returns RGB pictures, uint8 arrays of shape (H, W, 3). Sizes suit a laptop
screen: small images are enlarged, large ones reduced, texts are wrapped to the room they have and
never cut. Colours of evidence and heat maps can be told apart with every kind of colour vision.
"""

from prolab_d2.canvas import contact_sheet
from prolab_d2.visualizer.contrast import draw_contrast
from prolab_d2.visualizer.evidence import draw_explanation
from prolab_d2.visualizer.heatmaps import heat_map, property_heatmap_sheet, telling_properties
from prolab_d2.visualizer.overlay import (
    SegmentationVisualizer,
    draw_segmentation,
    label_metadata,
    mark_region,
)
from prolab_d2.visualizer.sheet import draw_sheet

__all__ = [
    "SegmentationVisualizer",
    "contact_sheet",
    "draw_contrast",
    "draw_explanation",
    "draw_segmentation",
    "draw_sheet",
    "heat_map",
    "label_metadata",
    "mark_region",
    "property_heatmap_sheet",
    "telling_properties",
]
