"""Methods of a detector, through the product's own training, export, statistics and margins.

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
from fleetalign.config import AlignConfig, ModelConfig, TrainingConfig, ViewsConfig
from fleetalign.contracts.graph import Graph, expose, margins
from fleetalign.detectors.detector import Detector, Network
from fleetalign.detectors.grid import Grid
from fleetalign.detectors.margins import EntitySeries, Margins, profile
from fleetalign.model import normalizer
from fleetalign.model.candidate import add_statistics


@dataclass(frozen=True, slots=True)
class Learned:
    """One exported network with the numbers of the entities it was trained on."""

    detector: Detector
    model: bytes
    card: dict[str, Any]
    """What the product's model card says of candidates and inputs."""
    normalizer: pa.Table
    """NORMALIZER table."""
    seconds: dict[str, float]

    def grid(self, config: AlignConfig) -> Grid:
        return self.detector.grid(config, self.card["window_steps"])

    def margins(self, config: AlignConfig, lags: Sequence[int] | None = None) -> Margins:
        """Build what alignment chooses among; ``lags`` replace the model's seasonal lags (another set's period)."""
        lags = self.card["seasonal_lags_steps"] if lags is None else lags
        return self.detector.margins(Graph(expose(self.model)), lags, self.grid(config))


def fit(
    given: Given, network: str, seed: int, training: TrainingConfig, *, blocks: int = 2, untrained: bool = False
) -> tuple[Learned, Learned | None]:
    """Train on the train part and export; with ``untrained`` also what the training began with."""
    from fleetalign.model.train import train

    views = ViewsConfig(blocks=blocks) if network == "views" else ViewsConfig()
    model = ModelConfig(network=network, seed=seed, views=views)
    started = time.process_time()
    fitted = normalizer.build(given.training, model, AlignConfig().min_history_steps)
    trained = train(given.training, *fitted.lookup(), model, training)
    spent = {"train": time.process_time() - started}
    made = exported(trained.network, given, fitted, model, spent)
    return made, exported(trained.untrained, given, fitted, model, {}) if untrained else None


def exported(
    network: Network, given: Given, fitted: normalizer.Numbers, model: ModelConfig, seconds: Mapping[str, float]
) -> Learned:
    """Export ``network`` and fit its statistics on the train part."""
    from fleetalign.model.export import export

    started = time.process_time()
    graph = export(network, model.window_steps)
    numbers = add_statistics(fitted, given.training, network.detector, graph, network.lags, model.clip)
    card = {
        "condition_used": network.detector.condition_used,
        "window_steps": model.window_steps,
        "seasonal_lags_steps": list(network.lags),
        "statistics_columns": list(network.detector.statistics),
        "period_steps": network.period_steps,
    }
    spent = {**seconds, "export": time.process_time() - started}
    return Learned(network.detector, graph, card, numbers.table(), spent)


def baselines(given: Given, config: AlignConfig) -> list[Method]:
    """Score with the detectors without weights, which have no seed."""
    from fleetalign.detectors.baselines import MeanZ, RankOne

    found = []
    for name, baseline in ((methods.MEAN_Z, MeanZ()), (methods.PCA, RankOne())):
        model = ModelConfig(window_steps=baseline.defaults.window_steps)
        fitted = normalizer.build(given.training, model, config.min_history_steps)
        made = exported(baseline.network(model, None), given, fitted, model, {})
        found.append(method_of(name, made, given, config))
    return found


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


def method_of(
    name: str,
    learned: Learned,
    given: Given,
    config: AlignConfig,
    *,
    lags: Sequence[int] | None = None,
    series: Sequence[EntitySeries] | None = None,
) -> Method:
    """All candidates of a detector; it ranks with the one that alignment chooses."""
    started = time.process_time()
    of_entity = learned.margins(config, lags)
    rows = series or series_of(learned, given)
    found = tuple(of_entity.margins(one, given.start, int(stop)) for one, stop in zip(rows, given.stop, strict=True))
    seconds = {**learned.seconds, "score": time.process_time() - started}
    return Method(name, learned.grid(config), found, None, None, of_entity.rounding, seconds)


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
    of_entity = learned.margins(config)
    rows = series or series_of(learned, given)
    profiles = tuple(
        profile(of_entity.graph, one, given.start, int(stop)) for one, stop in zip(rows, given.stop, strict=True)
    )
    grid = learned.grid(config)
    found = tuple(np.stack([margins(p, c) for c in grid.candidates]) for p in profiles)
    scores = tuple(np.ascontiguousarray(p[:, -1]) for p in profiles)
    seconds = {**learned.seconds, "score": time.process_time() - started}
    published = Method(methods.SHAREAD, grid, found, scores, profiles, of_entity.rounding, seconds)
    return [published, of_scores(methods.SHAREAD_SMOOTH, [smoothed(s) for s in scores], config, seconds=seconds)]
