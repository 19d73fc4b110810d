"""Imaging: weights, dirty image, CLEAN, restored image, over any executor."""

from parallactic.tasks.tclean.task import ImagingSummary, tclean

__all__ = ["ImagingSummary", "tclean"]
