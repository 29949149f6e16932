"""Writes aeon_reference.json: random cases and what the library aeon says about them.

aeon 1.6.0 asks for pandas < 3.1, so it cannot live in the project's environment. In one of its own, and from the
repository's root: ``pip install aeon==1.6.0 && python tests/unit/evaluate/record_aeon.py``.
"""

from __future__ import annotations

import itertools
import json
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np

REFERENCE = Path(__file__).parent / "aeon_reference.json"
BUFFERS = (0, 1, 2, 5, 16, 40)
VUS_BUFFER = 12
RANGE_SETTINGS = list(itertools.product((0.0, 0.4), ("one", "reciprocal"), ("flat", "front", "middle", "back")))


def cases(count: int = 60, seed: int = 20261) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Scores rounded to 3 decimals (half of them to 1: ties), labels, alarms: each with both classes."""
    rng = np.random.default_rng(seed)
    found = []
    while len(found) < count:
        labels = np.zeros(int(rng.integers(20, 120)), dtype=np.int64)
        alarms = np.zeros_like(labels)
        for series in (labels, alarms):
            for start in rng.integers(0, len(labels), rng.integers(1, 6)):
                series[start : start + rng.integers(1, 15)] = 1
        scores = np.round(rng.random(len(labels)) + 0.4 * labels, 1 if len(found) % 2 else 3)
        if all(len(np.unique(series)) == 2 for series in (labels, alarms)):
            found.append((scores, labels, alarms))
    return found


def main() -> None:
    from aeon.benchmarking.metrics import anomaly_detection as aeon

    warnings.simplefilter("ignore")
    written = []
    for scores, labels, alarms in cases():
        ranges = []
        for alpha, cardinality, bias in RANGE_SETTINGS:
            options = {"cardinality": cardinality}
            ranges.append(
                [
                    float(aeon.range_precision(labels, alarms, alpha=0, bias=bias, **options)),
                    float(aeon.range_recall(labels, alarms, alpha=alpha, bias=bias, **options)),
                    float(aeon.range_f_score(labels, alarms, 1, 0, alpha, p_bias=bias, r_bias=bias, **options)),
                ]
            )
        written.append(
            {
                "scores": scores.tolist(),
                "labels": "".join(map(str, labels)),
                "alarms": "".join(map(str, alarms)),
                "range_pr_auc": [float(aeon.range_pr_auc_score(labels, scores, b)) for b in BUFFERS],
                "range_roc_auc": [float(aeon.range_roc_auc_score(labels, scores, b)) for b in BUFFERS],
                "vus_pr": float(aeon.range_pr_vus_score(labels, scores, VUS_BUFFER)),
                "vus_roc": float(aeon.range_roc_vus_score(labels, scores, VUS_BUFFER)),
                "ranges": ranges,
            }
        )
    document = {"aeon": version("aeon"), "buffers": BUFFERS, "vus_buffer": VUS_BUFFER}
    document |= {"range_settings": RANGE_SETTINGS, "cases": written}
    REFERENCE.write_text(json.dumps(document, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
