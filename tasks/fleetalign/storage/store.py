"""One small interface over file://, s3:// and memory://.

Five verbs move whole objects: ``get``, ``put``, ``put_if_absent``, ``swap``, ``delete``; ``list`` walks a prefix.
A reader that follows one pointer and then only immutable keys never sees half a release; that needs nothing
but create-if-absent and compare-and-swap on single keys. ``fleetalign.testing.stores`` holds the conformance suite.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fleetalign.contracts.hashing import sha256
from fleetalign.errors import Corrupt, NotReproducible


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One listed object: its key, size in bytes and time of last change (UTC)."""

    key: str
    bytes: int
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class Versioned:
    """Bytes and the opaque version that ``swap`` compares with."""

    data: bytes
    version: str


class Store(ABC):
    """Keys are relative, ``/``-separated and never start with ``/``. Every call is bounded in time."""

    uri: str

    @abstractmethod
    def get_versioned(self, key: str) -> Versioned:
        """The object and its version. Raises NotFound."""

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Create or replace; readers see the old or the new bytes, never a mixture."""

    @abstractmethod
    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Create; False (and nothing written) when the key exists. Exactly one of several racers gets True."""

    @abstractmethod
    def swap(self, key: str, data: bytes, version: str | None) -> None:
        """Replace only if the current version is ``version`` (None: the key must not exist). Raises Conflict."""

    @abstractmethod
    def exists(self, key: str) -> bool: ...

    @abstractmethod
    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Objects whose key starts with ``prefix``, in key order."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove; no error when the key is gone already."""

    def get(self, key: str) -> bytes:
        return self.get_versioned(key).data

    def get_json(self, key: str) -> Any:
        data = self.get(key)
        try:
            return json.loads(data)
        except ValueError as error:
            raise Corrupt(f"{self.uri}/{key}: not JSON ({error}); restore the object from a backup") from None

    def get_checked(self, key: str, digest: str) -> bytes:
        """``get`` that raises Corrupt when the bytes do not have the sha256 ``digest``."""
        data = self.get(key)
        if sha256(data) != digest:
            raise Corrupt(f"{self.uri}/{key}: sha256 is {sha256(data)}, recorded {digest}; the object was altered")
        return data

    def put_immutable(self, key: str, data: bytes) -> None:
        """Create under a key that never changes; equal bytes are fine, other bytes raise NotReproducible."""
        if not self.put_if_absent(key, data) and self.get(key) != data:
            raise NotReproducible(
                f"{self.uri}/{key} exists with other bytes: the same inputs gave another result; "
                "compare lock file, thread count and CPU class of the two runs"
            )
