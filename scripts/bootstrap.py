"""Make ``.venv`` and install Parallactic into it, on a machine that has Python 3.11 and nothing else.

Called by the Makefile through ``bootstrap.sh``, with the name of a profile: ``demo`` or ``test``. It uses
the standard library alone. Debian's ``python3`` comes without pip and without ``ensurepip``, so that pip is
sought in several places, and each step is said in one line. A stamp inside ``.venv`` makes the second call
immediate.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"

#: The Python itself, not the one of an activated environment, which may be the very one to be made anew.
BASE_PYTHON = getattr(sys, "_base_executable", None) or sys.executable

#: What each profile installs, as extras of pyproject.toml. A later profile holds all of an earlier one.
PROFILES = {"demo": ("tasks",), "test": ("all", "dev")}

#: Debian's packages that the profile ``test`` uses: commands that they bring, and packages. The tests start
#: daemons of their own with them; without them these tests say so.
DEBIAN_TEST = {
    ("munged", "slurmctld", "slurmd", "sbatch"): ("munge", "slurmctld", "slurmd", "slurm-client"),
    ("sshd", "ssh-keygen"): ("openssh-server", "openssh-client"),
}

#: Where Debian's package python3-pip-whl puts the wheel that its ensurepip installs from.
DEBIAN_WHEELS = Path("usr/share/python-wheels")


class SetupError(Exception):
    """The set-up cannot go on; the text tells the person what to do."""


def say(text: str) -> None:
    """Tell what is being done, before any output of the step itself."""
    print(f"[set-up] {text}", flush=True)


def clean_environment() -> dict[str, str]:
    """Return the caller's environment (proxies and indexes too) without what leads pip out of ``.venv``."""
    foreign = {
        "PYTHONHOME",
        "PYTHONPATH",
        "PIP_USER",
        "PIP_TARGET",
        "PIP_PREFIX",
        "PIP_PYTHON",
        "VIRTUAL_ENV",
    }
    environment = {name: value for name, value in os.environ.items() if name not in foreign}
    return {**environment, "PIP_USER": "0", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def runs(*command: str | Path, cwd: Path | None = None, quiet: bool = False) -> bool:
    """Run a command and tell whether it succeeded; its output is shown unless `quiet`."""
    sink = subprocess.DEVNULL if quiet else None
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            check=False,
        )
    except OSError:
        return False
    return done.returncode == 0


def has_pip() -> bool:
    """Tell whether ``.venv`` has a working pip."""
    return runs(PYTHON, "-m", "pip", "--version", quiet=True)


# ----------------------------------------------------------------------------------------------------
# Where pip can come from
# ----------------------------------------------------------------------------------------------------


def pip_from_ensurepip() -> bool:
    """Let Python make the environment with its own pip; False where Debian left ensurepip out."""
    if not runs(BASE_PYTHON, "-c", "import ensurepip", quiet=True):
        return False
    say("making .venv with python3 -m venv")
    return runs(BASE_PYTHON, "-m", "venv", "--clear", VENV) and has_pip()


def make_empty_venv() -> None:
    """Make ``.venv`` without pip, which every Python can."""
    if not runs(BASE_PYTHON, "-m", "venv", "--clear", "--without-pip", VENV):
        raise SetupError(
            f"{BASE_PYTHON} -m venv failed for {VENV}. Is there room on the disk? "
            "On Debian the module venv comes with: apt-get install python3"
        )


def pip_from_existing() -> bool:
    """Let a pip of this machine (22.3 or later, which knows --python) install pip into ``.venv``."""
    for pip in ((BASE_PYTHON, "-m", "pip"), ("pip3",), ("pip",)):
        if runs(*pip, "--python", str(PYTHON), "--version", quiet=True):
            say(f"this Python has no ensurepip: installing pip by {' '.join(pip)}")
            return runs(*pip, "--python", str(PYTHON), "install", "--quiet", "pip") and has_pip()
    return False


def pip_from_wheel(folder: Path) -> bool:
    """Install pip from Debian's own wheel, found under `folder`, which needs no network."""
    for wheel in sorted((folder / DEBIAN_WHEELS).glob("pip-*.whl")):
        say(f"installing pip from {wheel.name}")
        if runs(PYTHON, wheel / "pip", "install", "--quiet", "--no-index", wheel) and has_pip():
            return True
    return False


def pip_from_system_wheel() -> bool:
    """Use the wheel of the package python3-pip-whl, if that package is installed."""
    return pip_from_wheel(Path("/"))


