"""The demonstration: the recipes of ``examples/demo``, on real and on simulated data, and a report."""

from parallactic.pipeline.demo.evla import CASA, evla_section
from parallactic.pipeline.demo.main import main
from parallactic.pipeline.demo.simulated import simulated_section

__all__ = ["CASA", "evla_section", "main", "simulated_section"]
