"""Recognises labels: a detector trained on them would look perfect and be useless."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

LABEL_NAMES = frozenset(
    {
        "label",
        "labels",
        "lable",
        "lables",
        "y",
        "ytrue",
        "ylabel",
        "target",
        "truth",
        "groundtruth",
        "class",
        "classlabel",
        "anomaly",
        "anomalies",
        "anomalous",
        "isanomaly",
        "isanomalous",
        "anomalytype",
        "attack",
        "isattack",
        "attacktype",
        "attackcat",
        "normalattack",
        "outlier",
        "isoutlier",
        "fault",
        "isfault",
        "isfaulty",
        "faulty",
        "faulttype",
        "faultcode",
        "rootcause",
        "incident",
        "isincident",
        "split",
        "fold",
        "istrain",
        "istest",
    }
)
"""Compared in lower case, without anything but letters and digits."""
LABEL_WORDS = re.compile(r"label|lable|anomal|attack|outlier|truth|fault|incident|target|class")
"""A name that contains one of these is a label when the column also holds nothing but two classes."""
CLASS_WORDS = frozenset(
    {
        "label",
        "lable",
        "anomaly",
        "attack",
        "outlier",
        "truth",
        "fault",
        "failure",
        "incident",
        "class",
        "severity",
        "cause",
    }
)
"""A name with one of these words is a label when the column also holds few whole numbers."""
COUNTING_WORDS = frozenset({"count", "total", "num", "number", "rate", "per", "sum", "seconds", "bytes", "percent"})
"""With one of these words, few whole numbers are a measurement."""
MOST_CLASSES = 20
TWO_CLASSES = ({0, 1}, {-1, 1}, {1, 2})


def looks_like_label(name: str, sample: pa.ChunkedArray | None = None) -> bool:
    """Whether a column named ``name`` with the numbers or booleans of ``sample`` is a label."""
    if _letters(name) in LABEL_NAMES or re.search(r"(^|[_\-. ])(label|lable)s?$", name.lower()):
        return True
    if sample is None or not may_be_label(name):
        return False
    values = set(pc.unique(sample.drop_null()).to_pylist())
    if LABEL_WORDS.search(_letters(name)) and any(values and values <= classes for classes in TWO_CLASSES):
        return True
    return _names_classes(name) and 0 < len(values) <= MOST_CLASSES and all(v == v // 1 for v in values)


def may_be_label(name: str) -> bool:
    """Whether the values of a column named ``name`` decide if it is a label."""
    return bool(LABEL_WORDS.search(_letters(name))) or _names_classes(name)


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _names_classes(name: str) -> bool:
    words = set(re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower()))
    return bool(words & CLASS_WORDS) and not words & COUNTING_WORDS
