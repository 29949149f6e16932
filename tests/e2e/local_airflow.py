"""What the Airflow tests share: a free block of ports, the demo and its modules, and the bytes of a store."""

from __future__ import annotations

import importlib
import os
import re
import socket
import subprocess
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from fleetalign.config import load
from fleetalign.storage import channel
from fleetalign.storage.connect import open_store

REPOSITORY = Path(__file__).parents[2]
LOCAL = REPOSITORY / "infra" / "local"
DEMO_SECONDS = 600


def module(name: str) -> ModuleType:
    """A module of infra/local, which is a folder of programs and not a package."""
    if str(LOCAL) not in sys.path:
        sys.path.append(str(LOCAL))
    return importlib.import_module(name)


def free_port() -> int:
    """Return the first of three neighbouring free ports; parallel workers of pytest look in ranges of their own."""
    first = 9481 + 100 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for port in range(first, first + 100, 10):
        if all(_is_free(port + offset) for offset in range(3)):
            return port
    raise AssertionError(f"no three free ports between {first} and {first + 100}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def digests(store: Path) -> dict[str, str]:
    """sha256 of every object of a file store."""
    files = [path for path in store.rglob("*") if path.is_file() and ".fleetalign" not in path.parts]
    return {str(path.relative_to(store)): sha256(path.read_bytes()).hexdigest() for path in files}


@dataclass(frozen=True)
class Demo:
    """``make demo`` with everything in ``home``; called, it runs the program."""

    home: Path
    port: int

    @property
    def store(self) -> Path:
        return self.home / "store"

    @property
    def days(self) -> list[str]:
        """Partition key of every day of the fleet."""
        return module("demo").partition_keys(load(module("demo").PARAMS))

    @property
    def airflow(self) -> Any:
        params = module("demo").PARAMS
        return module("standalone").Standalone(self.home / "airflow", f"file://{self.store}", params, self.port)

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(LOCAL / "demo.py"), "--home", str(self.home), "--port", str(self.port)]
        return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=DEMO_SECONDS, check=False)


def release_id(stdout: str) -> str:
    """The release that a demo ended with."""
    return re.search(r"\] release ([0-9a-f]{16})$", stdout, re.MULTILINE)[1]


def champion(demo: Demo) -> channel.Pointer:
    pointer = channel.read(open_store(str(demo.store)), "champion")
    assert pointer is not None
    return pointer
