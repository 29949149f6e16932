"""Which objects of a store a browser may read: reports and documents made for people.

Telemetry, statements, models, plans and the data registry are not among them, and keys are never listed.
"""

from __future__ import annotations

import re

from fleetalign.errors import NotFound

_ID, _DAY = r"[0-9a-f]{16}", r"\d{4}-\d\d-\d\d"
_PARTITION = rf"kind=[a-z0-9_-]{{1,64}}/date={_DAY}(/hour=\d\d)?"
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.+:=-]*"
HTML, JSON = "text/html; charset=utf-8", "application/json"

READABLE = (
    (rf"releases/{_ID}/report\.html", HTML),
    (rf"releases/{_ID}/(manifest|provenance)\.json", JSON),
    (rf"promotions/{_ID}-vs-({_ID}|none)\.json", JSON),
    (rf"drift/{_ID}/{_DAY}/report\.html", HTML),
    (rf"drift/{_ID}/{_DAY}/report\.json", JSON),
    (rf"validation/{_PARTITION}/result\.json", JSON),
    (rf"validation/data_docs/{_PARTITION}/({_NAME}/)*{_NAME}\.html", HTML),
)
"""Patterns of whole keys, each with the media type of its objects."""


def media_type(key: str) -> str:
    """Return the media type of an object that a browser may read.

    Raises:
        NotFound: The key is any other, whether or not there is such an object.
    """
    for pattern, found in READABLE:
        if re.fullmatch(pattern, key, re.ASCII):
            return found
    raise NotFound(f"{key[:200]!r} cannot be read here; reports, manifests, verdicts, drift reports and Data Docs can")
