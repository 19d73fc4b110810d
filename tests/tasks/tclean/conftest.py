"""A field of three known sources, to be read only."""

from __future__ import annotations

import pytest
from tclean_checks import CELL, DEC, NOTHING, RA, Field

from parallactic.measurementset.simulation import (
    Observation,
    Scan,
    SkyField,
    Source,
    Window,
    simulate,
)

SOURCES = (
    Source(i=1.0, l=40 * CELL, m=-25 * CELL),
    Source(i=0.5, v=0.1, l=-60 * CELL, m=70 * CELL),
    Source(i=0.3, q=0.05, l=85 * CELL, m=80 * CELL),
)


@pytest.fixture(scope="session")
def field(tmp_path_factory: pytest.TempPathFactory) -> Field:
    """Two spectral windows of 6 channels, 14 antennas, 2 scans of 20 integrations: 7,280 rows."""
    path = tmp_path_factory.mktemp("field") / "field.ms"
    observation = Observation(
        fields=(SkyField("TARGET", RA, DEC, "OBSERVE_TARGET#ON_SOURCE", SOURCES),),
        windows=(Window(1.40e9, 4e6, 6), Window(1.50e9, 4e6, 6)),
        scans=(Scan("TARGET", 20), Scan("TARGET", 20)),
        nantennas=14,
        integration=60.0,
        gap=1800.0,
        effects=NOTHING,
        sefd=0.0,
        seed=7,
    )
    simulate(path, observation)
    return Field(path, SOURCES)
