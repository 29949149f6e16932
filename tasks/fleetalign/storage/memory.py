"""A store in this process's memory, for tests and for trying things out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import ClassVar

from fleetalign.errors import Conflict, NotFound
from fleetalign.storage.store import ObjectInfo, Store, Versioned


class MemoryStore(Store):
    """A store in this process's memory; it ends with the process."""

    _named: ClassVar[dict[str, MemoryStore]] = {}

    def __init__(self, name: str = "") -> None:
        """Create an empty store; ``named`` finds one by name."""
        self.uri = f"memory://{name}"
        self._objects: dict[str, tuple[bytes, str, datetime]] = {}
        self._lock = threading.Lock()
        self._writes = 0

    @classmethod
    def named(cls, name: str) -> MemoryStore:
        """Return the store with that name in this process; create it if there is none."""
        return cls._named.setdefault(name, cls(name))

    def _write(self, key: str, data: bytes) -> None:
        self._writes += 1
        self._objects[key] = (bytes(data), str(self._writes), datetime.now(UTC))

    def get_versioned(self, key: str) -> Versioned:
        try:
            data, version, _ = self._objects[key]
        except KeyError:
            raise NotFound(f"{self.uri}/{key} does not exist") from None
        return Versioned(data, version)

    def put(self, key: str, data: bytes) -> None:
        with self._lock:
            self._write(key, data)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        with self._lock:
            if key in self._objects:
                return False
            self._write(key, data)
            return True

    def swap(self, key: str, data: bytes, version: str | None) -> None:
        with self._lock:
            current = self._objects.get(key)
            if (current[1] if current else None) != version:
                raise Conflict(f"{self.uri}/{key} was changed by another writer; read it again and retry")
            self._write(key, data)

    def exists(self, key: str) -> bool:
        return key in self._objects

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        for key in sorted(k for k in list(self._objects) if k.startswith(prefix)):
            data, _, modified_at = self._objects[key]
            yield ObjectInfo(key, len(data), modified_at)

    def delete(self, key: str) -> None:
        with self._lock:
            self._objects.pop(key, None)
