"""Solving for antenna gains, and using them."""

from parallactic.kernels.solving.averaging import BaselineSums, baseline_matrix, combine_ratios
from parallactic.kernels.solving.correction import correct
from parallactic.kernels.solving.delay import DelaySolution, solve_delays
from parallactic.kernels.solving.interpolation import (
    Interpolation,
    fill_gaps,
    interpolate_frequency,
    interpolate_time,
)
from parallactic.kernels.solving.modes import CalMode, constrain_data, constrain_gains, formal_errors
from parallactic.kernels.solving.normalise import bandpass_norms, gain_norm
from parallactic.kernels.solving.reference import RefantMode, refer_phases
from parallactic.kernels.solving.stefcal import GainSolution, prune, solve_gains

__all__ = [
    "BaselineSums",
    "CalMode",
    "DelaySolution",
    "GainSolution",
    "Interpolation",
    "RefantMode",
    "bandpass_norms",
    "baseline_matrix",
    "combine_ratios",
    "constrain_data",
    "constrain_gains",
    "correct",
    "fill_gaps",
    "formal_errors",
    "gain_norm",
    "interpolate_frequency",
    "interpolate_time",
    "prune",
    "refer_phases",
    "solve_delays",
    "solve_gains",
]
