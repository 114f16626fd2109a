"""A folder of images, segmented and explained, as one HTML page that needs nothing else."""

from prolab_d2.report.writer import ReportWriter

__all__ = ["ReportWriter"]
