"""What muting the noisiest metrics of the noisiest entities does, beside muting as many of their metrics at random.

``experiment`` mutes for the product's method and aligner, ``published`` repeats the published experiment with the published
score and aligner (ISSRE, section V-F), whose entities were picked by hand. Noise is looked for in the feedback part alone: at a generous page budget, who pages where operators said that nothing was
wrong, and which metrics those pages name. Mutes take the way of every mute (``contracts.mutes``, the graph's ``weight``).

Shapes: E entities, t samples of an entity's test part, b bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from bench.detection.curves import FOLLOWED_DAILY, KEPT, again
from bench.detection.decisions import EVENTS, FOLLOWED, PUBLISHED, SILENT, Decision, decide
from bench.detection.figures import judged, rank
from bench.detection.labelled import Given, Truth
from bench.detection.learned import Learned, series_of
from bench.detection.methods import Method
from bench.detection.paging import pages_between, position
from fleetalign.config import AlignConfig
from fleetalign.contracts.feedback import ANOMALY, UNLABELLED
from fleetalign.contracts.graph import margins as margins_at
from fleetalign.contracts.mutes import Mutes
from fleetalign.contracts.tables import MUTES
from fleetalign.detectors.margins import profile
from fleetalign.evaluate.bootstrap import estimate, resample, rounded
from fleetalign.evaluate.outcomes import EntityCounts, mean
from fleetalign.evaluate.pooled import Measure, event_f1, false_pages_per_entity_day, point_adjusted_f1

MUTED = (1, 3)
"""Metrics muted per noisy entity."""
NOISY_SHARE = 0.25
LEAST_NOISY = 3
"""Noisy entities: a quarter of the fleet, and no fewer than the published experiment has."""
GENEROUS = 2.0
"""Pages per entity-day at which noise is looked for: an aligned release hardly has a false page on its own feedback."""
RANDOM_DRAWS = 3
ANEW = "aligned anew"
COUNTED: dict[str, Measure] = {
    "event_f1": event_f1,
    "false_pages_per_entity_day": false_pages_per_entity_day,
    "point_adjusted_f1": point_adjusted_f1,
}


@dataclass(frozen=True, slots=True)
class _Figures:
    """Counts of every judged entity by how its threshold came about; ``vus_pr`` float64 [noisy entity]."""

    counts: dict[str, tuple[EntityCounts, ...]]
    vus_pr: np.ndarray


Look = Callable[[Mapping[int, Sequence[str]]], _Figures]
"""Figures with these metrics of each entity muted."""


def experiment(
    learned: Learned, method: Method, given: Given, truth: Truth, config: AlignConfig, seed: int, samples: int
) -> dict[str, Any]:
    """Figures on judged time before and after, as JSON; ``rows`` is empty where nobody pages without a reason."""
    noise = noisiest(learned, method, given, config)
    before = decide(method, given, config, (EVENTS,))[0]

    def look(names: Mapping[int, Sequence[str]]) -> _Figures:
        quieter = muted(learned, method, given, names, config) if any(names.values()) else method
        anew, followed = decide(quieter, given, config, (EVENTS, FOLLOWED))
        decisions = {KEPT: again(before, quieter), ANEW: anew, FOLLOWED_DAILY: followed}
        return _figures(
            decisions, [quieter.margins[e][before.candidate] for e in noise], list(noise), given, truth, config
        )

    hows = (KEPT, ANEW, FOLLOWED_DAILY)
    return _beside_random(look, noise, given, (KEPT, FOLLOWED_DAILY), hows, config, seed, samples)


def published(
    learned: Learned, method: Method, given: Given, truth: Truth, config: AlignConfig, seed: int, samples: int
) -> dict[str, Any]:
    """Run it for the published score and aligner, on their own noisiest entities."""
    noise = noisiest(learned, method, given, config)
    rows = list(noise)
    part, said = given.subset(rows), truth.subset(rows)
    everybody = list(range(len(rows)))

    def look(names: Mapping[int, Sequence[str]]) -> _Figures:
        quieter = _subset(muted(learned, method, given, names, config) if any(names.values()) else method, rows)
        decisions = {ANEW: decide(quieter, part, config, (PUBLISHED,))[0]}
        return _figures(decisions, quieter.scores, everybody, part, said, config)

    return _beside_random(look, noise, given, (ANEW,), (ANEW,), config, seed, samples)


def _figures(
    decisions: Mapping[str, Decision],
    scores: Sequence[np.ndarray],
    noisy: Sequence[int],
    given: Given,
    truth: Truth,
    config: AlignConfig,
) -> _Figures:
    """Count all entities, and rank ``scores``, those of the entities ``noisy``."""
    counts = {how: judged(d, d.tails, given, truth, config, 1).counts for how, d in decisions.items()}
    return _Figures(counts, rank(scores, truth.subset(noisy), area=False).vus_pr)


def _beside_random(
    look: Look,
    noise: Mapping[int, Sequence[str]],
    given: Given,
    before: Sequence[str],
    after: Sequence[str],
    config: AlignConfig,
    seed: int,
    samples: int,
) -> dict[str, Any]:
    """``before`` and ``after``: whose thresholds are shown without mutes, and with them."""
    out = {"entities": len(noise), "generous_pages_per_day": GENEROUS, "random_draws": RANDOM_DRAWS, "rows": []}
    if not noise:
        return out
    reference = look({e: () for e in noise})
    ids = {given.panel.entity_ids[e] for e in noise}
    out["rows"] = [_row(0, how, reference, reference, None, ids, config, samples) for how in before]
    for number in MUTED:
        found = look({e: names[:number] for e, names in noise.items()})
        chance = [look(_at_random(given, noise, number, seed + draw)) for draw in range(RANDOM_DRAWS)]
        out["rows"] += [_row(number, how, found, reference, chance, ids, config, samples) for how in after]
    return out


def noisiest(learned: Learned, method: Method, given: Given, config: AlignConfig) -> dict[int, list[str]]:
    """Find the entities with most false pages in the feedback part, with their noisy metrics.

    A metric is noisy when its mean share in the entity's false pages is larger than in its true ones: what shows real
    incidents nobody mutes.
    """
    loose = replace(config, pages_per_entity_day=GENEROUS)
    decision = decide(method, given, loose, (SILENT,))[0]
    parts = [(0, given.feedback_steps(e)) for e in range(given.entities)]
    number = {entity_id: e for e, entity_id in enumerate(given.panel.entity_ids)}
    named: dict[tuple[int, bool], list[dict[str, float]]] = {}
    for page in pages_between(learned, method, decision, given, parts, config):
        e = number[page.entity_id]
        said = given.feedback[e][position(given, page.start) : position(given, page.end)]
        if (said != UNLABELLED).any():
            named.setdefault((e, bool((said == ANOMALY).any())), []).append(dict(page.metrics))
    wanted = min(max(LEAST_NOISY, round(NOISY_SHARE * given.entities)), given.entities)
    count = {e: len(pages) for (e, true), pages in named.items() if not true}
    loudest = sorted(count, key=lambda e: (-count[e], e))[:wanted]
    return {e: _noisy_metrics(named[e, False], named.get((e, True), [])) for e in loudest}


def _noisy_metrics(false: Sequence[Mapping[str, float]], true: Sequence[Mapping[str, float]]) -> list[str]:
    def mean_share(pages: Sequence[Mapping[str, float]], name: str) -> float:
        return sum(page.get(name, 0.0) for page in pages) / max(len(pages), 1)

    names = sorted({name for page in false for name in page})
    excess = {name: mean_share(false, name) - mean_share(true, name) for name in names}
    return sorted((name for name in names if excess[name] > 0), key=lambda name: -excess[name])


def muted(
    learned: Learned, method: Method, given: Given, names: Mapping[int, Sequence[str]], config: AlignConfig
) -> Method:
    """Mute the metrics ``names`` of each entity from the beginning."""
    panel = given.panel
    rows = [
        {
            "kind": panel.kind, "entity_id": panel.entity_ids[e], "metric": name,
            "from": None, "until": None, "by": "benchmark", "why": "noisy",
        }
        for e, metrics in names.items()
        for name in metrics
    ]  # fmt: skip
    mutes = Mutes(panel.kind, pa.Table.from_pylist(rows, schema=MUTES.schema))
    of_entity, series = learned.margins(config), series_of(learned, given)
    margins, profiles = list(method.margins), list(method.profiles or ())
    for e in names:
        weight, _ = mutes.weights(panel.entity_ids[e], panel.metrics, panel.times)
        quieter, span = replace(series[e], weight=weight), (given.start, int(given.stop[e]))
        if profiles:
            profiles[e] = profile(of_entity.graph, quieter, *span)
            margins[e] = np.stack([margins_at(profiles[e], c) for c in method.grid.candidates])
        else:
            margins[e] = of_entity.margins(quieter, *span)
    if profiles:
        scores = tuple(np.ascontiguousarray(errors[:, -1]) for errors in profiles)
        return replace(method, margins=tuple(margins), profiles=tuple(profiles), scores=scores)
    return replace(method, margins=tuple(margins), scores=None)


def _subset(method: Method, entities: Sequence[int]) -> Method:
    def of(rows: Sequence[np.ndarray] | None) -> tuple[np.ndarray, ...] | None:
        return None if rows is None else tuple(rows[e] for e in entities)

    return replace(method, margins=of(method.margins), scores=of(method.scores), profiles=of(method.profiles))


def _at_random(given: Given, noise: Mapping[int, Sequence[str]], number: int, seed: int) -> dict[int, list[str]]:
    """As many metrics of the same entities, drawn at random; those of a larger ``number`` hold those of a smaller."""
    metrics = np.array(given.panel.metrics)
    return {
        e: np.random.default_rng([seed, e]).permutation(metrics)[: min(number, len(names))].tolist()
        for e, names in noise.items()
    }


def _row(
    number: int,
    how: str,
    found: _Figures,
    before: _Figures,
    chance: Sequence[_Figures] | None,
    noisy: set[str],
    config: AlignConfig,
    samples: int,
) -> dict[str, Any]:
    def compared(values: np.ndarray, old: np.ndarray, random: np.ndarray | None, entities: int) -> dict[str, Any]:
        entry: dict[str, Any] = {"value": rounded(float(values[0]))}
        if random is not None:
            entry |= {
                "gain": estimate(values - old, entities).as_json(),
                "random": rounded(float(random[0])),
                "over_random": estimate(values - random, entities).as_json(),
            }
        return entry

    measures = {}
    for name, measure in COUNTED.items():
        for whose, keep in (("noisy", noisy), ("all", None)):
            sides = [_of(f.counts[how], keep) for f in (found, *(chance or ()))]
            old = _of(before.counts[KEPT if how == ANEW and KEPT in before.counts else how], keep)
            draws = resample(len(old), samples, config.seed)
            random = measure([mean(runs) for runs in zip(*sides[1:], strict=True)], draws) if chance else None
            measures[f"{name}_{whose}"] = compared(measure(sides[0], draws), measure(old, draws), random, len(old))
    known = np.isfinite(before.vus_pr)
    draws = resample(int(known.sum()), samples, config.seed)
    random = np.mean([f.vus_pr for f in chance], axis=0) if chance else None
    measures["vus_pr_noisy"] = compared(
        *(None if v is None else draws @ v[known] / max(known.sum(), 1) for v in (found.vus_pr, before.vus_pr, random)),
        int(known.sum()),
    )
    return {"muted": number, "thresholds": how, "measures": measures}


def _of(counts: Sequence[EntityCounts], keep: set[str] | None) -> list[EntityCounts]:
    return [one for one in counts if keep is None or one.entity_id in keep]
