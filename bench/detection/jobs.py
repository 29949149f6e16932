"""Pieces of work of the detection benchmark, each small enough for two processes to share evenly.

A job gets paths and settings, reads its set, and returns what ``bench.detection`` puts together: plain dataclasses.
Methods and aligners are handed a ``Given``; the ``Truth`` goes to ``bench.judging`` alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.detection import curves, grouped, learned, marks, methods, muting
from bench.detection.decisions import ADJUSTED, EVENTS, FOLLOWED, PUBLISHED, SILENT, Decision, decide
from bench.detection.figures import Judged, Ranked, judged, rank
from bench.detection.labelled import Given, Truth, describe, read
from bench.detection.learned import Learned
from bench.detection.methods import Method
from fleetalign.config import AlignConfig, ResearchConfig, TrainingConfig
from fleetalign.evaluate.controls import CONTROL_SEEDS

BASELINES, SHAREAD, VIEWS, LINEAR = "baselines", "sharead", "views", "near-linear"
MASKED, HISTORY, TRANSFER, OPERATORS = "masked metrics", "history", "transfer", "operators"
SILENT_TOO = (methods.RANDOM, methods.SHAREAD, methods.UNTOLD)
"""Methods that are also aligned without a label: a page budget says enough about the rest."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    seeds: tuple[int, ...]
    control_networks: int
    """With how many of the seeds the near-linear network is trained too."""
    few: bool
    """Some entities of each set only."""
    epochs: int
    windows: int
    """Windows drawn per epoch, the same for every network."""
    validation_windows: int
    curve_samples: int
    """About how many test samples of a set are scored for one point of a curve; 0 = no curves."""
    shift_seeds: int = CONTROL_SEEDS
    bootstrap_samples: int = 1000

    def training(self) -> TrainingConfig:
        return TrainingConfig(
            epochs=self.epochs,
            max_windows_per_epoch=self.windows,
            max_validation_windows=self.validation_windows,
            research=ResearchConfig(patience=self.epochs),
            threads=1,
        )


@dataclass(frozen=True, slots=True)
class Job:
    """``work`` on the set in ``path`` with training seed ``seed``; ``models``: by network, for curves.

    ``cost`` orders jobs, dearest first.
    """

    work: str
    path: Path
    seed: int
    size: Size
    cost: float
    models: dict[str, Learned] = field(default_factory=dict)
    other: str = ""
    """Where the models of a transfer come from."""


@dataclass(frozen=True, slots=True)
class Row:
    """One method under one seed: ranked once, judged under every policy."""

    method: str
    ranked: Ranked
    judged: dict[str, Judged]
    chosen: dict[str, dict[str, Any]]
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class Done:
    """``about``: sizes of the set, from the baselines' job alone; ``curve``: JSON."""

    job: Job
    rows: tuple[Row, ...] = ()
    about: dict[str, Any] | None = None
    models: dict[str, Learned] = field(default_factory=dict)
    curve: Any = None
    seconds: float = 0.0


