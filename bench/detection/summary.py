"""Puts jobs together: per set and method the mean and range over training seeds, and differences to published ShareAD.

Intervals are paired bootstraps over entities of what each entity came to, averaged over seeds (contracts 6.3); they say
how much another fleet might differ, the range over seeds how much another training might.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bench.detection import jobs, methods
from bench.detection.decisions import POLICIES, PUBLISHED
from bench.detection.figures import Judged
from bench.detection.jobs import Done, Row, Size
from fleetalign.config import AlignConfig
from fleetalign.detectors.grid import make_tails
from fleetalign.evaluate.bootstrap import estimate, resample, rounded
from fleetalign.evaluate.outcomes import EntityCounts, mean
from fleetalign.evaluate.pooled import MEASURES

RANKINGS = ("vus_pr", "average_precision", "pa_k_area")
REFERENCE = (methods.SHAREAD, PUBLISHED)
"""What every decision is compared with: the published score through the published aligner."""


def summarise(finished: Sequence[Done], size: Size) -> dict[str, Any]:
    """Summarise the sets, the transfer and the choices as plain JSON values."""
    names = list(dict.fromkeys(done.job.path.stem for done in finished))
    transfers = [
        {"source": done.job.other, "target": done.job.path.stem, **done.curve}
        for done in finished
        if done.job.work == jobs.TRANSFER
    ]
    return {
        "choosing": _choosing(),
        "sets": {name: _set([d for d in finished if d.job.path.stem == name], size) for name in names},
        "transfer": transfers,
    }


def _choosing() -> list[dict[str, str]]:
    """Describe on which part each choice was made."""
    tails = make_tails(AlignConfig())
    found = {
        "train part": "networks, the best of their epochs (its last 20 %), locations, scales, statistics, directions",
        "feedback part": "C, view weights and smoothing, tail probability, weight of the fleet and thresholds, from "
        f"{len(tails)} tail probabilities {tails[0]:g} to {tails[-1]:g}; which candidate a method is ranked with",
        "judged part": "nothing",
    }
    return [{"part": part, "what": what} for part, what in found.items()]


def _set(finished: Sequence[Done], size: Size) -> dict[str, Any]:
    rows = [(done.job.seed, row) for done in finished for row in done.rows]
    by_method = {
        name: [row for _, row in sorted(rows, key=lambda r: r[0]) if row.method == name] for name in methods.ORDER
    }
    by_method = {name: mine for name, mine in by_method.items() if mine}
    curves = {d.job.work.replace(" ", "_"): d.curve for d in finished if d.job.work in (jobs.MASKED, jobs.HISTORY)}
    operators = next((d.curve for d in finished if d.job.work == jobs.OPERATORS), {})
    return {
        **next(done.about for done in finished if done.about),
        "ranking": _rankings(by_method, size),
        "decisions": _decisions(by_method, size),
        "time": {name: _times(mine) for name, mine in by_method.items()},
        "job_seconds": sum(done.seconds for done in finished),
        **curves,
        **operators,
    }


def _times(rows: Sequence[Row]) -> dict[str, float]:
    """Mean processor seconds per seed, by what for."""
    return {what: float(np.mean([row.seconds[what] for row in rows])) for what in rows[0].seconds}


def _rankings(by_method: dict[str, list[Row]], size: Size) -> list[dict[str, Any]]:
    entities = {name: {m: _over_seeds(rows, m) for m in RANKINGS} for name, rows in by_method.items()}
    out = []
    for name, rows in by_method.items():
        entry: dict[str, Any] = {"method": name, "seeds": len(rows)}
        for measure in RANKINGS:
            per_seed = [_mean_of(getattr(row.ranked, measure)) for row in rows]
            mine, reference = entities[name][measure], entities.get(methods.SHAREAD, {}).get(measure)
            entry[measure] = _over(per_seed) | _interval(mine, None, size, "interval")
            if reference is not None and name != methods.SHAREAD:
                entry[measure] |= _interval(mine, reference, size, "difference")
        entry["pooled_average_precision"] = _over([row.ranked.pooled_average_precision for row in rows])
        out.append(entry)
    return out


def _over_seeds(rows: Sequence[Row], measure: str) -> np.ndarray:
    """Mean over seeds of each entity, float64 [E]."""
    return np.mean([getattr(row.ranked, measure) for row in rows], axis=0)


def _interval(mine: np.ndarray, reference: np.ndarray | None, size: Size, key: str) -> dict[str, Any]:
    """Mean over entities with incidents of ``mine`` (less ``reference``), with its interval."""
    values = mine if reference is None else mine - reference
    known = np.isfinite(values)
    draws = resample(int(known.sum()), size.bootstrap_samples, AlignConfig().seed)
    total = draws.sum(axis=1)
    means = np.divide(draws @ values[known], total, out=np.full(len(draws), np.nan), where=total > 0)
    return {key: estimate(means, int(known.sum())).as_json()}


def _decisions(by_method: dict[str, list[Row]], size: Size) -> list[dict[str, Any]]:
    pairs = [(n, p) for n in by_method for p in POLICIES if p in by_method[n][0].judged]
    found = {pair: [row.judged[pair[1]] for row in by_method[pair[0]]] for pair in pairs}
    reference = _pooled(found[REFERENCE]) if REFERENCE in found else None
    out = []
    for (name, policy), runs in found.items():
        rows = by_method[name]
        measures = _measures(runs, None if (name, policy) == REFERENCE else reference, size)
        out.append(
            {
                "method": name,
                "policy": policy,
                "seeds": len(runs),
                "measures": measures,
                "chosen": [row.chosen[policy] for row in rows],
                "align_seconds": float(np.mean([row.seconds["align"] for row in rows])),
            }
        )
    return out


def _pooled(runs: Sequence[Judged]) -> tuple[tuple[EntityCounts, ...], np.ndarray]:
    counts = tuple(mean(of_one) for of_one in zip(*(run.counts for run in runs), strict=True))
    return counts, _affiliation(runs)


def _affiliation(runs: Sequence[Judged]) -> np.ndarray:
    """Affiliation F of each entity, mean over seeds, float64 [E]: 0 where nothing was raised, NaN without incidents."""
    found = []
    for run in runs:
        precision, recall = run.affiliation.reshape(-1, 2).T
        raised = np.where(np.isnan(precision), 0.0, precision)
        both = raised + recall
        found.append(np.where(np.isnan(recall), np.nan, 2 * raised * recall / np.where(both > 0, both, 1.0)))
    return np.mean(found, axis=0)


def _measures(runs: Sequence[Judged], reference: Any, size: Size) -> dict[str, Any]:
    """Every measure: mean and range over seeds, both controls (first seed), difference to ``reference``."""
    counts, near = _pooled(runs)
    draws = resample(len(counts), size.bootstrap_samples, AlignConfig().seed)
    out = {}
    for name, _, measure in MEASURES:
        out[name] = _over([_first(measure, run.counts) for run in runs])
        out[name] |= {
            "interval": estimate(measure(counts, draws), len(counts)).as_json(),
            "random": rounded(_first(measure, runs[0].random)),
            "shifted": rounded(_first(measure, runs[0].shifted)),
        }
        if reference is not None:
            apart = measure(counts, draws) - measure(reference[0], draws)
            out[name]["difference"] = estimate(apart, len(counts)).as_json()
    out["affiliation_f1"] = _over([_mean_of(_affiliation([run])) for run in runs]) | _interval(
        near, None, size, "interval"
    )
    if reference is not None:
        out["affiliation_f1"] |= _interval(near, reference[1], size, "difference")
    return out


def _first(measure: Callable[..., np.ndarray], counts: Sequence[EntityCounts]) -> float:
    return float(measure(counts, np.ones((1, len(counts))))[0])


def _mean_of(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _over(values: Sequence[float]) -> dict[str, Any]:
    """Mean and range over the seeds that have a value; None where none has."""
    known = [value for value in values if np.isfinite(value)]
    if not known:
        return {"value": None, "low": None, "high": None}
    return {"value": rounded(float(np.mean(known))), "low": rounded(min(known)), "high": rounded(max(known))}
