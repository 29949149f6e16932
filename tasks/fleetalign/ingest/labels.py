"""Recognises labels: a detector trained on them would look perfect and be useless."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

LABEL_NAMES = frozenset(
    {
        "label",
        "labels",
        "y",
        "ytrue",
        "ylabel",
        "target",
        "truth",
        "groundtruth",
        "anomaly",
        "anomalies",
        "anomalous",
        "isanomaly",
        "isanomalous",
        "attack",
        "isattack",
        "outlier",
        "isoutlier",
        "fault",
        "isfault",
        "incident",
        "isincident",
        "split",
        "fold",
        "istrain",
        "istest",
    }
)
"""Compared in lower case, without anything but letters and digits."""
LABEL_WORDS = re.compile(r"label|anomal|attack|outlier|truth|fault|incident|target|class")
"""A name that contains one of these is a label when the column also holds nothing but 0 and 1."""


def looks_like_label(name: str, sample: pa.ChunkedArray | None = None) -> bool:
    """Whether a column named ``name`` with the numbers or booleans of ``sample`` is a label."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    if plain in LABEL_NAMES or re.search(r"(^|[_\-. ])labels?$", name.lower()):
        return True
    return sample is not None and bool(LABEL_WORDS.search(plain)) and _is_binary(sample)


def _is_binary(sample: pa.ChunkedArray) -> bool:
    values = pc.unique(sample.drop_null()).to_pylist()
    return bool(values) and set(values) <= {0, 1}
