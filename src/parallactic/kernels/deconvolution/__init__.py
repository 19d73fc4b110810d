"""Deconvolution: Högbom's minor cycle, the control of Cotton-Schwab, the restored image."""

from parallactic.kernels.deconvolution.control import CleanControl, StopReason, robust_rms
from parallactic.kernels.deconvolution.hogbom import MinorCycle, hogbom, peak
from parallactic.kernels.deconvolution.restore import restore

__all__ = ["CleanControl", "MinorCycle", "StopReason", "hogbom", "peak", "restore", "robust_rms"]