def work(job: Job) -> Done:
    """Do ``job``, on one thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    started = time.perf_counter()
    try:
        given, truth = read(job.path, job.size.few)
        done = WORK[job.work](job, given, truth)
    finally:
        torch.set_num_threads(threads)
    return replace(done, seconds=time.perf_counter() - started)


def _baselines(job: Job, given: Given, truth: Truth) -> Done:
    """Score the baselines; the random score has a seed, the other two are the same for all."""
    config = AlignConfig()
    found = [methods.random(given, config, job.seed)]
    first = job.seed == job.size.seeds[0]
    if first:
        found += learned.baselines(given, config)
    about = describe(given, truth) if first else None
    return Done(job, tuple(_rows(found, given, truth, config, job)), about)


def _sharead(job: Job, given: Given, truth: Truth) -> Done:
    config = AlignConfig()
    fitted, _ = learned.fit(given, "sharead", job.seed, job.size.training())
    found = learned.sharead(fitted, given, config)
    return Done(job, tuple(_rows(found, given, truth, config, job)), models={SHAREAD: fitted})


def _views(job: Job, given: Given, truth: Truth) -> Done:
    config = AlignConfig()
    fitted, untrained = learned.fit(given, "views", job.seed, job.size.training(), untrained=True)
    told = learned.method_of(methods.VIEWS, fitted, given, config)
    found = [told, learned.untold(told), learned.method_of(methods.UNTRAINED, untrained, given, config)]
    return Done(job, tuple(_rows(found, given, truth, config, job)), models={VIEWS: fitted})


def _linear(job: Job, given: Given, truth: Truth) -> Done:
    config = AlignConfig()
    fitted, _ = learned.fit(given, "views", job.seed, job.size.training(), blocks=0)
    found = [learned.method_of(methods.LINEAR, fitted, given, config)]
    return Done(job, tuple(_rows(found, given, truth, config, job)))


def _rows(found: Sequence[Method], given: Given, truth: Truth, config: AlignConfig, job: Job) -> list[Row]:
    """Decisions are all made before the truth is looked at; the random score through the same policies is the control."""
    chance = methods.random(given, config, job.seed)
    tails = {d.policy: d.tails for d in decide(chance, given, config)}
    decisions = {m.name: _decisions(m, given, config) for m in found}
    controls = job.size.shift_seeds if job.seed == job.size.seeds[0] else 1
    rows = []
    for method in found:
        mine = decisions[method.name]
        told = next(d for d in mine if d.policy == EVENTS)
        ranked = rank(method.ranked(told.candidate), truth)
        counted = {d.policy: judged(d, tails[d.policy], given, truth, config, controls) for d in mine}
        seconds = {**method.seconds, "align": told.seconds}
        rows.append(Row(method.name, ranked, counted, {d.policy: d.chosen for d in mine}, seconds))
    return rows


def _decisions(method: Method, given: Given, config: AlignConfig) -> list[Decision]:
    policies = [PUBLISHED, EVENTS, FOLLOWED, ADJUSTED]
    return decide(method, given, config, policies + [SILENT] * (method.name in SILENT_TOO))


def _masked(job: Job, given: Given, truth: Truth) -> Done:
    return Done(
        job, curve=curves.masked(job.models[VIEWS], job.models[SHAREAD], given, truth, job.size.curve_samples, job.seed)
    )


def _history(job: Job, given: Given, truth: Truth) -> Done:
    return Done(job, curve=curves.history(given, truth, job.size.training(), job.size.curve_samples, job.seed))


def _transfer(job: Job, given: Given, truth: Truth) -> Done:
    return Done(job, curve=curves.transfer(job.models[job.other], job.models[VIEWS], given, truth))


def _operators(job: Job, given: Given, truth: Truth) -> Done:
    """Run the experiments on few marks, mutes and grouped pages; each network scores once."""
    config, fitted, plain = AlignConfig(), job.models[VIEWS], job.models[SHAREAD]
    method = learned.method_of(methods.VIEWS, fitted, given, config)
    score, how = learned.sharead(plain, given, config)[0], (job.seed, job.size.bootstrap_samples)
    found = {
        "marks": marks.curve(method, given, truth, config, *how),
        "muting": muting.experiment(fitted, method, given, truth, config, *how),
        "muting_published": muting.published(plain, score, given, truth, config, *how),
        "grouping": grouped.experiment(fitted, method, given, truth, config, job.seed),
    }
    return Done(job, curve=found)


WORK: dict[str, Callable[[Job, Given, Truth], Done]] = {
    BASELINES: _baselines,
    SHAREAD: _sharead,
    VIEWS: _views,
    LINEAR: _linear,
    MASKED: _masked,
    HISTORY: _history,
    TRANSFER: _transfer,
    OPERATORS: _operators,
}
