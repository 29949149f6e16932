"""Writes a release: provenance and report first, ``manifest.json`` last and only if absent (contracts 5.1).

Until the manifest is there nobody can find the release; once it is, it never changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fleetalign.contracts.hashing import readable_json, sha256
from fleetalign.contracts.schema import validate
from fleetalign.errors import Corrupt
from fleetalign.storage import layout
from fleetalign.storage.manifest import SCHEMA_VERSION, read_manifest, release_id_of
from fleetalign.storage.store import Store

ROLES = ("model", "golden", "card", "normalizer", "aligner", "mutes")


def file_entry(key: str, data: bytes, role: str) -> dict[str, Any]:
    """One entry of the manifest's ``files``. ``role`` is one of ``ROLES``."""
    return {"key": key, "bytes": len(data), "sha256": sha256(data), "role": role}


def build_manifest(
    *,
    kinds: Mapping[str, Mapping[str, Any]],
    normalizer: str,
    normalizer_id: str,
    aligner: str,
    aligner_id: str,
    mutes: str | None,
    data_version: str,
    ranges: Mapping[str, Any],
    gates: Sequence[Mapping[str, Any]],
    coverage: Mapping[str, Any],
    evaluation: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The body of a manifest: everything in it but ``files`` and ``release_id``.

    ``normalizer``, ``aligner``, ``mutes`` and, per kind, ``model`` and ``golden`` are keys that ``files`` must list.
    ``kinds[kind]`` holds model_id, model, golden, network, window_steps, step_seconds, metrics, inputs,
    condition_used, seasonal_lags_steps, statistics_columns and, for a graph with state, state_size, state_chains, state_settle_steps.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "kinds": {kind: dict(entry) for kind, entry in kinds.items()},
        "normalizer": normalizer,
        "normalizer_id": normalizer_id,
        "aligner": aligner,
        "aligner_id": aligner_id,
        "mutes": mutes,
        "data_version": data_version,
        "ranges": dict(ranges),
        "gates": [dict(gate) for gate in gates],
        "coverage": dict(coverage),
        "evaluation": None if evaluation is None else dict(evaluation),
    }


def complete(body: Mapping[str, Any], files: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The whole manifest: ``body`` with its files, each once, in key order, and the id that follows from them."""
    listed = sorted({file["key"]: dict(file) for file in files}.values(), key=lambda file: file["key"])
    document = {**body, "files": listed}
    return {**document, "release_id": release_id_of(document)}


def publish(
    store: Store,
    body: Mapping[str, Any],
    files: Sequence[Mapping[str, Any]],
    provenance: Mapping[str, Any],
    report_html: bytes | None = None,
) -> str:
    """Write the release made of ``body`` (from ``build_manifest``) and ``files`` (from ``file_entry``); returns its id.

    The same body and files give the same id and write nothing the second time. ``provenance`` holds what a hash must
    not: plan id, host, times, revisions, library versions; the first one stays.

    Raises BadInput when the manifest breaks its schema, NotFound or Corrupt when a file is missing or differs, and
    NotReproducible when the release exists with another manifest.
    """
    document = complete(body, files)
    release_id = document["release_id"]
    validate("manifest", document)
    for file in document["files"]:
        if len(store.get_checked(file["key"], file["sha256"])) != file["bytes"]:
            raise Corrupt(f"{store.uri}/{file['key']} is not {file['bytes']} bytes long; correct the list of files")
    store.put_if_absent(layout.release(release_id, "provenance.json"), readable_json(dict(provenance)))
    if report_html is not None:
        store.put_if_absent(layout.release(release_id, "report.html"), report_html)
    store.put_immutable(layout.release(release_id, "manifest.json"), readable_json(document))
    return release_id


def of_release(store: Store, release_id: str) -> dict[str, Any]:
    """The sha256 of a release's manifest, the revision of its data, and the key of its report, for asset events."""
    return {
        "manifest_sha256": read_manifest(store, release_id).digest,
        "data_revision": store.get_json(layout.release(release_id, "provenance.json"))["data_revision"],
        "report": layout.release(release_id, "report.html"),
    }
