"""Flagging: which samples of a block of visibilities are bad."""

from parallactic.kernels.flagging.clip import clip
from parallactic.kernels.flagging.count import count_axes
from parallactic.kernels.flagging.expression import Expression
from parallactic.kernels.flagging.extend import extend_blocks
from parallactic.kernels.flagging.quack import quack, scan_bounds
from parallactic.kernels.flagging.tfcrop import TfcropParameters, tfcrop_blocks

__all__ = [
    "Expression",
    "TfcropParameters",
    "clip",
    "count_axes",
    "extend_blocks",
    "quack",
    "scan_bounds",
    "tfcrop_blocks",
]