def pip_from_apt_install() -> bool:
    """As root, install Debian's python3-venv, then make the environment as on any other machine."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    package = f"python3.{sys.version_info.minor}-venv"
    say(f"this Python has no ensurepip: installing Debian's {package} (as root)")
    return apt_install(package) and pip_from_ensurepip()


def apt_install(*packages: str) -> bool:
    """Install Debian packages as root, and tell whether that was done."""
    install = (
        "env",
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "install",
        "-qq",
        "-y",
        "--no-install-recommends",
    )
    if runs(*install, *packages, quiet=True):
        return True
    runs("apt-get", "update", "-qq")  # the lists of packages may be absent (containers) or old
    return runs(*install, *packages)


def install_daemons() -> None:
    """As root on Debian, install the daemons that the tests start for themselves, if they are missing."""
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    missing = [
        package
        for commands, packages in DEBIAN_TEST.items()
        if not all(shutil.which(command, path=path) for command in commands)
        for package in packages
    ]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        say(f"not installed, since that takes root on Debian: {' '.join(missing)}; some tests need them")
        return
    say(f"installing Debian's {' '.join(missing)} (as root), for the tests of clusters")
    with services_stay_off():
        if not apt_install(*missing):
            say("that failed; the tests that need them will say so")


@contextlib.contextmanager
def services_stay_off() -> Iterator[None]:
    """Keep packages from starting their services: the tests start daemons for themselves, and end them."""
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


def pip_from_apt_download() -> bool:
    """As anyone, download Debian's wheel of pip and unpack it aside, without touching the system."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        return False
    with tempfile.TemporaryDirectory(prefix="parallactic-setup-") as name:
        folder = Path(name)
        say("this Python has no ensurepip: downloading Debian's wheel of pip (package python3-pip-whl)")
        if not download_debian(("python3-pip-whl", "ca-certificates"), folder):
            return False
        if not pip_from_wheel(folder):
            return False
        certificates_from(folder)
    return True


# ----------------------------------------------------------------------------------------------------
# Debian's packages without root
# ----------------------------------------------------------------------------------------------------


def download_debian(packages: tuple[str, ...], folder: Path) -> bool:
    """Download Debian packages, whose signatures apt checks, and unpack them in `folder`; needs no root.

    The machine's own lists are used where they serve; else they are fetched into a state folder of our own.
    """
    state = folder / "apt"
    for part in ("state/lists/partial", "cache/archives/partial", "log"):
        (state / part).mkdir(parents=True)
    private = [
        f"-oDir::State={state / 'state'}",
        "-oDir::State::status=/var/lib/dpkg/status",
        f"-oDir::Cache={state / 'cache'}",
        f"-oDir::Log={state / 'log'}",
        "-oDebug::NoLocking=true",
    ]
    if not runs("apt-get", "download", "-qq", *packages, cwd=folder, quiet=True):
        say("fetching Debian's lists of packages into a temporary folder")
        runs("apt-get", "update", "-qq", *private)
        if not runs("apt-get", "download", "-qq", *private, *packages, cwd=folder):
            return False
    archives = sorted(folder.glob("*.deb"))
    return bool(archives) and all(runs("dpkg-deb", "-x", archive, folder) for archive in archives)


