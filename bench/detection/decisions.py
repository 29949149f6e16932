"""From scores to alarms, aligned on the feedback part alone. The one place where the benchmark meets the product's aligner.

Tables, objective, fleet prior, candidate, thresholds and drift are the product's (``fleetalign.align``); so is the
published aligner (``align.tpe``). Shapes: E entities, t samples of a test part, f of its feedback part, R candidates.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.detection.labelled import Given
from bench.detection.methods import Method
from fleetalign.align import tpe
from fleetalign.align.choice import Choice, choose
from fleetalign.align.counts import EntityCounts, unlabelled_share
from fleetalign.align.entity import EntityTables, seeded_uniform, tabulate
from fleetalign.align.threshold_drift import followed
from fleetalign.config import AlignConfig
from fleetalign.contracts.feedback import ANOMALY, UNLABELLED
from fleetalign.contracts.graph import margins
from fleetalign.detectors.grid import Grid, upper_quantiles

PUBLISHED = "published TPE"
EVENTS = "event F1"
ADJUSTED = "point-adjusted F1"
FOLLOWED = "event F1, followed daily"
SILENT = "no labels, page budget"
POLICIES = (PUBLISHED, EVENTS, FOLLOWED, ADJUSTED, SILENT)
NO_SHIFTS = np.empty(0)


@dataclass(frozen=True, slots=True)
class Decision:
    """Alarms of one method under one policy: per entity bool [t], and the tail probability of its threshold.

    ``candidate``: index of the fleet's candidate; ``points``: per entity the index of its candidate and its threshold
    (empty for the published aligner); ``chosen``: what was chosen on feedback, as JSON.
    """

    method: str
    policy: str
    alarms: tuple[np.ndarray, ...]
    tails: tuple[float, ...]
    candidate: int
    points: tuple[tuple[int, float], ...]
    chosen: dict[str, Any]
    seconds: float


def decide(method: Method, given: Given, config: AlignConfig, policies: Sequence[str] = POLICIES) -> list[Decision]:
    """Align ``method`` by each of ``policies`` that applies to it."""
    started = time.process_time()
    tables = tabulated(method, given, config)
    share = time.process_time() - started
    done = []
    for policy in policies:
        if policy == PUBLISHED and method.profiles is None:
            continue
        started = time.process_time()
        if policy == PUBLISHED:
            decision = _published(method, given, config)
        elif policy == SILENT:
            quiet = replace(given, feedback=tuple(np.full_like(one, UNLABELLED) for one in given.feedback))
            decision = _aligned(method, quiet, tabulated(method, quiet, config), config, policy)
        else:
            objective = "point_adjusted_f1" if policy == ADJUSTED else "event_f1"
            decision = _aligned(method, given, tables, replace(config, objective=objective), policy)
        spent = time.process_time() - started + (share if policy in (EVENTS, FOLLOWED, ADJUSTED) else 0.0)
        done.append(replace(decision, seconds=spent))
    return done


def tabulated(method: Method, given: Given, config: AlignConfig) -> list[EntityTables | None]:
    """Tabulate every entity for alignment; None for one without a scored normal sample."""
    found: list[EntityTables | None] = []
    recent = round(config.quantile_days * given.steps_per_day)
    for e, entity_id in enumerate(given.panel.entity_ids):
        labels, rows = given.feedback[e], method.margins[e][:, : given.feedback_steps(e)]
        if not ((labels != ANOMALY) & ~np.isnan(rows[0])).any():
            found.append(None)
            continue
        drawn = seeded_uniform(config.seed, given.panel.kind, entity_id, len(labels))
        found.append(
            tabulate(
                rows, labels, given.incidents(e), method.grid.tails, config.merge_steps,
                random_scores=drawn, shifts=NO_SHIFTS, recent_steps=recent, rounding=method.rounding,
            )
        )  # fmt: skip
    return found


def choice_of(
    tables: Sequence[EntityTables | None], given: Given, grid: Grid, config: AlignConfig
) -> tuple[Choice, np.ndarray]:
    """Make the product's choice for the fleet, with every entity's grid point, int64 [E, 2]."""
    known = [e for e, one in enumerate(tables) if one is not None]
    counts = [_counts(tables[e], given, e, config) for e in known]
    spoken = np.array([(given.feedback[e] != UNLABELLED).any() for e in known], dtype=bool)
    found = choose(counts, spoken, grid, config)
    points = np.tile(np.array(found.shared), (len(tables), 1))
    points[known] = found.own
    return found, points


def _counts(tables: EntityTables, given: Given, e: int, config: AlignConfig) -> EntityCounts:
    """Count one entity as the fleet step reads it from a shard."""
    days = given.feedback_steps(e) / given.steps_per_day
    unlabelled = unlabelled_share(tables.judged_steps, given.feedback_steps(e))
    hits = tables.detector.hits
    if config.objective == "point_adjusted_f1":
        lengths = (tables.incidents[:, 1] - tables.incidents[:, 0]).astype(np.float64)
        return EntityCounts(hits, lengths, tables.false_points, days, unlabelled)
    return EntityCounts(hits, np.ones(len(tables.incidents)), tables.detector.false_pages, days, unlabelled)


def _aligned(
    method: Method, given: Given, tables: Sequence[EntityTables | None], config: AlignConfig, policy: str
) -> Decision:
    grid = method.grid
    found, points = choice_of(tables, given, grid, config)
    own = [one.quantiles[c, p] if one else np.nan for one, (c, p) in zip(tables, points, strict=True)]
    # Who has no quantile of its own has the fleet's, as the aligner's default row says.
    typical = np.nanmedian([one.quantiles[found.shared] for one in tables if one is not None])
    thresholds = np.where(np.isfinite(own), own, typical).astype(np.float32)
    alarms = []
    for e, (c, p) in enumerate(points):
        row = method.margins[e][c]
        limit: Any = thresholds[e]
        if policy == FOLLOWED:
            limit = follow(row, given, e, thresholds[e], float(grid.tails[p]), config, method.rounding)
        alarms.append(row > limit)
    candidate, p = found.shared
    chosen = {
        "candidate": _plain(grid.candidates[candidate]),
        "tail_probability": float(grid.tails[p]),
        "prior_weight": found.k,
        "entities_with_their_own": int((points != found.shared).any(axis=1).sum()),
        "entities": len(points),
    }
    tails = tuple(float(grid.tails[p]) for _, p in points)
    settings = tuple((int(c), float(limit)) for (c, _), limit in zip(points, thresholds, strict=True))
    return Decision(method.name, policy, tuple(alarms), tails, int(candidate), settings, chosen, 0.0)


def follow(
    row: np.ndarray, given: Given, e: int, threshold: np.float32, tail: float, config: AlignConfig, rounding: float
) -> np.ndarray:
    """Threshold of every sample float32 [t] when the product aligns again at every day's end after the feedback part.

    From then on nobody labels anything: the newest scores count as normal, but for what feedback had called an anomaly.
    """
    day = max(round(given.steps_per_day), 1)
    width = round(config.quantile_days * given.steps_per_day)
    cut = given.feedback_steps(e)
    quiet = ~np.isnan(row)
    quiet[:cut] &= given.feedback[e] != ANOMALY
    limits = np.full(len(row), threshold, dtype=np.float32)
    now = np.float32(threshold)
    for at in range(cut + day, len(row), day):
        newest = np.sort(row[max(at - width, 0) : at][quiet[max(at - width, 0) : at]])
        if len(newest):
            found = upper_quantiles(newest, np.array([tail]))[0]
            recent = np.float32(found + np.float32(rounding) * abs(found))
            now = followed(now, recent, threshold, np.float64(1.0), config.max_threshold_change_per_day)
        limits[at:] = now
    return limits


def _published(method: Method, given: Given, config: AlignConfig) -> Decision:
    """Per entity the published search, on its feedback part, with the published objective."""
    settings = replace(config, method="published_tpe", objective="point_adjusted_f1")
    alarms, tails, conditions = [], [], []
    for e, entity_id in enumerate(given.panel.entity_ids):
        profile = method.profiles[e]
        fitted = tpe.fit(
            np.ascontiguousarray(profile[: given.feedback_steps(e)]), given.feedback[e], settings, given.panel.kind, entity_id
        )  # fmt: skip
        alarms.append(margins(profile, fitted["tpe_condition"]) > fitted["tpe_threshold"])
        tails.append(float(fitted["tpe_tail_probability"]))
        conditions.append(fitted["tpe_condition"])
    chosen = {
        "condition_median": float(np.median(conditions)),
        "tail_probability_median": float(np.median(tails)),
        "entities": len(alarms),
    }
    return Decision(method.name, PUBLISHED, tuple(alarms), tuple(tails), method.grid.default, (), chosen, 0.0)


def _plain(candidate: Any) -> Any:
    return list(candidate) if isinstance(candidate, tuple) else candidate
