"""Attributes of entities as labels, by which Alertmanager and Prometheus route and group."""

from __future__ import annotations

import re
from collections.abc import Mapping

RESERVED = frozenset({"alertname", "kind", "entity_id", "incident", "reason", "state", "release"})
"""Labels that fleetalign gives a meaning of their own."""
PREFIX = "attribute_"
_OTHER = re.compile(r"[^a-zA-Z0-9_]")


def as_labels(attributes: Mapping[str, str]) -> dict[str, str]:
    """Give each attribute a name that is a label of Prometheus, sorted by key.

    Other characters than letters, digits and ``_`` become ``_``. A name that is reserved or begins with no letter has
    ``attribute_`` before it; of two attributes that come to one name the second gets ``_2`` after it.
    """
    labels: dict[str, str] = {}
    for key, value in sorted(attributes.items()):
        name = _OTHER.sub("_", key)
        if name in RESERVED or not name[:1].isalpha():
            name = PREFIX + name
        number, unique = 2, name
        while unique in labels:
            unique, number = f"{name}_{number}", number + 1
        labels[unique] = value
    return labels
