"""RASCIL's way of working: predict, corrupt, calibrate, invert and deconvolve, by frequency window.

    python imaging.py                               # on the backend of PARALLACTIC_BACKEND, else on Dask
    PARALLACTIC_BACKEND=mpi python imaging.py       # the same graph on MPI
    python imaging.py here                          # no workers: functions are called at once

RASCIL's data models and workflows are not needed: the functions below take arrays, and the kernels of
Parallactic do the work.
"""

import logging
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from parallactic.kernels.deconvolution.hogbom import hogbom
from parallactic.kernels.deconvolution.restore import restore
from parallactic.kernels.imaging.beam import fit_beam
from parallactic.kernels.imaging.geometry import ImageGeometry
from parallactic.kernels.imaging.gridding import dirty_image, predict, psf_image
from parallactic.kernels.imaging.visibilities import Visibilities
from parallactic.kernels.solving.stefcal import solve_gains
from parallactic.rsexecute import rsexecute

log = logging.getLogger("imaging")
here = Path.cwd()

WINDOWS = [1.30e9, 1.35e9, 1.40e9, 1.45e9]  # Hz, the middle of each
ANTENNAS = 16
GEOMETRY = ImageGeometry(128, 128, 2e-5, 2e-5)  # 128 pixels of 4 arcsec
SOURCES = {(64, 64): 1.0, (80, 70): 0.6, (50, 90): 0.3}  # pixel: Jy at 1.4 GHz; they fall as 1/frequency
FIRST, SECOND = np.triu_indices(ANTENNAS, k=1)


def observe(middle: float) -> Visibilities:
    """Return where an array of 16 antennas has measured in 6 h: the tracks, without values yet."""
    east, north = np.random.default_rng(1).normal(0.0, 800.0, (2, ANTENNAS))
    latitude, declination = np.radians(34.0), np.radians(50.0)
    x, y, z = -np.sin(latitude) * north, east, np.cos(latitude) * north
    tracks = []
    for hour in np.linspace(-3.0, 3.0, 12) * np.pi / 12:
        u = np.sin(hour) * x + np.cos(hour) * y
        towards = np.cos(hour) * x - np.sin(hour) * y
        v = -np.sin(declination) * towards + np.cos(declination) * z
        w = np.cos(declination) * towards + np.sin(declination) * z
        positions = np.stack([u, v, w], axis=-1)
        tracks.append(positions[SECOND] - positions[FIRST])
    uvw = np.concatenate(tracks)
    frequency = middle + np.array([-1e6, 1e6])
    shape = len(uvw), len(frequency)
    return Visibilities(uvw, frequency, np.zeros(shape, np.complex64), np.ones(shape, np.float32))


def sky(middle: float) -> np.ndarray:
    """Return the model image of one window, Jy/pixel."""
    image = np.zeros(GEOMETRY.shape)
    for pixel, flux in SOURCES.items():
        image[pixel] = flux * 1.4e9 / middle
    return image


def predicted(vis: Visibilities, model: np.ndarray) -> Visibilities:
    values = predict(model, vis.uvw, vis.frequency, GEOMETRY)
    return replace(vis, values=values.astype(np.complex64))


def corrupted(vis: Visibilities, seed: int) -> Visibilities:
    """Multiply by the gains of the antennas, and add noise of 20 mJy."""
    rng = np.random.default_rng(seed)
    gains = rng.normal(1.0, 0.1, ANTENNAS) * np.exp(1j * rng.uniform(-np.pi, np.pi, ANTENNAS))
    times = len(vis.uvw) // len(FIRST)
    factor = np.tile(gains[FIRST] * gains[SECOND].conj(), times)[:, None]
    noise = rng.normal(0.0, 0.02, (2, *vis.values.shape))
    return replace(vis, values=(factor * vis.values + noise[0] + 1j * noise[1]).astype(np.complex64))


