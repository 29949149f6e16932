"""What the Airflow tests share: a free block of ports, the demo's modules, and the bytes of a store."""

from __future__ import annotations

import importlib
import socket
import sys
from hashlib import sha256
from pathlib import Path
from types import ModuleType

REPOSITORY = Path(__file__).parents[2]
LOCAL = REPOSITORY / "infra" / "local"


def module(name: str) -> ModuleType:
    """A module of infra/local, which is a folder of programs and not a package."""
    if str(LOCAL) not in sys.path:
        sys.path.append(str(LOCAL))
    return importlib.import_module(name)


def free_port() -> int:
    """The first of three neighbouring ports that nobody listens on."""
    for port in range(9481, 9999, 10):
        if all(_is_free(port + offset) for offset in range(3)):
            return port
    raise AssertionError("no three free ports between 9481 and 9999")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def digests(store: Path) -> dict[str, str]:
    """sha256 of every object of a file store."""
    files = [path for path in store.rglob("*") if path.is_file() and ".fleetalign" not in path.parts]
    return {str(path.relative_to(store)): sha256(path.read_bytes()).hexdigest() for path in files}
