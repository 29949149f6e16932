"""Our measures against the library aeon's, recorded by record_aeon.py.

Deliberate differences, all outside what is compared: aeon gives 0 to alarms that are all on or all off, where ours have
their defined value (NaN precision when nothing was raised); its range F-beta divides by beta^2 (P + R), right for beta
= 1 alone; it knows neither unlabelled time nor NaN scores, and fails on labels without an anomaly.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fleetalign.evaluate.measures import range_aucs, range_precision_recall, vus_pr, vus_roc

REFERENCE = json.loads((Path(__file__).parent / "aeon_reference.json").read_text())
CASES = REFERENCE["cases"]


def bits(text: str) -> np.ndarray:
    return np.array([c == "1" for c in text])


def test_range_aucs_and_vus_are_those_of_aeon() -> None:
    for case in CASES:
        scores, labels = np.array(case["scores"]), bits(case["labels"]).astype(np.int8)
        pr, roc = range_aucs(scores, labels, REFERENCE["buffers"])
        np.testing.assert_allclose(pr, case["range_pr_auc"], atol=1e-12)
        np.testing.assert_allclose(roc, case["range_roc_auc"], atol=1e-12)
        assert vus_pr(scores, labels, REFERENCE["vus_buffer"]) == pytest.approx(case["vus_pr"], abs=1e-12)
        assert vus_roc(scores, labels, REFERENCE["vus_buffer"]) == pytest.approx(case["vus_roc"], abs=1e-12)


def test_range_precision_recall_and_f1_are_those_of_aeon() -> None:
    for case in CASES:
        alarms, labels = bits(case["alarms"]), bits(case["labels"]).astype(np.int8)
        for (alpha, cardinality, bias), expected in zip(REFERENCE["range_settings"], case["ranges"], strict=True):
            found = range_precision_recall(
                alarms, labels, alpha=alpha, cardinality=cardinality, precision_bias=bias, recall_bias=bias
            )
            np.testing.assert_allclose([found.precision, found.recall, found.f1], expected, atol=1e-12)
