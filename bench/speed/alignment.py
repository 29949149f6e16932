"""Alignment of one entity, both ways: from scores, and from raw telemetry with the scoring pass.

Shapes: t samples, W window_steps, M metrics, R candidates, P tail probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.speed.interleave import topic
from bench.speed.product import Exported
from bench.speed.synthetic import KIND, STEP_SECONDS, Telemetry
from fleetalign.align.choice import Choice, choose
from fleetalign.align.counts import EntityCounts
from fleetalign.align.entity import EntityTables, tabulate
from fleetalign.config import AlignConfig
from fleetalign.contracts.graph import Graph, expose, margins
from fleetalign.detectors.grid import Grid
from fleetalign.detectors.margins import EntitySeries, Margins, profile
from fleetalign.detectors.registry import detector
from fleetalign.detectors.views.margins import ViewsMargins, combined
from fleetalign.evaluate.controls import CONTROL_SEEDS

Turns = Callable[[str, Mapping[str, Callable[[], object]]], dict[str, list[float]]]
"""Takes (what, sides), returns the seconds of every side in every round."""
NO_CONTROLS = ", no controls"


@dataclass(frozen=True, slots=True)
class Calibration:
    """The inputs of tabulating one entity besides its scores."""

    labels: np.ndarray
    """int8 [t]"""
    incidents: np.ndarray
    """int64 [G, 2]"""
    random: np.ndarray
    """Uniform random score, float64 [t]."""
    shifts: np.ndarray
    """Offsets of the shifted control; empty leaves that control out."""


def calibration(telemetry: Telemetry, entity: int, first: int, *, controls: bool = True) -> Calibration:
    """From sample ``first`` on. With ``controls`` the alarms are shifted as often as a build does it."""
    labels = telemetry.labels[entity, first:]
    incidents = telemetry.incidents(entity) - first
    random = np.random.default_rng(entity)
    shifts = random.uniform(0.02, 0.98, CONTROL_SEEDS if controls else 0)
    return Calibration(labels, incidents[incidents[:, 0] >= 0], random.random(len(labels)), shifts)


def margins_of(card: Mapping[str, Any], model: bytes) -> tuple[Margins, Grid]:
    """Read a model as an align worker does; ``card`` is as in ``product.Exported``."""
    chosen = detector(card["network"])
    grid = chosen.grid(AlignConfig(), card["window_steps"])
    return chosen.margins(Graph(expose(model)), card["seasonal_lags_steps"], grid), grid


def own_series(card: Mapping[str, Any], telemetry: Telemetry, entity: int) -> EntitySeries:
    """One entity as an align worker has it; its statistics are all 1, time does not depend on them."""
    values = telemetry.panel.values[entity]
    statistics = np.ones((values.shape[1], len(card["statistics_columns"])), dtype=np.float32)
    weight = np.ones(values.shape, dtype=np.float32)
    return EntitySeries(values, weight, 0, telemetry.location[entity], telemetry.scale[entity], statistics)


def tables(d: np.ndarray, given: Calibration, signal: Margins, grid: Grid) -> EntityTables:
    """Tabulate one entity from its margins float32 [R, t] at threshold 0, as an align worker does."""
    config = AlignConfig()
    return tabulate(
        d, given.labels, given.incidents, grid.tails, config.merge_steps,
        random_scores=given.random, shifts=given.shifts,
        recent_steps=round(config.quantile_days * 86_400 / STEP_SECONDS), rounding=signal.rounding,
    )  # fmt: skip


def choose_for(fleet: list[EntityTables], grid: Grid, steps: int) -> Choice:
    """Grid points of the entities of ``fleet``, all with feedback of their own; ``steps`` samples were seen of each."""
    days = steps * STEP_SECONDS / 86_400
    counts = [
        EntityCounts(t.detector.hits, np.ones(len(t.incidents)), t.detector.false_pages.astype(np.float64), days)
        for t in fleet
    ]
    return choose(counts, np.ones(len(fleet), dtype=bool), grid, AlignConfig())


def topics(
    telemetry: Telemetry, network: Any, exported: Mapping[str, Exported], samples: int, fleet: int, turns: Turns
) -> dict[str, Any]:
    """Measure the topics ``alignment`` and ``alignment_with_scoring`` on the first entity.

    ``network`` is the published one; ``fleet`` entities share one choice.
    """
    from bench import published, published_align

    steps, metrics = telemetry.panel.values.shape[1:]
    first = steps - samples
    given = calibration(telemetry, 0, first)
    windows = published.windows_of(telemetry, 0, first - published.WINDOW_STEPS + 1)
    errors = published.squared_errors(network, windows, gradients=False)
    workers = {name: _Worker(side, telemetry, first) for name, side in exported.items()}
    sides: dict[str, Callable[[], object]] = {
        "published": lambda: published_align.align(errors, given.labels),
        "published_tpe": _averaged_search(errors, given.labels, telemetry),
    }
    for name, worker in workers.items():
        sides[name] = lambda w=worker: w.tabulate(given)
        sides[name + NO_CONTROLS] = lambda w=worker: w.tabulate(calibration(telemetry, 0, first, controls=False))
        members = [worker.tabulate(given)] * fleet
        sides[f"choose {name}"] = lambda w=worker, members=members: w.choose(members, samples)
    seconds = turns("speed: align", sides)
    shares = {name: [s / fleet for s in seconds.pop(f"choose {name}")] for name in workers}

    def published_way() -> None:
        again = published.windows_of(telemetry, 0, first - published.WINDOW_STEPS + 1)
        published_align.align(published.squared_errors(network, again), given.labels)

    whole = turns(
        "speed: score and align",
        {"published": published_way, **{n: (lambda w=w: w.score_and_tabulate(given)) for n, w in workers.items()}},
    )
    for name, share in shares.items():
        for found in (seconds, whole):
            for side in {name, name + NO_CONTROLS} & set(found):
                found[side] = [a + b for a, b in zip(found[side], share, strict=True)]
    what = f"{samples} samples of {metrics} metrics"
    return {
        "alignment": topic(
            f"Alignment of one entity, {what}, scores given",
            f"published: {published_align.TRIALS} TPE trials on the squared errors [t, W, metric] in memory, averaged "
            "over the metrics twice in every trial. published_tpe: the same trials in fleetalign, on errors that the "
            "graph averaged once. The networks: fleet_prior, from the graph's averaged values over every candidate's "
            f"margins to the tables, and this entity's share of choosing for {fleet} entities; the tables also hold "
            f"counts of two controls, '{NO_CONTROLS[2:]}' leaves out the shifted one. Scoring, Parquet and store are "
            "out",
            seconds,
            unit="ms/entity",
            work=1,
        ),
        "alignment_with_scoring": topic(
            f"Alignment of one entity, {what}, from raw telemetry",
            "the same with the scoring pass. published: loader, whole error array, 50 trials; the networks: the "
            "exported graph in ONNX Runtime as an align worker runs it, then fleet_prior with its controls",
            whole,
            unit="ms/entity",
            work=1,
        ),
    }


class _Worker:
    """An align worker of one network, with one entity's averaged values at hand."""

    def __init__(self, exported: Exported, telemetry: Telemetry, first: int) -> None:
        self.span = (first, telemetry.panel.values.shape[1])
        self.signal, self.grid = margins_of(exported.card, exported.model)
        self.series = own_series(exported.card, telemetry, 0)
        if isinstance(self.signal, ViewsMargins):
            self.averaged = self.signal.views(self.series, *self.span)
        else:
            self.averaged = profile(self.signal.graph, self.series, *self.span)

    def tabulate(self, given: Calibration) -> EntityTables:
        if self.grid.shared_candidate:
            d = combined(self.averaged, self.grid.candidates)[:, -len(given.labels) :]
        else:
            d = np.stack([margins(self.averaged, c) for c in self.grid.candidates])
        return tables(d, given, self.signal, self.grid)

    def score_and_tabulate(self, given: Calibration) -> EntityTables:
        return tables(self.signal.margins(self.series, *self.span), given, self.signal, self.grid)

    def choose(self, fleet: list[EntityTables], steps: int) -> Choice:
        return choose_for(fleet, self.grid, steps)


def _averaged_search(errors: np.ndarray, labels: np.ndarray, telemetry: Telemetry) -> Callable[[], object]:
    """Run the published search of ``fleetalign.align.tpe`` with errors averaged beforehand."""
    from fleetalign.align import tpe

    profile = np.ascontiguousarray(errors.mean(axis=2))
    adjusted = AlignConfig(objective="point_adjusted_f1")
    return lambda: tpe.fit(profile, labels, adjusted, KIND, telemetry.panel.entity_ids[0])
