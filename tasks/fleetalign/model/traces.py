"""Traces of the ONNX exporter, kept in memory and, if a folder is named, on disk.

A trace depends on no weight and takes some 12 s of CPU, yet each kind has a trained and an untrained network, most kinds
have one structure, and each process would trace it again.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import sys
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

TRACES_VARIABLE = "FLEETALIGN_TRACES"
"""Environment variable that names the folder."""
MOST_IN_MEMORY = 8
_EXPORTER = ("torch", "onnx", "onnx-ir", "onnxscript", "numpy")

_memory: OrderedDict[str, bytes] = OrderedDict()


def traced(structure: str, packages: Iterable[str], trace: Callable[[], bytes]) -> bytes:
    """Return the trace of ``structure``, and make it if it is not there.

    On disk its name holds the versions of Python and the exporter and the source of every package that the network is made
    of, so that a change of any of them traces anew.

    Args:
        structure: Digest of all that the trace depends on in the network.
        packages: Top-level packages whose code the trace runs.
        trace: Makes the trace: a serialized ModelProto.
    """
    if structure in _memory:
        return _memory[structure]
    folder = os.environ.get(TRACES_VARIABLE)
    path = Path(folder) / f"{_name(structure, tuple(sorted(set(packages))))}.onnx" if folder else None
    found = path.read_bytes() if path is not None and path.exists() else None
    if found is None:
        found = trace()
        if path is not None:
            _put(path, found)
    _memory[structure] = found
    while len(_memory) > MOST_IN_MEMORY:
        _memory.popitem(last=False)
    return found


def forget() -> None:
    """Forget the traces in memory."""
    _memory.clear()


def _put(path: Path, data: bytes) -> None:
    """Write a file that other processes see whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(data)
    os.replace(file.name, path)


@cache
def _name(structure: str, packages: tuple[str, ...]) -> str:
    made_with = [sys.version, *(f"{name} {importlib.metadata.version(name)}" for name in _EXPORTER)]
    parts = [structure, *made_with, *(_source(package) for package in packages)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@cache
def _source(package: str) -> str:
    """Return a digest of the source of a package, or of a module that is none."""
    spec = importlib.util.find_spec(package)
    origin = Path(spec.origin) if spec is not None and spec.origin else None
    if origin is None:
        raise ModuleNotFoundError(f"no source of {package}")
    files = sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin]
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(origin.parent)}\n".encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
