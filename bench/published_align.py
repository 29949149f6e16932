"""The published alignment, restated to be measured beside: 50 TPE trials per entity over (C, percentile).

He, Chen, Zheng, ACM TOSEM 2025, and the public repository IntelligentDDS/ShareAD. As there, every trial averages the
squared errors over the metrics anew, twice, and point adjustment is a loop over samples. Unlike there, a trial is given
the feedback slice only; the public code averages the whole test range to use its first 30 %.

Shapes: t samples of the feedback slice, W window_steps, M metrics.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TRIALS = 50
CONDITION_RANGE = (6, 100)
PERCENTILE_RANGE = (85.0, 99.0)
ONE_CLASS = (11, 98.0)
"""C and percentile of an entity whose feedback has one class only."""
EPSILON = 1e-5
"""Added to the denominators of precision, recall and F1."""


def context_margins(errors: np.ndarray, condition: int) -> np.ndarray:
    """``d(C)`` float32 [t] = E[W-1] - max(E[W-C] .. E[W-2]) of ``errors`` [t, W, M]; the mean is taken twice."""
    return np.mean(errors, axis=2)[:, -1] - np.max(np.mean(errors, axis=2)[:, -condition:-1], axis=1)


@dataclass(frozen=True, slots=True)
class Aligned:
    condition: int
    percentile: float
    threshold: float


def align(errors: np.ndarray, labels: np.ndarray, *, seed: int = 0, trials: int = TRIALS) -> Aligned:
    """Best of ``trials`` TPE trials on the feedback slice: ``errors`` [t, W, M], ``labels`` int [t], 1 = anomaly."""
    import optuna

    highest = min(CONDITION_RANGE[1], errors.shape[1])
    if len(np.unique(labels)) == 1:
        condition, percentile = min(ONE_CLASS[0], highest), ONE_CLASS[1]
    else:

        def objective(trial: optuna.Trial) -> float:
            d = context_margins(errors, trial.suggest_int("condition", min(CONDITION_RANGE[0], highest), highest))
            threshold = np.percentile(d, trial.suggest_float("percentile", *PERCENTILE_RANGE))
            return point_adjusted_f1(d > threshold, labels)

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed), direction="maximize")
        study.optimize(objective, n_trials=trials)
        condition, percentile = study.best_params["condition"], study.best_params["percentile"]
    threshold = np.percentile(context_margins(errors, condition), percentile)
    return Aligned(condition, percentile, float(threshold))


def point_adjusted_f1(alarms: np.ndarray, labels: np.ndarray) -> float:
    """F1 after every anomalous run with an alarm in it counts as alarmed (Xu et al., WWW 2018), in a loop over samples.

    ``alarms`` bool [t] is changed in place. The loop that fills backwards never reaches sample 0, as published.
    """
    actual = labels > 0.1
    inside = False
    for i in range(len(alarms)):
        if actual[i] and alarms[i] and not inside:
            inside = True
            for j in range(i, 0, -1):
                if not actual[j]:
                    break
                if not alarms[j]:
                    alarms[j] = True
        elif not actual[i]:
            inside = False
        if inside:
            alarms[i] = True
    true, false = np.sum(alarms * actual), np.sum(alarms * ~actual)
    missed = np.sum(~alarms * actual)
    precision, recall = true / (true + false + EPSILON), true / (true + missed + EPSILON)
    return float(2 * precision * recall / (precision + recall + EPSILON))
