"""The published aligner: 50 seeded TPE trials per entity (He et al., TOSEM 2025).

C in [6, 100], percentile in [85, 99] of d(C) on the feedback slice, objective point-adjusted F1 by default.
Kept as a configuration choice and as the baseline that ``fleet_prior`` is measured against.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fleetalign.align.entity import seeded_uniform
from fleetalign.config import AlignConfig
from fleetalign.contracts.feedback import ANOMALY, UNLABELLED, intervals
from fleetalign.contracts.graph import margins
from fleetalign.errors import ConfigError
from fleetalign.evaluate.measures import event_counts, f_beta, pages, point_adjusted_counts

CONDITION_RANGE = (6, 100)
PERCENTILE_RANGE = (85.0, 99.0)
ONE_CLASS = (11, 98.0)
"""C and percentile when the feedback holds one class only."""


def fit(
    profile: np.ndarray, labels: np.ndarray, config: AlignConfig, kind: str, entity_id: str, earlier: int = 0
) -> dict[str, Any]:
    """Find the best (C, Q) of one entity: the columns ``tpe_…`` of SHARD_SCHEMA.

    ``profile`` float32 [t, W] (NaN rows: not scored), ``labels`` int8 [t]. The percentile is taken over all scored
    samples, anomalous ones included, as published. The first ``earlier`` samples are of incidents before the calibrate range:
    their pages are not counted.
    """
    import optuna

    scored = ~np.isnan(profile[:, -1])
    first = int(scored[:earlier].sum())
    profile = profile[scored]
    truth = labels[scored]
    window = profile.shape[1]
    if (truth == ANOMALY).any() and (truth != ANOMALY).any():
        dense = np.where(truth == UNLABELLED, np.int8(0), truth)
        incidents = intervals(dense == ANOMALY)
        lowest, highest = min(CONDITION_RANGE[0], window), min(CONDITION_RANGE[1], window)

        def objective(trial: optuna.Trial) -> float:
            d = margins(profile, trial.suggest_int("condition", lowest, highest))
            alarms = d > np.float32(np.percentile(d, trial.suggest_float("percentile", *PERCENTILE_RANGE)))
            return _value(alarms, dense, incidents, config)

        seed = int(seeded_uniform(config.seed, kind, entity_id, 1)[0] * 2**31)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
        study.optimize(objective, n_trials=config.grid.tpe_trials, n_jobs=1)
        condition, percentile = study.best_params["condition"], study.best_params["percentile"]
    else:
        condition, percentile = min(ONE_CLASS[0], window), ONE_CLASS[1]
    d = margins(profile, condition)
    return {
        "tpe_condition": condition,
        "tpe_threshold": np.float32(np.percentile(d, percentile)),
        "tpe_tail_probability": np.float32(1 - percentile / 100),
        "tpe_pages": len(pages(d[first:] > np.float32(np.percentile(d, percentile)), config.merge_steps)),
    }


def _value(alarms: np.ndarray, labels: np.ndarray, incidents: np.ndarray, config: AlignConfig) -> float:
    if config.objective == "point_adjusted_f1":
        return point_adjusted_counts(alarms, labels).f1
    if config.objective == "page_budget":
        raise ConfigError("align: published_tpe has no page_budget objective; use fleet_prior")
    counts = event_counts(alarms, incidents, config.merge_steps)
    beta = config.beta if config.objective == "event_f_beta" else 1.0
    return f_beta(counts.hits, counts.false_pages, counts.missed, beta)
