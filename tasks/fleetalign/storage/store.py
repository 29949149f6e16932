"""The interface of a store: file://, s3:// or memory://.

Five verbs move whole objects: ``get``, ``put``, ``put_if_absent``, ``swap``, ``delete``; ``list`` walks a prefix.
A reader that follows one pointer and then only immutable keys never sees half a release; that only needs
create-if-absent and compare-and-swap on single keys. ``fleetalign.testing.stores`` holds the conformance suite.
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
    """One listed object."""

    key: str
    bytes: int
    """Size in bytes."""
    modified_at: datetime
    """Time of the last change, UTC."""


@dataclass(frozen=True, slots=True)
class Versioned:
    """The bytes of an object with their version."""

    data: bytes
    version: str
    """Opaque; ``swap`` compares with it."""


class Store(ABC):
    """Holds whole objects under keys that are relative and separated by ``/``.

    Every call is bounded in time.

    Every method raises StoreError when the disk or the network fails.
    """

    uri: str

    @abstractmethod
    def get_versioned(self, key: str) -> Versioned:
        """Read an object and its version.

        Raises:
            NotFound: The key does not exist.
        """

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Create or replace an object; readers see the old or the new bytes, never a mixture."""

    @abstractmethod
    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Create an object unless the key exists.

        Returns:
            Whether this call wrote it: of several concurrent writers exactly one gets True.
        """

    @abstractmethod
    def swap(self, key: str, data: bytes, version: str | None) -> None:
        """Replace an object only if its version is still ``version`` (None: the key must not exist).

        Raises:
            Conflict: The object has another version.
        """

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Return whether the key exists."""

    @abstractmethod
    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """List the objects whose key starts with ``prefix``, in key order."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object; no error when the key does not exist."""

    def get(self, key: str) -> bytes:
        """Read an object.

        Raises:
            NotFound: The key does not exist.
        """
        return self.get_versioned(key).data

    def get_json(self, key: str) -> Any:
        """Read a JSON object.

        Raises:
            NotFound: The key does not exist.
            Corrupt: The bytes are not JSON.
        """
        data = self.get(key)
        try:
            return json.loads(data)
        except ValueError as error:
            raise Corrupt(f"{self.uri}/{key}: not JSON ({error}); restore the object from a backup") from None

    def get_checked(self, key: str, digest: str) -> bytes:
        """Read an object and compare its sha256 with ``digest``.

        Raises:
            NotFound: The key does not exist.
            Corrupt: The bytes have another sha256.
        """
        data = self.get(key)
        if sha256(data) != digest:
            raise Corrupt(f"{self.uri}/{key}: sha256 is {sha256(data)}, recorded {digest}; the object was altered")
        return data

    def put_immutable(self, key: str, data: bytes) -> None:
        """Create an object that never changes; writing equal bytes again is fine.

        Raises:
            NotReproducible: The key exists with other bytes.
        """
        if not self.put_if_absent(key, data) and self.get(key) != data:
            raise NotReproducible(
                f"{self.uri}/{key} exists with other bytes: the same inputs gave another result; "
                "compare lock file, thread count and CPU class of the two runs"
            )
