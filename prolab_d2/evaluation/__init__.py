"""Evaluators for Detectron2's loop, and the metrics behind them as plain functions."""

from prolab_d2.evaluation.property_evaluator import PropertyEvaluator
from prolab_d2.evaluation.property_metrics import PropertyMetrics
from prolab_d2.evaluation.reporting import mean_results
from prolab_d2.evaluation.sem_seg_evaluator import SemSegEvaluator
from prolab_d2.evaluation.sem_seg_metrics import SemSegMetrics, confusion_matrix

__all__ = [
    "PropertyEvaluator",
    "PropertyMetrics",
    "SemSegEvaluator",
    "SemSegMetrics",
    "confusion_matrix",
    "mean_results",
]
