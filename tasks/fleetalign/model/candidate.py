"""From a plan to a model candidate of one kind: normalizer, training, export, golden vectors, immutable files.

A candidate is ``models/<model_id>/{model.onnx, untrained.onnx, golden.parquet, card.json}``; ``model_id`` is the hash of
the four. ``untrained.onnx`` has the weights that training began with: a control, no part of any release.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from fleetalign.config import Config
from fleetalign.contracts.graph import Graph, expose
from fleetalign.contracts.hashing import files_id, readable_json, sha256
from fleetalign.contracts.tables import to_parquet
from fleetalign.detectors.views import statistics
from fleetalign.detectors.views.roles import FLEET_STATISTICS, OWN_STATISTICS, STATE_SIZE
from fleetalign.detectors.views.statistics import Fitter
from fleetalign.errors import BadInput, NotFound, NotReproducible
from fleetalign.interval import Interval
from fleetalign.model import normalizer
from fleetalign.model.export import export
from fleetalign.model.golden import golden_vectors, verify
from fleetalign.model.normalizer import Numbers
from fleetalign.model.train import TrainedModel, train
from fleetalign.progress import Progress
from fleetalign.storage import lake, layout
from fleetalign.storage.panel import Panel, entities_of, read_panel
from fleetalign.storage.store import Store

CARD_VERSION = "1.1"
MODEL, UNTRAINED, GOLDEN, CARD = "model.onnx", "untrained.onnx", "golden.parquet", "card.json"
CURVE_DIGITS = 9
ELSEWHERE = ("device", "threads", "checkpoint_every_batches")
"""Training settings that say how to run, not what comes out; the card leaves them out."""


@dataclass(frozen=True, slots=True)
class Candidate:
    model_id: str
    numbers: Numbers


def pretrain_kind(
    store: Store,
    plan: Mapping[str, Any],
    plan_id: str,
    kind: str,
    config: Config,
    progress: Progress | None = None,
    resume: bool = True,
) -> Candidate:
    """Train and publish the candidate of one kind of ``plan`` (contracts 4.1).

    Run again, it gives the same bytes; killed, it resumes from the checkpoint under ``plan_id``. Raises BadInput when
    the kind has less than one full window of training data, NotReproducible when the graph fails its golden vectors.
    """
    panel = training_panel(store, plan, kind, config)
    numbers = normalizer.build(panel, config.model, config.align.min_history_steps)
    location, scale = numbers.lookup()
    key = layout.checkpoint(plan_id, kind)
    trained = train(
        panel,
        location,
        scale,
        config.model,
        config.training,
        data_id=f"{plan_id}/{kind}",
        scratch=(config.storage.memory_mb, config.storage.scratch_dir or None),
        save=lambda data: store.put(key, data),
        resume=_get_or_none(store, key) if resume else None,
        progress=progress,
    )
    model = export(trained.network, config.model.window_steps)
    golden = golden_vectors(model, len(panel.metrics), config.model.seed)
    difference = verify(model, golden)
    if not difference <= config.gates.max_parity:
        raise NotReproducible(
            f"kind {kind!r}: onnxruntime differs from the graph's own golden vectors by {difference:g} relative; "
            "use the locked onnxruntime"
        )
    if trained.network.statistics:
        numbers = add_statistics(numbers, panel, model, trained.network.lags, config.model.clip)
    files = {
        MODEL: model,
        UNTRAINED: export(trained.untrained, config.model.window_steps),
        GOLDEN: to_parquet(golden),
        CARD: readable_json(_card(trained, config)),
    }
    model_id = files_id([{"name": name, "sha256": sha256(data)} for name, data in files.items()])
    for name, data in files.items():
        store.put_immutable(layout.model(model_id, name), data)
    return Candidate(model_id, numbers)


def add_statistics(numbers: Numbers, panel: Panel, model: bytes, lags: Sequence[int], clip: float) -> Numbers:
    """``numbers`` with the statistics columns of ``model`` (contracts.views), fitted on the whole ``panel``."""
    fitter = Fitter(Graph(expose(model)), tuple(lags), clip)
    location, scale = numbers.lookup()
    steps = panel.values.shape[1]
    own = np.empty((*location.shape, len(OWN_STATISTICS)))
    for e in entities_of(panel.values):
        own[e] = fitter.fit(panel, e, 0, steps, location[e], scale[e])
    default = statistics.defaults(own)
    np.copyto(own, default, where=~np.isfinite(own))
    return replace(
        numbers,
        columns=OWN_STATISTICS,
        statistics=own,
        default_statistics=default,
        constants=dict(zip(FLEET_STATISTICS, statistics.DEFAULT_FLEET, strict=True)),
    )


def training_panel(store: Store, plan: Mapping[str, Any], kind: str, config: Config) -> Panel:
    """The telemetry of ``kind`` in the plan's train range. Raises BadInput when nobody has one full window of it."""
    facts = plan["kinds"][kind]
    span = facts["ranges"]["train"]
    interval = Interval.parse(span["start"], span["end"])
    partitions = [
        partition
        for partition in map(lake.Partition.from_plan_entry, plan["partitions"])
        if partition.kind == kind and partition.interval.overlaps(interval)
    ]
    panel = read_panel(
        store,
        partitions,
        kind,
        lake.entity_ids(store, partitions, kind).to_pylist(),
        facts["metrics"],
        interval,
        facts["step_seconds"],
        memory_mb=config.storage.memory_mb,
        scratch_dir=config.storage.scratch_dir or None,
    )
    window_steps = config.model.window_steps
    if not (panel.last - panel.first + 1 >= window_steps).any():
        raise BadInput(
            f"kind {kind!r}, train range {span['start']} to {span['end']}: no entity has {window_steps} steps "
            f"(one window) of {facts['step_seconds']} s; give a longer range or a smaller model.window_steps"
        )
    return panel


def _get_or_none(store: Store, key: str) -> bytes | None:
    try:
        return store.get(key)
    except NotFound:
        return None


def _card(trained: TrainedModel, config: Config) -> dict[str, Any]:
    """What a reader of the model should know. No clock, host, path or plan: it is hashed into the model's id."""
    network = trained.network
    training = {name: value for name, value in asdict(config.training).items() if name not in ELSEWHERE}
    curve = [{name: _rounded(value) for name, value in epoch.items()} for epoch in trained.curve]
    return {
        "schema_version": CARD_VERSION,
        "network": config.model.network,
        "window_steps": config.model.window_steps,
        "inputs": list(network.inputs),
        "outputs": list(network.outputs),
        "score": network.score,
        "margin": network.margin,
        "condition_used": network.condition_used,
        "period_steps": trained.period_steps,
        "seasonal_lags_steps": list(network.lags),
        "statistics_columns": list(network.statistics),
        "state_size": STATE_SIZE if "state" in network.inputs else None,
        "parameters": sum(parameter.numel() for parameter in network.module.parameters()),
        "config": {"model": asdict(config.model), "training": training},
        "training": {
            "curve": curve,
            "best_epoch": trained.best_epoch,
            "weights_chosen_by": "validation_loss" if trained.validation_windows else "train_loss",
            "training_windows": trained.training_windows,
            "validation_windows": trained.validation_windows,
        },
    }


def _rounded(value: float | int | None) -> float | int | None:
    return float(f"{value:.{CURVE_DIGITS}g}") if isinstance(value, float) else value
