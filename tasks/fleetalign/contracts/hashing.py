"""Canonical JSON and content identifiers.

An id is a prefix of a sha256 over canonical bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

ID_LENGTH = 16


def canonical_json(value: Any) -> bytes:
    """Write JSON with sorted keys and without blanks or NaN: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def readable_json(value: Any) -> bytes:
    """Write indented JSON with sorted keys, for documents that people open; as deterministic."""
    return (json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def sha256(data: bytes) -> str:
    """Compute the sha256 of ``data`` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def content_id(value: Any) -> str:
    """Compute the id of a JSON value: a prefix of the sha256 over its canonical bytes."""
    return sha256(canonical_json(value))[:ID_LENGTH]


def data_version(partition_digests: Iterable[str]) -> str:
    """Id of the telemetry that a build read: the sha256 of its partitions, in any order."""
    return content_id(sorted(partition_digests))


def files_id(files: Iterable[Mapping[str, Any]]) -> str:
    """Compute the id of a set of files: a sha256 prefix over the sorted list of (name, sha256)."""
    return content_id(sorted([f["name"], f["sha256"]] for f in files))
