"""Label spaces: categories described by properties, as data.

Importing it needs NumPy and safetensors only. scikit-learn and sentence-transformers are loaded
when something is clustered or embedded.
"""

from __future__ import annotations

from prolab_d2.label_space.builder import build_label_space
from prolab_d2.label_space.clustering import Clusters, auto_num_properties, cluster, cut_tree
from prolab_d2.label_space.descriptions import read_descriptions
from prolab_d2.label_space.embedding import SentenceEncoder, load_encoder
from prolab_d2.label_space.label_space import LabelSpace, Property
from prolab_d2.label_space.quality import Cure, Quality, measure_quality, propose_cure
from prolab_d2.label_space.release import read_release
from prolab_d2.label_space.report import Summary, summarize
from prolab_d2.label_space.storage import is_label_space, shipped_label_spaces

__all__ = [
    "Clusters",
    "Cure",
    "LabelSpace",
    "Property",
    "Quality",
    "SentenceEncoder",
    "Summary",
    "auto_num_properties",
    "build_label_space",
    "cluster",
    "cut_tree",
    "is_label_space",
    "load_encoder",
    "measure_quality",
    "propose_cure",
    "read_descriptions",
    "read_release",
    "shipped_label_spaces",
    "summarize",
]
