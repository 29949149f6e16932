"""``make env``: installs the committed lock into .venv, with the standard library only.

uv installs the lock; what pip is configured to use (find-links, indexes, certificate) is handed on to it, because uv
reads no pip configuration. The environment is left alone while lock and pyproject are the ones it was made from.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
VENV = REPOSITORY / ".venv"
LOCK = REPOSITORY / "requirements.lock.txt"
STAMP = VENV / "made-from.sha256"
UV_VERSION = "0.13.9"
SUPPORTED = ((3, 11), (3, 12), (3, 13))
EXIT_USAGE = 2
EXIT_NETWORK = 4
PIP_TO_UV = {
    "find-links": ("UV_FIND_LINKS", ","),
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "cert": ("SSL_CERT_FILE", " "),
}


class Stop(Exception):
    """Ends the program with one line for the user and an exit code."""

    def __init__(self, line: str, exit_code: int = EXIT_USAGE) -> None:
        super().__init__(line)
        self.exit_code = exit_code


def check_prerequisites() -> None:
    """Check that the tools are there.

    Raises:
        Stop: A tool is missing; the message says how to get it.
    """
    if sys.version_info[:2] not in SUPPORTED:
        raise Stop(
            f"this is {_python_name()}; fleetalign needs Python 3.11, 3.12 or 3.13: "
            "install one and run make PYTHON=/path/to/python3.11"
        )
    for module in ("venv", "ensurepip"):
        if importlib.util.find_spec(module) is None:
            raise Stop(f"Python's {module} module is missing; on Debian: apt-get install {_python_name()}-venv")
    for tool in ("git", "make"):
        if shutil.which(tool) is None:
            raise Stop(f"{tool} is missing; on Debian: apt-get install {tool}")


def _python_name() -> str:
    """Name the program of this interpreter, as in an environment made by it."""
    return f"python{sys.version_info[0]}.{sys.version_info[1]}"


def pip_settings() -> dict[str, list[str]]:
    """Read pip's settings: its configuration files, overridden by ``PIP_*`` variables."""
    command = [str(VENV / "bin" / "python"), "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    settings: dict[str, list[str]] = {}
    for scope in ("global", "install", ":env:"):
        for line in listed.splitlines():
            name, _, value = line.partition("=")
            prefix, _, option = name.rpartition(".")
            if prefix == scope and option in PIP_TO_UV:
                settings[option] = " ".join(shlex.split(value)).replace("\\n", " ").split()
    return settings


def uv_environment(settings: dict[str, list[str]]) -> dict[str, str]:
    """Return the environment with pip's settings under uv's names; uv's own variables win."""
    environment = dict(os.environ)
    for option, values in settings.items():
        variable, separator = PIP_TO_UV[option]
        environment.setdefault(variable, separator.join(values))
    if "extra-index-url" in settings:
        environment.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")  # what pip does
    environment.setdefault("UV_HTTP_TIMEOUT", "180")
    return environment


def torch_download(find_links: list[str]) -> str:
    """Describe the size of the largest download, before it starts."""
    version = re.search(r"^torch==([^\s;]+)", LOCK.read_text(), re.MULTILINE)[1]
    pattern = f"torch-{version}*cp{sys.version_info[0]}{sys.version_info[1]}*.whl"
    for place in find_links:
        wheels = [w for w in Path(place.removeprefix("file://")).glob(pattern) if w.is_file()]
        if wheels:
            return f"torch {version}: {wheels[0].stat().st_size / 1e6:.0f} MB, already here in {place}"
    if find_links:
        return f"torch {version}: about 200 MB if {' '.join(find_links)} has the CPU build"
    return (
        f"torch {version}: about 530 MB and several GB of CUDA libraries from the default index; for the "
        "CPU build of about 200 MB: PIP_FIND_LINKS=<PyTorch's page of CPU wheels> make env"
    )


def digest() -> str:
    return hashlib.sha256(LOCK.read_bytes() + (REPOSITORY / "pyproject.toml").read_bytes()).hexdigest()


def up_to_date() -> bool:
    return (VENV / "bin" / _python_name()).exists() and STAMP.exists() and STAMP.read_text() == digest()


def make() -> None:
    """Build or update .venv.

    Raises:
        Stop: A download or an installation failed.
    """
    started = time.monotonic()
    if not all((VENV / "bin" / program).exists() for program in (_python_name(), "pip")):
        _run([sys.executable, "-m", "venv", "--clear", str(VENV)], dict(os.environ))
    settings = pip_settings()
    environment = uv_environment(settings)
    print(f"environment: {torch_download(settings.get('find-links', []))}; then about 2.5 GB on disk", flush=True)
    python = str(VENV / "bin" / "python")
    _run([python, "-m", "pip", "install", "-qq", f"uv=={UV_VERSION}"], environment)
    uv = [python, "-m", "uv", "pip", "install", "--python", python, "--quiet", "--compile-bytecode"]
    _run([*uv, "--requirement", str(LOCK)], environment)
    _run([*uv, "--no-deps", "--editable", str(REPOSITORY)], environment)
    STAMP.write_text(digest())
    print(f"environment: ready in {time.monotonic() - started:.0f} s ({VENV})", flush=True)


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, env=environment, check=False)
    if done.returncode:
        what = " ".join(command[2:4])
        raise Stop(f"environment: `{what}` failed, see above; check the network and run make env again", EXIT_NETWORK)


def main() -> int:
    try:
        check_prerequisites()
        if not up_to_date():
            make()
    except Stop as stop:
        print(stop, file=sys.stderr)
        return stop.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
