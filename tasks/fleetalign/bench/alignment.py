"""Alignment of one entity, both ways: from scores, and from raw telemetry with the scoring pass.

Shapes: t samples, W window_steps, M metrics, R candidates, P tail probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fleetalign.align.choice import Choice, EntityCounts, choose
from fleetalign.align.entity import EntityTables, tabulate
from fleetalign.align.grid import Grid, make_grid, make_tails
from fleetalign.align.signal import EntitySeries, Signal, combine, create
from fleetalign.bench.interleave import topic
from fleetalign.bench.networks import Exported
from fleetalign.bench.telemetry import KIND, STEP_SECONDS, Telemetry
from fleetalign.config import AlignConfig, GatesConfig
from fleetalign.contracts.graph import expose, margins

Turns = Callable[[str, Mapping[str, Callable[[], object]]], dict[str, list[float]]]
"""Takes (what, sides), returns the seconds of every side in every round."""
NO_CONTROLS = ", no controls"


@dataclass(frozen=True, slots=True)
class Calibration:
    """What tabulating one entity needs beside its scores: ``labels`` int8 [t], ``incidents`` int64 [G, 2], the uniform
    ``random`` float64 [t] and the ``shifts`` of the two controls (no shifts: that control is left out)."""

    labels: np.ndarray
    incidents: np.ndarray
    random: np.ndarray
    shifts: np.ndarray


def calibration(telemetry: Telemetry, entity: int, first: int, *, controls: bool = True) -> Calibration:
    """From sample ``first`` on. With ``controls`` the alarms are shifted as often as ``gates.shift_seeds`` says."""
    labels = telemetry.labels[entity, first:]
    incidents = telemetry.incidents(entity) - first
    random = np.random.default_rng(entity)
    shifts = random.uniform(0.02, 0.98, GatesConfig().shift_seeds if controls else 0)
    return Calibration(labels, incidents[incidents[:, 0] >= 0], random.random(len(labels)), shifts)


def signal_of(card: Mapping[str, Any], model: bytes) -> Signal:
    """What an align worker makes of a model; ``card`` as in ``networks.Exported``."""
    return create(card, expose(model), AlignConfig())


def grid_of(signal: Signal, config: AlignConfig) -> Grid:
    """The candidates of ``signal`` and the tail probabilities."""
    if signal.one_for_all:
        return Grid(tuple(map(str, signal.candidates)), make_tails(config), shared_candidate=True)
    return make_grid(config, max(signal.candidates))


def own_series(card: Mapping[str, Any], telemetry: Telemetry, entity: int) -> EntitySeries:
    """One entity as an align worker has it; its statistics are all 1, time does not depend on them."""
    values = telemetry.panel.values[entity]
    statistics = np.ones((values.shape[1], len(card["statistics_columns"])), dtype=np.float32)
    weight = np.ones(values.shape, dtype=np.float32)
    return EntitySeries(values, weight, 0, telemetry.location[entity], telemetry.scale[entity], statistics)


def tables(d: np.ndarray, given: Calibration, grid: Grid, config: AlignConfig) -> EntityTables:
    """The tables of one entity from its margins ``d`` float32 [R, t] at threshold 0."""
    return tabulate(
        d, given.labels, given.incidents, grid, config.merge_steps, random_scores=given.random, shifts=given.shifts
    )


def choose_for(fleet: list[EntityTables], grid: Grid, config: AlignConfig, steps: int) -> Choice:
    """Grid points of the entities of ``fleet``, all with feedback of their own; ``steps`` samples were seen of each."""
    days = steps * STEP_SECONDS / 86_400
    counts = [
        EntityCounts(t.detector.hits, np.ones(len(t.incidents)), t.detector.false_pages.astype(np.float64), days)
        for t in fleet
    ]
    return choose(counts, np.ones(len(fleet), dtype=bool), grid, config)


def topics(
    telemetry: Telemetry, network: Any, exported: Mapping[str, Exported], samples: int, fleet: int, turns: Turns
) -> dict[str, Any]:
    """The topics ``alignment`` and ``alignment_with_scoring``, on the last ``samples`` samples of the first entity.

    ``network`` is the published one; ``fleet`` entities share one choice.
    """
    from fleetalign.bench import published, published_align

    steps, metrics = telemetry.panel.values.shape[1:]
    first = steps - samples
    given, config = calibration(telemetry, 0, first), AlignConfig()
    windows = published.windows_of(telemetry, 0, first - published.WINDOW_STEPS + 1)
    errors = published.squared_errors(network, windows, gradients=False)
    workers = {name: _Worker(side, telemetry, first, config) for name, side in exported.items()}
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
            f"margins to the tables, and this entity's share of choosing for {fleet} entities; the tables also hold the "
            f"counts of two controls, '{NO_CONTROLS[2:]}' leaves out the shifted one. Scoring, Parquet and store are out",
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

    def __init__(self, exported: Exported, telemetry: Telemetry, first: int, config: AlignConfig) -> None:
        self.config, self.span = config, (first, telemetry.panel.values.shape[1])
        self.signal = signal_of(exported.card, exported.model)
        self.grid = grid_of(self.signal, config)
        self.series = own_series(exported.card, telemetry, 0)
        if self.signal.one_for_all:
            self.averaged = self.signal.views(self.series, *self.span)
        else:
            self.averaged = self.signal.profile(self.series, *self.span)

    def tabulate(self, given: Calibration) -> EntityTables:
        rule = combine if self.signal.one_for_all else margins
        d = np.stack([rule(self.averaged, c)[-len(given.labels) :] for c in self.signal.candidates])
        return tables(d, given, self.grid, self.config)

    def score_and_tabulate(self, given: Calibration) -> EntityTables:
        return tables(self.signal.margins(self.series, *self.span), given, self.grid, self.config)

    def choose(self, fleet: list[EntityTables], steps: int) -> Choice:
        return choose_for(fleet, self.grid, self.config, steps)


def _averaged_search(errors: np.ndarray, labels: np.ndarray, telemetry: Telemetry) -> Callable[[], object]:
    """The published search of ``fleetalign.align.tpe``, its errors averaged beforehand, as the graph gives them."""
    from fleetalign.align import tpe

    profile = np.ascontiguousarray(errors.mean(axis=2))
    adjusted = AlignConfig(objective="point_adjusted_f1")
    return lambda: tpe.fit(profile, labels, adjusted, KIND, telemetry.panel.entity_ids[0])
