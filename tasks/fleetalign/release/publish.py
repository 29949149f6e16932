"""Writes a release: ``manifest.json`` last and only if absent (contracts 5.1).

A release without its manifest cannot be found; one with it never changes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from fleetalign.contracts.hashing import readable_json, sha256
from fleetalign.contracts.manifest import Manifest, ReleaseFile
from fleetalign.contracts.schema import validate
from fleetalign.errors import Corrupt
from fleetalign.storage import layout
from fleetalign.storage.manifest import read_manifest, release_id_of
from fleetalign.storage.store import Store

ROLES = ("model", "golden", "card", "normalizer", "aligner", "mutes", "phases")


def file_entry(key: str, data: bytes, role: str) -> ReleaseFile:
    """Return the entry of ``Manifest.files`` for one file; ``role`` is one of ``ROLES``."""
    return ReleaseFile(key=key, bytes=len(data), sha256=sha256(data), role=role)


def complete(manifest: Manifest) -> Manifest:
    """Return ``manifest`` with its release id, and its files in key order, each once."""
    files = {file.key: file for file in manifest.files}
    ordered = dataclasses.replace(manifest, files=tuple(files[key] for key in sorted(files)))
    return dataclasses.replace(ordered, release_id=release_id_of(ordered.as_document()))


def publish(store: Store, manifest: Manifest, provenance: Mapping[str, Any], report_html: bytes | None = None) -> str:
    """Write the release that ``manifest`` describes; returns its id.

    The same manifest gives the same id and writes nothing the second time; its own ``release_id`` is not used.
    ``provenance`` holds what a hash must not: plan id, host, times, revisions, library versions; the first one stays.

    Raises BadInput when the manifest breaks its schema, NotFound or Corrupt when a file is missing or differs, and
    NotReproducible when the release exists with another manifest.
    """
    manifest = complete(manifest)
    document = manifest.as_document()
    validate("manifest", document)
    for file in manifest.files:
        if len(store.get_checked(file.key, file.sha256)) != file.bytes:
            raise Corrupt(f"{store.uri}/{file.key} is not {file.bytes} bytes long; correct the list of files")
    release_id = manifest.release_id
    store.put_if_absent(layout.release(release_id, "provenance.json"), readable_json(dict(provenance)))
    if report_html is not None:
        store.put_if_absent(layout.release(release_id, "report.html"), report_html)
    store.put_immutable(layout.release(release_id, "manifest.json"), readable_json(document))
    return release_id


def of_release(store: Store, release_id: str) -> dict[str, Any]:
    """Return a release's manifest hash, the revision of its data and the key of its report."""
    return {
        "manifest_sha256": read_manifest(store, release_id).digest,
        "data_revision": store.get_json(layout.release(release_id, "provenance.json"))["data_revision"],
        "report": layout.release(release_id, "report.html"),
    }
