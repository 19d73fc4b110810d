"""MeasurementSets and multi-MSs: reading, writing, selecting, making."""

from parallactic.measurementset.columns import add_columns
from parallactic.measurementset.create import Rows, create_ms
from parallactic.measurementset.index import Index
from parallactic.measurementset.measures import find_measures
from parallactic.measurementset.metadata import (
    Antenna,
    DataDescription,
    Field,
    Observation,
    Polarization,
    SpectralWindow,
    State,
)
from parallactic.measurementset.ms import MeasurementSet
from parallactic.measurementset.multims import build_multi_ms
from parallactic.measurementset.selection import Selected, Selection
from parallactic.measurementset.staging import check_output, staged

__all__ = [
    "Antenna",
    "DataDescription",
    "Field",
    "Index",
    "MeasurementSet",
    "Observation",
    "Polarization",
    "Rows",
    "Selected",
    "Selection",
    "SpectralWindow",
    "State",
    "add_columns",
    "build_multi_ms",
    "check_output",
    "create_ms",
    "staged",
]

find_measures()
