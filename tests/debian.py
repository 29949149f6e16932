"""Programs of Debian packages for tests that need the real thing; nothing is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from conftest import skip_or_fail

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fleetalign" / "debian"
DOWNLOAD_SECONDS = 300
UNPACK_SECONDS = 60


def program(name: str, package: str | None = None, needs: tuple[str, ...] = ()) -> Path:
    """Path of the program ``name``: from PATH, else out of Debian's ``package`` (default: ``name``).

    The package and those it ``needs`` are unpacked into one folder of the user's cache, which serves the next run too;
    what else they depend on must be there already. Libraries among them are found with ``libraries``. Where that cannot
    be, the test is skipped (under CI: fails).
    """
    installed = shutil.which(name)
    if installed:
        return Path(installed)
    package = package or name
    found = _unpacked(name, package)
    if found is None:
        try:
            _fetch(package, needs)
        except (OSError, subprocess.SubprocessError) as error:
            detail = getattr(error, "stderr", None) or str(error)
            skip_or_fail(f"{name} is not on PATH, and Debian's package {package} cannot be fetched: {detail.strip()}")
        found = _unpacked(name, package)
    if found is None:
        skip_or_fail(f"Debian's package {package} holds no program {name}")
    return found


def libraries(program: Path) -> str:
    """What LD_LIBRARY_PATH must hold for an unpacked ``program``; empty for an installed one."""
    return os.pathsep.join(map(str, program.parents[1].glob("lib/*-linux-gnu"))) if CACHE in program.parents else ""


def _unpacked(name: str, package: str) -> Path | None:
    folders = (CACHE / package / folder for folder in ("usr/bin", "usr/sbin", "bin", "sbin"))
    return next((folder / name for folder in folders if os.access(folder / name, os.X_OK)), None)


def _fetch(package: str, needs: tuple[str, ...]) -> None:
    """Unpack ``package``, with what it needs, into the cache, complete or not at all: two test runs may do so at the same time."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        try:
            _run(["apt-get", "download", package, *needs], scratch, DOWNLOAD_SECONDS)
        except subprocess.CalledProcessError:
            _run(["apt-get", "update"], scratch, DOWNLOAD_SECONDS)
            _run(["apt-get", "download", package, *needs], scratch, DOWNLOAD_SECONDS)
        tree = Path(scratch) / "tree"
        for archive in Path(scratch).glob("*.deb"):
            _run(["dpkg", "-x", str(archive), str(tree)], scratch, UNPACK_SECONDS)
        try:
            tree.rename(CACHE / package)
        except OSError:
            if not (CACHE / package).is_dir():
                raise


def _run(command: list[str], folder: str, seconds: int) -> None:
    subprocess.run(command, cwd=folder, timeout=seconds, check=True, capture_output=True, text=True)
