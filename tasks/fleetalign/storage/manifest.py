"""``manifest.json``: what a release is made of (contracts 5.1), read and checked.

The release id is a hash over the rest of the manifest, which holds the sha256 of every file: a manifest that gives
its own id and files that have their hashes are exactly what was released.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleetalign.contracts.hashing import content_id, sha256
from fleetalign.contracts.schema import checked_major
from fleetalign.errors import Corrupt, NotFound
from fleetalign.storage import layout
from fleetalign.storage.store import Store

SCHEMA_VERSION = "1.1"


def release_id_of(document: Mapping[str, Any]) -> str:
    """Id of a manifest: hash over everything in it but ``release_id``."""
    return content_id({name: value for name, value in document.items() if name != "release_id"})


@dataclass(frozen=True, slots=True)
class Manifest:
    """A checked manifest. ``digest`` is the sha256 of its bytes."""

    release_id: str
    digest: str
    document: Mapping[str, Any]

    @property
    def kinds(self) -> Mapping[str, Mapping[str, Any]]:
        return self.document["kinds"]

    @property
    def aligner_id(self) -> str:
        return self.document["aligner_id"]

    @property
    def gates(self) -> list[Mapping[str, Any]]:
        return self.document["gates"]

    def file(self, key: str) -> Mapping[str, Any]:
        """The entry of ``files`` with that key. Raises Corrupt when the manifest does not list it."""
        for entry in self.document["files"]:
            if entry["key"] == key:
                return entry
        raise Corrupt(f"release {self.release_id}: manifest.json uses {key} and does not list it; publish it again")

    def get(self, store: Store, key: str) -> bytes:
        """The bytes of one file, checked against the manifest. Raises NotFound and Corrupt."""
        return store.get_checked(key, self.file(key)["sha256"])


def read_manifest(store: Store, release_id: str, digest: str | None = None) -> Manifest:
    """The manifest of ``release_id``, checked against its own id and, if given, the pointer's ``digest``.

    Raises NotFound when there is no such release, Corrupt when it was altered, BadInput for an unknown major version.
    """
    key = layout.release(release_id, "manifest.json")
    where = f"{store.uri}/{key}"
    try:
        data = store.get(key) if digest is None else store.get_checked(key, digest)
    except NotFound:
        raise NotFound(f"{where} does not exist: no such release; list them with `fleetalign release list`") from None
    try:
        document = json.loads(data)
    except ValueError as error:
        raise Corrupt(f"{where}: not JSON ({error}); restore the object from a backup") from None
    checked_major(document, SCHEMA_VERSION, where)
    if document.get("release_id") != release_id or release_id_of(document) != release_id:
        raise Corrupt(
            f"{where}: its content has id {release_id_of(document)}, not {release_id}; the object was altered"
        )
    return Manifest(release_id, sha256(data), document)
