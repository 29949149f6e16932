"""Methods with a network, through the product's own training, export, statistics and alignment signal.

A ``Learned`` is small and pickles: workers hand it on. Shapes: E entities, t samples, M metrics, K statistics,
W window_steps.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from bench.detection import methods
from bench.detection.labelled import Given
from bench.detection.methods import Method, of_scores, smoothed
from fleetalign.config import AlignConfig, ModelConfig, TrainingConfig
from fleetalign.contracts.graph import expose, margins
from fleetalign.detectors.grid import grid_of
from fleetalign.detectors.margins import ConditionSignal, EntitySeries, Signal, create
from fleetalign.model import normalizer
from fleetalign.model.candidate import add_statistics


@dataclass(frozen=True, slots=True)
class Learned:
    """One exported network with the numbers of the entities it was trained on.

    ``card``: what the product's model card says of candidates and inputs; ``normalizer``: NORMALIZER table.
    """

    model: bytes
    card: dict[str, Any]
    normalizer: pa.Table
    seconds: dict[str, float]

    def signal(self, config: AlignConfig, lags: Sequence[int] | None = None) -> Signal:
        """Build the candidates of alignment; ``lags`` replace the model's seasonal lags."""
        card = self.card if lags is None else {**self.card, "seasonal_lags_steps": list(lags)}
        return create(card, expose(self.model), grid_of(self.card, config))


def fit(
    given: Given, network: str, seed: int, training: TrainingConfig, *, blocks: int = 2, untrained: bool = False
) -> tuple[Learned, Learned | None]:
    """Train on the train part and export; with ``untrained`` also what the training began with."""
    from fleetalign.model.export import export
    from fleetalign.model.train import train

    model = ModelConfig(network=network, seed=seed, blocks=blocks)
    started = time.process_time()
    fitted = normalizer.build(given.training, model, AlignConfig().min_history_steps)
    trained = train(given.training, *fitted.lookup(), model, training)
    spent = {"train": time.process_time() - started}

    def exported(which: Any, seconds: Mapping[str, float]) -> Learned:
        begun = time.process_time()
        made = export(which, model.window_steps)
        numbers = fitted
        if which.statistics:
            numbers = add_statistics(fitted, given.training, made, which.lags, model.clip)
        card = {
            "condition_used": which.condition_used,
            "window_steps": model.window_steps,
            "seasonal_lags_steps": list(which.lags),
            "statistics_columns": list(which.statistics),
            "period_steps": trained.period_steps,
        }
        return Learned(made, card, numbers.table(), {**seconds, "export": time.process_time() - begun})

    return exported(trained.network, spent), exported(trained.untrained, {}) if untrained else None


def series_of(learned: Learned, given: Given, dropped: Sequence[np.ndarray] | None = None) -> list[EntitySeries]:
    """Every entity as the graph is fed with it. ``dropped``: per entity the metrics (indices) that scoring misses."""
    panel, columns = given.panel, learned.card["statistics_columns"]
    found = normalizer.columns_of(
        learned.normalizer, panel.kind, panel.entity_ids, panel.metrics, ("location", "scale", *columns)
    )
    made = []
    for e in range(given.entities):
        statistics = np.moveaxis(found[2:, e], 0, -1).astype(np.float32)
        values = panel.values[e]
        if dropped is not None:
            values = values.copy()
            values[given.start :, dropped[e]] = np.nan
        weight = np.ones(values.shape, dtype=np.float32)
        made.append(EntitySeries(values, weight, int(panel.first[e]), found[0, e], found[1, e], statistics))
    return made


def views(
    name: str,
    learned: Learned,
    given: Given,
    config: AlignConfig,
    *,
    lags: Sequence[int] | None = None,
    series: Sequence[EntitySeries] | None = None,
) -> Method:
    """All candidates of a ``views`` model; it ranks with the one that alignment chooses."""
    started = time.process_time()
    signal = learned.signal(config, lags)
    rows = series or series_of(learned, given)
    found = tuple(signal.margins(one, given.start, int(stop)) for one, stop in zip(rows, given.stop, strict=True))
    seconds = {**learned.seconds, "score": time.process_time() - started}
    return Method(name, grid_of(learned.card, config), found, None, None, signal.rounding, seconds)


def untold(method: Method, name: str = methods.UNTOLD) -> Method:
    """Keep only the default candidate of ``method``: its weights and smoothing without feedback."""
    at = method.grid.default
    grid = replace(method.grid, candidates=method.grid.candidates[at : at + 1], default=0)
    rows = tuple(one[at : at + 1] for one in method.margins)
    return replace(method, name=name, grid=grid, margins=rows, scores=tuple(one[0] for one in rows))


def sharead(
    learned: Learned, given: Given, config: AlignConfig, *, series: Sequence[EntitySeries] | None = None
) -> list[Method]:
    """Build the published score E[W-1] with the conditions C as candidates, and the same smoothed."""
    started = time.process_time()
    signal = learned.signal(config)
    assert isinstance(signal, ConditionSignal)
    rows = series or series_of(learned, given)
    profiles = tuple(signal.profile(one, given.start, int(stop)) for one, stop in zip(rows, given.stop, strict=True))
    grid = grid_of(learned.card, config)
    found = tuple(np.stack([margins(p, c) for c in grid.candidates]) for p in profiles)
    scores = tuple(np.ascontiguousarray(p[:, -1]) for p in profiles)
    seconds = {**learned.seconds, "score": time.process_time() - started}
    published = Method(methods.SHAREAD, grid, found, scores, profiles, signal.rounding, seconds)
    return [published, of_scores(methods.SHAREAD_SMOOTH, [smoothed(s) for s in scores], config, seconds=seconds)]
