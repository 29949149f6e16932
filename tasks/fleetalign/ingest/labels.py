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
    {"label", "lable", "anomaly", "attack", "outlier", "truth", "fault", "failure", "class", "severity", "cause"}
)
"""A name with one of these words is a label when the column also holds few whole numbers."""
COUNTING_WORDS = frozenset({"count", "total", "num", "number", "rate", "per", "sum", "seconds", "bytes", "percent"})
"""With one of these words, few whole numbers are a measurement."""
MOST_CLASSES = 20
TWO_CLASSES = ({0, 1}, {-1, 1}, {1, 2})


def looks_like_label(name: str, sample: pa.ChunkedArray | None = None) -> bool:
    """Whether a column named ``name`` with the numbers or booleans of ``sample`` is a label."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    if plain in LABEL_NAMES or re.search(r"(^|[_\-. ])(label|lable)s?$", name.lower()):
        return True
    if sample is None:
        return False
    words = set(re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower()))
    counts = bool(words & COUNTING_WORDS)
    if not LABEL_WORDS.search(plain) and (counts or not words & CLASS_WORDS):
        return False
    values = set(pc.unique(sample.drop_null()).to_pylist())
    if LABEL_WORDS.search(plain) and any(values and values <= classes for classes in TWO_CLASSES):
        return True
    few = len(values) <= MOST_CLASSES and all(value == int(value) for value in values if value == value)
    return bool(values) and few and not counts and bool(words & CLASS_WORDS)
