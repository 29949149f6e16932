"""Makes the model candidate of one kind: normalizer, training, export, golden vectors.

A candidate is ``models/<model_id>/{model.onnx, untrained.onnx, golden.parquet, card.json}``; ``model_id`` is the hash of
the four. ``untrained.onnx`` has the weights that training began with: a control, no part of any release.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from fleetalign.config import Config
from fleetalign.contracts.feedback import Statements
from fleetalign.contracts.golden import MAX_PARITY
from fleetalign.contracts.graph import Graph, expose
from fleetalign.contracts.hashing import files_id, readable_json, sha256
from fleetalign.contracts.model_card import Epoch, ModelCard, TrainingSummary
from fleetalign.contracts.plan import Plan
from fleetalign.contracts.tables import to_parquet
from fleetalign.detectors.detector import Detector
from fleetalign.errors import BadInput, NotFound, NotReproducible
from fleetalign.interval import format_time
from fleetalign.model import normalizer
from fleetalign.model.export import export
from fleetalign.model.golden import golden_vectors, verify
from fleetalign.model.normalizer import Numbers
from fleetalign.model.train import TrainedModel, train
from fleetalign.plan.document import partitions_of, read_statements
from fleetalign.progress import Progress
from fleetalign.storage import lake, layout
from fleetalign.storage.panel import Panel, entities_of, read_panel, without_anomalies
from fleetalign.storage.store import Store

MODEL, UNTRAINED, GOLDEN, CARD = "model.onnx", "untrained.onnx", "golden.parquet", "card.json"
CURVE_DIGITS = 9
ELSEWHERE = ("device", "threads", "checkpoint_every_batches")
"""Training settings that say how to run, not what comes out; the card leaves them out."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A stored model and the normalizer that belongs to it."""

    model_id: str
    numbers: Numbers


def pretrain_kind(
    store: Store,
    plan: Plan,
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
    if not difference <= MAX_PARITY:
        raise NotReproducible(
            f"kind {kind!r}: onnxruntime differs from the graph's own golden vectors by {difference:g} relative; "
            "use the locked onnxruntime"
        )
    numbers = add_statistics(numbers, panel, trained.network.detector, model, trained.network.lags, config.model.clip)
    files = {
        MODEL: model,
        UNTRAINED: export(trained.untrained, config.model.window_steps),
        GOLDEN: to_parquet(golden),
        CARD: readable_json(_card(trained, config).as_document()),
    }
    model_id = files_id([{"name": name, "sha256": sha256(data)} for name, data in files.items()])
    for name, data in files.items():
        store.put_immutable(layout.model(model_id, name), data)
    return Candidate(model_id, numbers)


def add_statistics(
    numbers: Numbers, panel: Panel, detector: Detector, model: bytes, lags: Sequence[int], clip: float
) -> Numbers:
    """Return ``numbers`` with the statistics of the graph ``model``, fitted on ``panel``.

    ``lags`` are its seasonal lags in steps. A detector without statistics adds none.
    """
    fitter = detector.fitter(Graph(expose(model)), lags, clip)
    if fitter is None:
        return numbers
    location, scale = numbers.lookup()
    steps = panel.values.shape[1]
    own = np.empty((*location.shape, len(detector.own_statistics)))
    for e in entities_of(panel.values):
        own[e] = fitter.fit(panel, e, 0, steps, location[e], scale[e])
    default = fitter.defaults(own)
    np.copyto(own, default, where=~np.isfinite(own))
    return replace(
        numbers,
        columns=detector.own_statistics,
        statistics=own,
        default_statistics=default,
        constants=dict(zip(detector.fleet_statistics, fitter.fleet, strict=True)),
    )


def training_panel(store: Store, plan: Plan, kind: str, config: Config) -> Panel:
    """Read the telemetry of ``kind`` in the plan's train range, without labelled anomalies.

    Raises:
        BadInput: no entity has one full window, or labelled anomalies cover everything.
    """
    entry = plan.kinds[kind]
    span = entry.ranges.train
    partitions = [p for p in partitions_of(plan, kind) if p.interval.overlaps(span)]
    panel = read_panel(
        store,
        partitions,
        kind,
        lake.entity_ids(store, partitions, kind).to_pylist(),
        entry.metrics,
        span,
        entry.step_seconds,
        memory_mb=config.storage.memory_mb,
        scratch_dir=config.storage.scratch_dir or None,
    )
    window_steps = config.model.window_steps
    if not (panel.last - panel.first + 1 >= window_steps).any():
        raise BadInput(
            f"kind {kind!r}, train range {format_time(span.start)} to {format_time(span.end)}: no entity has {window_steps} steps "
            f"(one window) of {entry.step_seconds} s; give a longer range or a smaller model.window_steps"
        )
    if not plan.feedback.rows:
        return panel
    statements = Statements(read_statements(store, plan, "feedback"), kind)
    if without_anomalies(panel, statements, window_steps) and not _measured(panel):
        raise BadInput(
            f"kind {kind!r}, train range {format_time(span.start)} to {format_time(span.end)}: feedback says that every sample "
            "is an anomaly or follows one within a window; retract what is wrong, or give a longer range"
        )
    return panel


def _measured(panel: Panel) -> bool:
    return any(bool(np.isfinite(panel.values[entity]).any()) for entity in entities_of(panel.values))


def _get_or_none(store: Store, key: str) -> bytes | None:
    try:
        return store.get(key)
    except NotFound:
        return None


def _card(trained: TrainedModel, config: Config) -> ModelCard:
    """Return the model card. No clock, host, path or plan: it is hashed into the model's id."""
    network, detector = trained.network, trained.network.detector
    training = {name: value for name, value in asdict(config.training).items() if name not in ELSEWHERE}
    curve = ({name: _rounded(value) for name, value in epoch.items()} for epoch in trained.curve)
    return ModelCard(
        network=detector.name,
        window_steps=config.model.window_steps,
        inputs=tuple(network.inputs),
        outputs=tuple(detector.outputs),
        score=detector.score,
        margin=detector.margin,
        condition_used=detector.condition_used,
        period_steps=network.period_steps,
        seasonal_lags_steps=tuple(network.lags),
        statistics_columns=tuple(detector.statistics),
        state_size=detector.state_size,
        parameters=sum(parameter.numel() for parameter in network.module.parameters()),
        config={"model": asdict(config.model), "training": training},
        training=TrainingSummary(
            curve=tuple(map(Epoch.from_document, curve)),
            best_epoch=trained.best_epoch,
            weights_chosen_by="validation_loss" if trained.validation_windows else "train_loss",
            training_windows=trained.training_windows,
            validation_windows=trained.validation_windows,
        ),
    )


def _rounded(value: float | int | None) -> float | int | None:
    return float(f"{value:.{CURVE_DIGITS}g}") if isinstance(value, float) else value
