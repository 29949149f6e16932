"""Reads and checks ``manifest.json`` and the files that it lists (contracts 5.1).

The release id is a hash over the rest of the manifest, which holds the sha256 of every file: a manifest that gives
its own id and files that have their hashes are exactly what was released.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from fleetalign.contracts.hashing import content_id, sha256
from fleetalign.contracts.manifest import MANIFEST_VERSION, Manifest
from fleetalign.contracts.schema import checked_major
from fleetalign.contracts.tables import from_parquet
from fleetalign.errors import Corrupt, NotFound
from fleetalign.storage import layout
from fleetalign.storage.store import Store


def release_id_of(document: Mapping[str, Any]) -> str:
    """Return the id of a manifest: the hash over everything in it but ``release_id``."""
    return content_id({name: value for name, value in document.items() if name != "release_id"})


def read_manifest(store: Store, release_id: str, digest: str | None = None) -> Manifest:
    """Read the manifest of ``release_id``, checked against its id and a pointer's sha256.

    Raises:
        NotFound: there is no such release.
        Corrupt: it was altered, or lacks a field.
        BadInput: it has an unknown major version.
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
    checked_major(document, MANIFEST_VERSION, where)
    if document.get("release_id") != release_id or release_id_of(document) != release_id:
        raise Corrupt(
            f"{where}: its content has id {release_id_of(document)}, not {release_id}; the object was altered"
        )
    try:
        return dataclasses.replace(Manifest.from_document(document), digest=sha256(data))
    except KeyError as error:
        raise Corrupt(f"{where}: lacks {error}; publish the release again") from None


def read_file(store: Store, manifest: Manifest, key: str) -> bytes:
    """Read one file of a release, checked against its manifest. Raises NotFound and Corrupt."""
    return store.get_checked(key, manifest.file(key).sha256)


def aligner_table(store: Store, manifest: Manifest) -> pa.Table:
    """Read the aligner table of a release, checked against its manifest."""
    return from_parquet(read_file(store, manifest, manifest.aligner), f"{store.uri}/{manifest.aligner}")
