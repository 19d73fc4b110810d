"""Imaging: weights, gridding and degridding, the beam, the primary beam."""

from parallactic.kernels.imaging.beam import Beam, beam_image, fit_beam, sidelobe_level
from parallactic.kernels.imaging.geometry import SPEED_OF_LIGHT, ImageGeometry
from parallactic.kernels.imaging.gridding import EPSILON, dirty_image, predict, psf_image, residual_image
from parallactic.kernels.imaging.phasecenter import direction_cosines, rephase, separation
from parallactic.kernels.imaging.primarybeam import airy_power, primary_beam
from parallactic.kernels.imaging.visibilities import Visibilities, stokes_i
from parallactic.kernels.imaging.weighting import Weighting, briggs_factor, density, imaging_weight

__all__ = [
    "EPSILON",
    "SPEED_OF_LIGHT",
    "Beam",
    "ImageGeometry",
    "Visibilities",
    "Weighting",
    "airy_power",
    "beam_image",
    "briggs_factor",
    "density",
    "direction_cosines",
    "dirty_image",
    "fit_beam",
    "imaging_weight",
    "predict",
    "primary_beam",
    "psf_image",
    "rephase",
    "residual_image",
    "separation",
    "sidelobe_level",
    "stokes_i",
]
