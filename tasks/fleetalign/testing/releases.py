"""A small complete release with the toy graph, for tests of scorers, channels and tools.

It needs ``onnx``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from fleetalign.contracts.hashing import data_version, files_id, sha256
from fleetalign.contracts.manifest import MANIFEST_VERSION, Coverage, Gate, KindManifest, Manifest
from fleetalign.contracts.plan import Ranges
from fleetalign.contracts.tables import (
    ALIGNER,
    DEFAULT_ENTITY,
    MUTES,
    NORMALIZER,
    PHASES,
    TELEMETRY,
    TIME,
    fleet_parquet,
    to_parquet,
)
from fleetalign.interval import Interval
from fleetalign.release.publish import file_entry, publish
from fleetalign.storage import layout
from fleetalign.storage.store import Store
from fleetalign.testing.graphs import toy_golden, toy_model

METRICS = ("cpu", "errors", "latency")
CALIBRATED_UNTIL = datetime(2026, 3, 8, tzinfo=UTC)
RANGES = Ranges(
    train=Interval.parse("2026-03-02", "2026-03-06"),
    calibrate=Interval(datetime(2026, 3, 6, tzinfo=UTC), CALIBRATED_UNTIL),
)


def toy_kind_manifest(**changes: Any) -> KindManifest:
    """Return the manifest entry of a kind with a toy graph, with ``changes``."""
    entry = KindManifest(
        model_id="0" * 16,
        model="model.onnx",
        golden="golden.parquet",
        network="toy",
        window_steps=8,
        step_seconds=60,
        metrics=METRICS,
        inputs=("values", "location", "scale", "weight", "condition", "threshold"),
        condition_used=True,
        ir_version=8,
        opset=18,
    )
    return dataclasses.replace(entry, **changes)


def toy_release(
    store: Store,
    *,
    kinds: Mapping[str, Sequence[str]] | None = None,
    metrics: Sequence[str] = METRICS,
    window_steps: int = 8,
    step_seconds: int = 60,
    threshold: float = 1.0,
    mutes: pa.Table | None = None,
    phases: pa.Table | None = None,
    gates: Sequence[Gate] = (),
) -> str:
    """Publish a release and return its id.

    Entity i of a kind has location 10 + i and threshold ``threshold`` + i; the default 10 and ``threshold``.

    Args:
        store: The store.
        kinds: Kind -> entities with rows of their own.
        metrics: The catalogue of every kind.
        window_steps: Samples of one window.
        step_seconds: Seconds between samples.
        threshold: Threshold of the default and of each kind's first entity.
        mutes: Mutes of the release (MUTES).
        phases: Phases of its entities (PHASES).
        gates: Gates of the manifest.
    """
    kinds = {"service": ("a", "b")} if kinds is None else kinds
    files, entries, normalizer, aligner = [], {}, [], []
    model = toy_model(window_steps)
    golden = to_parquet(toy_golden(model, window_steps, len(metrics)))
    model_id = files_id(
        [{"name": "model.onnx", "sha256": sha256(model)}, {"name": "golden.parquet", "sha256": sha256(golden)}]
    )
    keys = {name: layout.model(model_id, name) for name in ("model.onnx", "golden.parquet")}
    for key, data, role in ((keys["model.onnx"], model, "model"), (keys["golden.parquet"], golden, "golden")):
        store.put_immutable(key, data)
        files.append(file_entry(key, data, role))
    for kind, entities in kinds.items():
        entries[kind] = toy_kind_manifest(
            model_id=model_id,
            model=keys["model.onnx"],
            golden=keys["golden.parquet"],
            window_steps=window_steps,
            step_seconds=step_seconds,
            metrics=tuple(metrics),
        )
        for index, entity in enumerate((*entities, DEFAULT_ENTITY)):
            own = index if entity != DEFAULT_ENTITY else 0
            normalizer += [
                {"kind": kind, "entity_id": entity, "metric": m, "location": 10.0 + own, "scale": 2.0} for m in metrics
            ]
            aligner.append(
                {
                    "kind": kind,
                    "entity_id": entity,
                    "condition": 4,
                    "threshold": threshold + own,
                    "tail_probability": 0.01,
                    "state": "default" if entity == DEFAULT_ENTITY else "shared",
                    "reason": "toy",
                    "incidents": 0,
                    "calibrated_until": CALIBRATED_UNTIL,
                }
            )

    def put(table: pa.Table, key_of: Callable[[str], str], role: str) -> tuple[str, str]:
        data = fleet_parquet(table)
        identifier = files_id([{"name": f"{role}.parquet", "sha256": sha256(data)}])
        store.put_immutable(key_of(identifier), data)
        files.append(file_entry(key_of(identifier), data, role))
        return key_of(identifier), identifier

    normalizer_key, normalizer_id = put(
        NORMALIZER.conform(pa.Table.from_pylist(normalizer, schema=NORMALIZER.schema)), layout.normalizer, "normalizer"
    )
    aligner_key, aligner_id = put(
        ALIGNER.conform(pa.Table.from_pylist(aligner, schema=ALIGNER.schema)), layout.aligner, "aligner"
    )
    mutes_key = None if mutes is None else put(MUTES.conform(mutes), layout.plan_input, "mutes")[0]
    further = {}
    if phases is not None:
        key = put(PHASES.conform(phases), layout.plan_input, "phases")[0]
        further = {"schema_version": MANIFEST_VERSION, "phases": key}
    count = sum(len(ids) for ids in kinds.values())
    manifest = Manifest(
        **further,
        release_id="",
        files=tuple(files),
        kinds=entries,
        normalizer=normalizer_key,
        normalizer_id=normalizer_id,
        aligner=aligner_key,
        aligner_id=aligner_id,
        mutes=mutes_key,
        data_version=data_version(["toy"]),
        ranges=dict.fromkeys(kinds, RANGES),
        gates=tuple(gates),
        coverage=Coverage(entities=count, own_rows=count, share=1.0, by_state={"shared": count}),
        evaluation=None,
    )
    return publish(store, manifest, {"why": "a toy release"})


def toy_telemetry(
    kind: str, entity_id: str, steps: int, *, step_seconds: int = 60, metrics: Sequence[str] = METRICS, seed: int = 0
) -> pa.Table:
    """Create telemetry of one entity around location 10 and scale 2, from 2026-03-09 on."""
    random = np.random.default_rng(seed)
    start = np.datetime64("2026-03-09T00:00:00", "us")
    times = start + np.arange(steps) * np.timedelta64(step_seconds, "s")
    columns = {
        "kind": pa.repeat(pa.scalar(kind), steps),
        "entity_id": pa.repeat(pa.scalar(entity_id), steps),
        "timestamp": pa.array(times, pa.timestamp("us")).cast(TIME),
        **{metric: pa.array(random.normal(10.0, 2.0, steps)) for metric in metrics},
    }
    return TELEMETRY.conform(pa.table(columns))