def calibrated(vis: Visibilities, model: Visibilities) -> Visibilities:
    """Solve for one gain of each antenna, and divide by them."""
    shape = -1, len(FIRST), vis.values.shape[1]
    seen, true = vis.values.reshape(shape), model.values.reshape(shape).astype(complex)
    weight = np.sum(np.abs(true) ** 2, axis=(0, 2))
    ratio = np.sum(seen * true.conj(), axis=(0, 2)) / weight
    V, weights = np.zeros((1, ANTENNAS, ANTENNAS), complex), np.zeros((1, ANTENNAS, ANTENNAS))
    V[0, FIRST, SECOND], V[0, SECOND, FIRST] = ratio, ratio.conj()
    weights[0, FIRST, SECOND] = weights[0, SECOND, FIRST] = weight
    (gains,) = solve_gains(V, weights).gains
    log.info("solved for %d gains", gains.size)
    factor = gains[FIRST] * gains[SECOND].conj()
    return replace(vis, values=(seen / factor[:, None]).reshape(vis.values.shape).astype(np.complex64))


def inverted(vis: Visibilities) -> tuple[np.ndarray, np.ndarray]:
    """Return the dirty image and the PSF, Jy/beam."""
    total = vis.weight.sum(dtype=float)
    return dirty_image(vis, vis.weight, GEOMETRY) / total, psf_image(vis, vis.weight, GEOMETRY) / total


def deconvolved(dirty: np.ndarray, psf: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the model and the residual of 500 iterations of Hogbom's CLEAN."""
    done = hogbom(dirty, psf, np.ones(dirty.shape, bool), gain=0.1, iterations=500)
    return done.model, done.residual


def restored(model: np.ndarray, residual: np.ndarray, psf: np.ndarray) -> np.ndarray:
    return restore(model, residual, fit_beam(psf, GEOMETRY), GEOMETRY)


def mean(images: list[np.ndarray]) -> np.ndarray:
    return np.mean(images, axis=0)


def continuum_graph() -> tuple[object, list[object]]:
    """Return the nodes of the continuum image and of each window's model. Nothing runs yet."""
    execute = rsexecute.execute
    models = [execute(sky)(middle) for middle in WINDOWS]
    tracks = [execute(observe)(middle) for middle in WINDOWS]
    truth = [execute(predicted)(vis, model) for vis, model in zip(tracks, models, strict=True)]
    seen = [execute(corrupted)(vis, seed) for seed, vis in enumerate(truth)]
    ready = [execute(calibrated)(vis, model) for vis, model in zip(seen, truth, strict=True)]
    cleaned, images = [], []
    for vis in ready:
        dirty, psf = execute(inverted, nout=2)(vis)
        model, residual = execute(deconvolved, nout=2)(dirty, psf)
        cleaned.append(model)
        images.append(execute(restored)(model, residual, psf))
    return execute(mean)(images), cleaned


def init_logging() -> None:
    """What every worker begins with, also one that comes later."""
    form = "%(process)d %(asctime)s %(name)s %(levelname)s %(message)s"
    logging.basicConfig(filename=f"{here}/imaging.log", filemode="a", format=form, level=logging.INFO)


if len(sys.argv) > 1 and sys.argv[1] == "here":
    rsexecute.set_client(use_dask=False)
else:
    rsexecute.set_client(use_dask=True)
rsexecute.run(init_logging)
rsexecute.init_statistics()

continuum, cleaned = rsexecute.compute(continuum_graph(), sync=True)
statistics = rsexecute.save_statistics("imaging")
print(statistics)

for pixel, flux in SOURCES.items():
    x, y = pixel
    around = slice(x - 2, x + 3), slice(y - 2, y + 3)
    for middle, model in zip(WINDOWS, cleaned, strict=True):
        found, true = model[around].sum(), flux * 1.4e9 / middle
        print(f"{middle / 1e9:.2f} GHz, pixel {pixel}: {found:.3f} Jy, put in {true:.3f} Jy")
        # 2880 values of 20 mJy noise in each part: 0.4 mJy; CLEAN leaves the last per cent in the residual.
        assert abs(found - true) < 0.02
print(f"continuum: {continuum.max():.9f} Jy/beam at most")
assert np.unravel_index(continuum.argmax(), continuum.shape) == (64, 64)
rsexecute.close()