def certificates_from(folder: Path) -> None:
    """Give the pip of ``.venv`` Debian's certificates, on a machine that has none and was told of none.

    Debian's pip reads the file of the package ca-certificates, which a bare machine may lack.
    """
    told = any(os.environ.get(name) for name in ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"))
    defaults = ssl.get_default_verify_paths()
    there = Path("/etc/ssl/certs/ca-certificates.crt").exists() or bool(defaults.cafile)
    if told or there:
        return
    say("this machine has no certificates: using Debian's package ca-certificates inside .venv")
    bundle = VENV / "ca-certificates.crt"
    files = sorted((folder / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    bundle.write_text("".join(f"{file.read_text().strip()}\n" for file in files))
    (VENV / "pip.conf").write_text(f"[global]\ncert = {bundle}\n")


# ----------------------------------------------------------------------------------------------------
# The environment and what is in it
# ----------------------------------------------------------------------------------------------------


def make_venv() -> None:
    """Make ``.venv`` with a working pip, from the first source that gives one."""
    if not is_of_named_python():
        say(f".venv is of another Python than {os.environ['PYTHON']}: making it anew")
    elif has_pip():
        return
    elif VENV.exists():
        say(".venv is there but has no working pip: making it anew")
    if pip_from_ensurepip():
        return
    sources: tuple[Callable[[], bool], ...] = (
        pip_from_existing,
        pip_from_system_wheel,
        pip_from_apt_install,
        pip_from_apt_download,
    )
    for source in sources:
        make_empty_venv()
        if source():
            return
    shutil.rmtree(VENV, ignore_errors=True)
    raise SetupError(
        "no pip could be had: this Python has no ensurepip, no pip is installed, and none came from Debian's "
        "packages. Install one and try again; on Debian, as root: apt-get install python3-venv"
    )


def stamp_of(profile: str) -> Path:
    """Return the file that records a finished set-up."""
    return VENV / f"parallactic-{profile}.json"


def key() -> str:
    """Return what a set-up depends on: the packages asked for, and the place of the sources."""
    parts = (ROOT / "pyproject.toml").read_bytes(), bytes(ROOT), repr(DEBIAN_TEST).encode()
    return hashlib.sha256(b"".join(parts)).hexdigest()


def is_of_named_python() -> bool:
    """Tell whether ``.venv`` has the version of the Python that the caller named, if one was named."""
    if not os.environ.get("PYTHON") or not VENV.exists():
        return True
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return (VENV / "bin" / f"python{version}").exists()


def is_current(profile: str) -> bool:
    """Tell whether this profile, or one that holds it, was installed from this very pyproject.toml."""
    if not PYTHON.exists() or not is_of_named_python():
        return False
    names = list(PROFILES)
    for name in names[names.index(profile) :]:
        try:
            stamp = json.loads(stamp_of(name).read_text())
        except (OSError, ValueError):
            continue
        if stamp.get("key") == key() and not (profile == "test" and stamp.get("missing")):
            return True
    return False


def pip_install(extras: tuple[str, ...]) -> bool:
    """Install Parallactic with some of its extras, in place: an edit of the sources needs no new install."""
    return runs(PYTHON, "-m", "pip", "install", "--editable", f".[{','.join(extras)}]", cwd=ROOT)


def has_casa() -> bool:
    """Tell whether CASA is in ``.venv`` (it has packages for some versions of Python only)."""
    names = ("casatools", "casatasks")
    look = f"import importlib.util as u, sys; sys.exit(any(u.find_spec(name) is None for name in {names}))"
    return runs(PYTHON, "-c", look, quiet=True)


def install(profile: str) -> list[str]:
    """Install a profile and return what it could not have: nothing, or the extra ``casa``."""
    extras = PROFILES[profile]
    say(f"installing parallactic[{','.join(extras)}] into .venv (minutes the first time)")
    if profile != "test":
        if not pip_install(extras):
            raise SetupError("pip could not install Parallactic; what it says above tells why")
        return []
    install_daemons()
    if not pip_install((*extras, "casa")):
        say("with the extra [casa] it failed; trying without")
        if not pip_install(extras):
            raise SetupError("pip could not install Parallactic; what it says above tells why")
    return [] if has_casa() else ["casa"]


def report_missing(missing: list[str]) -> None:
    """Say loudly that the comparisons with CASA cannot run; on a continuous integration that is an error."""
    if not missing:
        return
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    text = (
        f"CASA (the extra [casa]) could not be installed for Python {version} on {os.uname().machine}: "
        "the tests that compare with CASA cannot run. It has packages for Python 3.11 on x86_64"
    )
    if os.environ.get("CI", "").lower() in {"1", "true", "yes"}:
        raise SetupError(f"{text}. CI is set, so this is a failure")
    rule = "!" * 100
    print(f"{rule}\n{text}.\n{rule}", flush=True)


def require_writable() -> None:
    """Refuse a folder that another user set up, before anything is changed."""
    for folder in (ROOT, VENV):
        if folder.exists() and not os.access(folder, os.W_OK):
            raise SetupError(
                f"{folder} cannot be written by this user. Was it set up by another one (root)? "
                "Give the folder to this user (chown -R), or use a copy of your own"
            )


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Keep two set-ups of one folder from running at the same time."""
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        # Network disks refuse to lock a folder; two set-ups at once are then the caller's affair.
        with contextlib.suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def main(arguments: list[str]) -> int:
    """Set up one profile; return the exit code."""
    if len(arguments) != 1 or arguments[0] not in PROFILES:
        print(f"usage: sh scripts/bootstrap.sh {'|'.join(PROFILES)}", file=sys.stderr)
        return 2
    profile = arguments[0]
    if is_current(profile):
        return 0
    began = time.monotonic()
    try:
        require_writable()
        with alone():
            if is_current(profile):
                return 0
            make_venv()
            missing = install(profile)
            stamp_of(profile).write_text(json.dumps({"key": key(), "missing": missing}) + "\n")
        say(f"ready after {time.monotonic() - began:.0f} s")
        report_missing(missing)
    except SetupError as error:
        print(f"[set-up] {error}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("[set-up] interrupted; the next call goes on from here.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
