"""Simulated MeasurementSets: known sources, a known instrument, interference and noise, and the truth."""

from parallactic.measurementset.simulation.array import Geometry, Layout, vla_layout
from parallactic.measurementset.simulation.instrument import Effects, Instrument
from parallactic.measurementset.simulation.observation import Observation, Scan, SkyField, Window
from parallactic.measurementset.simulation.presets import RFI_LEVELS, RfiLevel, standard_observation
from parallactic.measurementset.simulation.rfi import Rfi, RfiKind
from parallactic.measurementset.simulation.simulate import simulate
from parallactic.measurementset.simulation.sky import Feeds, Source, visibilities
from parallactic.measurementset.simulation.truth import Truth

__all__ = [
    "RFI_LEVELS",
    "Effects",
    "Feeds",
    "Geometry",
    "Instrument",
    "Layout",
    "Observation",
    "Rfi",
    "RfiKind",
    "RfiLevel",
    "Scan",
    "SkyField",
    "Source",
    "Truth",
    "Window",
    "simulate",
    "standard_observation",
    "visibilities",
    "vla_layout",
]
