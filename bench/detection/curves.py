"""How figures change: with metrics that are missing, with less history, with a network from another set.

They are taken on some entities of a set, evenly spread, because each point scores its test parts anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bench.detection import learned, methods
from bench.detection.decisions import EVENTS, FOLLOWED, Decision, decide
from bench.detection.figures import judged, rank
from bench.detection.labelled import Given, Truth
from bench.detection.learned import Learned
from bench.detection.methods import Method
from fleetalign.config import AlignConfig, ModelConfig, TrainingConfig
from fleetalign.contracts.graph import Graph, expose
from fleetalign.detectors.margins import EntitySeries
from fleetalign.detectors.statistics import completed
from fleetalign.evaluate.bootstrap import rounded
from fleetalign.evaluate.pooled import DAY_SECONDS, event_f1
from fleetalign.model import normalizer
from fleetalign.model.candidate import add_statistics
from fleetalign.storage.panel import Panel

DROPPED = (0, 1, 3, 5)
KEPT, FOLLOWED_DAILY = "kept", "followed daily"
DAYS = (0.5, 1.0, 2.0, 4.0, 7.0, None)
"""None: all train days."""


def chosen(given: Given, samples: int, most: int) -> list[int]:
    """Entities evenly spread whose test parts hold about ``samples``: at least two, at most ``most``."""
    typical = float(np.mean(given.stop - given.start))
    count = int(np.clip(samples / typical, min(2, most), most))
    return np.unique(np.linspace(0, given.entities - 1, count).astype(int)).tolist()


def masked(
    views: Learned, sharead: Learned, given: Given, truth: Truth, samples: int, seed: int
) -> list[dict[str, Any]]:
    """VUS-PR and event F1 when 0, 1, 3 or 5 metrics of each entity, drawn at random, are missing while scoring.

    Thresholds are ``KEPT``, those of all metrics, as before the next alignment; or aligned with what is there and
    ``FOLLOWED_DAILY``, as from then on. Sets with few metrics keep one.
    """
    config = AlignConfig()
    rows = chosen(given, samples, given.entities)
    part, said = given.subset(rows), truth.subset(rows)
    orders = [np.random.default_rng([seed, e]).permutation(len(given.panel.metrics)) for e in rows]
    out = []
    whole: dict[str, Decision] = {}
    for number in DROPPED:
        if number >= len(given.panel.metrics):
            continue
        missing = [order[:number] for order in orders]
        found = [
            learned.method_of(methods.VIEWS, views, part, config, series=learned.series_of(views, part, missing)),
            learned.sharead(sharead, part, config, series=learned.series_of(sharead, part, missing))[0],
        ]
        for method in found:
            aligned, followed = decide(method, part, config, (EVENTS, FOLLOWED))
            kept = again(whole.setdefault(method.name, aligned), method)
            for thresholds, decision in ((KEPT, kept), (FOLLOWED_DAILY, followed)):
                about = {"method": method.name, "dropped": number, "thresholds": thresholds}
                out.append(about | _figures(decision, method, part, said, config))
    return out


def again(decision: Decision, method: Method) -> Decision:
    """Apply the thresholds of ``decision`` to other margins of the same method."""
    alarms = [method.margins[e][c] > limit for e, (c, limit) in enumerate(decision.points)]
    return replace(decision, alarms=tuple(alarms))


def history(given: Given, truth: Truth, training: TrainingConfig, samples: int, seed: int) -> list[dict[str, Any]]:
    """Measure figures of new entities against their days of history.

    The network has never seen them. Location, scale and statistics are fitted on the last days of their train part;
    thresholds come from feedback, as for all entities.
    """
    config = AlignConfig()
    if given.entities < 4:
        return []
    rows = chosen(given, samples, given.entities // 2)
    others = given.subset([e for e in range(given.entities) if e not in rows])
    fitted, _ = learned.fit(others, "views", seed, training)
    part, said = given.subset(rows), truth.subset(rows)
    out = []
    for days in DAYS:
        steps = part.start if days is None else round(days * part.steps_per_day)
        if days is not None and steps >= part.start:
            continue
        late = _since(part, part.start - steps)
        method = learned.method_of(methods.VIEWS, fitted, late, config, series=newcomers(fitted, late, config))
        decision = decide(method, late, config, (EVENTS,))[0]
        entry = {"days": days, "train_days": part.start / part.steps_per_day, "entities": len(rows)}
        out.append(entry | _figures(decision, method, late, said, config))
    return out


def newcomers(fitted: Learned, given: Given, config: AlignConfig) -> list[EntitySeries]:
    """Entities with numbers of their own where their history allows it, the fleet's default rows where not."""
    model = ModelConfig()
    panel = given.panel
    location, scale, *rest = normalizer.columns_of(
        fitted.normalizer, panel.kind, panel.entity_ids, panel.metrics,
        ("location", "scale", *fitted.card["statistics_columns"]),
    )  # fmt: skip
    statistics = np.stack(rest, axis=-1)
    own_location, own_scale, counted = normalizer.fit(given.training, 0, given.start, model)
    fitter = fitted.detector.fitter(Graph(expose(fitted.model)), fitted.card["seasonal_lags_steps"], model.clip)
    assert fitter is not None, "views has statistics"
    made = []
    for e in range(given.entities):
        if counted[e].max(initial=0) >= config.min_history_steps:
            known = counted[e] > 0
            floor = normalizer.floored(own_location[e], own_scale[e], scale[e], model)
            location[e] = np.where(known, own_location[e], location[e])
            scale[e] = np.where(known, floor, scale[e])
            own = fitter.fit(given.training, e, 0, given.start, location[e], scale[e])
            statistics[e] = completed(own, statistics[e, :, : own.shape[1]], statistics[e, 0, own.shape[1] :])
        weight = np.ones(panel.values[e].shape, dtype=np.float32)
        made.append(
            EntitySeries(
                panel.values[e], weight, int(panel.first[e]), location[e], scale[e], statistics[e].astype(np.float32)
            )
        )
    return made


