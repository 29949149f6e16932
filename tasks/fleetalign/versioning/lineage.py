"""Data sets that tasks read and make: folders of the store, with ids of content as versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

Versions = Mapping[str, str | None]
"""Folder of the store to the version that was read or made; None where the task's result has none."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """What one task read and made."""

    outputs: Versions = field(default_factory=dict)
    inputs: Versions = field(default_factory=dict)


def lineage(asset: str, result: Mapping[str, Any]) -> Lineage:
    """Return the lineage of the task whose ``result`` is the event of ``asset``.

    Raises KeyError for another asset or result.
    """
    return _OF[asset](result)


def name_in(store_uri: str, folder: str) -> tuple[str, str]:
    """Return namespace and name of a folder of the store, as OpenLineage writes them."""
    parts = urlsplit(store_uri)
    path = f"{parts.path.rstrip('/')}/{folder}"
    return (f"s3://{parts.netloc}", path.lstrip("/")) if parts.scheme == "s3" else ("file", path)


def _raw(result: Mapping[str, Any]) -> Lineage:
    return Lineage(result["versions"])


def _validated(result: Mapping[str, Any]) -> Lineage:
    made = {p["partition"].rstrip("/"): p["sha256"] for p in result["partitions"]}
    return Lineage(made, {folder.replace("/validated/", "/raw/"): None for folder in made})


def _model(result: Mapping[str, Any]) -> Lineage:
    models = {f"models/kind={kind}": model_id for kind, model_id in result["models"].items()}
    return Lineage(models | {"normalizers": result["normalizer_id"]}, _telemetry(result))


def _aligner(result: Mapping[str, Any]) -> Lineage:
    made = {"aligners": result["aligner_id"], "normalizers": result["normalizer_id"]}
    return Lineage(made, _telemetry(result) | {"models": None})


def _release(result: Mapping[str, Any]) -> Lineage:
    return Lineage({"releases": result["release_id"]}, {"aligners": result.get("aligner_id"), "models": None})


def _telemetry(result: Mapping[str, Any]) -> dict[str, str | None]:
    return {"telemetry/validated": result["data_version"]}


_OF = {
    "telemetry_raw": _raw,
    "telemetry_validated": _validated,
    "shared_model": _model,
    "aligner_table": _aligner,
    "release": _release,
}