def transfer(source: Learned, own: Learned, given: Given, truth: Truth) -> dict[str, Any]:
    """VUS-PR and AP of a network from another set, no feedback: only the entities' numbers are fitted here.

    Its seasonal lags become this set's where both have the same number of them (``own`` knows this set's period).
    """
    config = AlignConfig()
    theirs, ours = source.card["seasonal_lags_steps"], own.card["seasonal_lags_steps"]
    lags = ours if len(ours) == len(theirs) else theirs
    fitted = normalizer.build(given.training, ModelConfig(), config.min_history_steps)
    numbers = add_statistics(fitted, given.training, source.detector, source.model, lags, ModelConfig().clip)
    moved = replace(source, normalizer=numbers.table())
    method = learned.untold(learned.method_of(methods.VIEWS, moved, given, config, lags=lags))
    found = rank(method.ranked(0), truth, area=False)
    return {
        "vus_pr": rounded(_mean(found.vus_pr)),
        "average_precision": rounded(_mean(found.average_precision)),
        "own_period": lags is ours,
    }


def _since(given: Given, begin: int) -> Given:
    """Drop everything before grid step ``begin``."""
    p = given.panel
    values = p.values.copy()
    values[:, :begin] = np.nan
    panel = Panel(p.kind, p.entity_ids, p.metrics, p.start, p.step_seconds, values, np.maximum(p.first, begin), p.last)
    return replace(given, panel=panel)


def _figures(
    decision: Decision, method: Method, given: Given, truth: Truth, config: AlignConfig
) -> dict[str, float | None]:
    counts = judged(decision, decision.tails, given, truth, config, control_seeds=1).counts
    seconds = sum(c.judged_seconds for c in counts)
    ranked = rank(method.ranked(decision.candidate), truth, area=False)
    return {
        "vus_pr": rounded(_mean(ranked.vus_pr)),
        "event_f1": rounded(float(event_f1(counts, np.ones((1, len(counts))))[0])),
        "false_pages_per_entity_day": rounded(sum(c.false_pages for c in counts) * DAY_SECONDS / max(seconds, 1.0)),
    }


def _mean(values: Sequence[float] | np.ndarray) -> float:
    known = np.asarray(values)[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
