"""Drift reports in the store: one page and one document per release and day, and what others read from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleetalign.contracts.hashing import readable_json
from fleetalign.storage import layout
from fleetalign.storage.store import Store
from fleetalign.watch.drift_page import by_urgency, in_words, render

MOST_TOLD = 20


def write(store: Store, report: Mapping[str, Any]) -> None:
    """The page first: who sees the document finds the page too. An earlier report of the day is replaced."""
    where = report["release_id"], report["day"]
    store.put(layout.drift(*where, "report.html"), render(report))
    store.put(layout.drift(*where), readable_json(report))


def newest(store: Store, release_id: str) -> dict[str, Any] | None:
    """The report of the newest day that the release was checked on; None when it never was."""
    keys = [i.key for i in store.list(layout.drift(release_id)) if i.key.endswith(".json")]
    return store.get_json(max(keys)) if keys else None


def summary(report: Mapping[str, Any]) -> dict[str, Any]:
    """What a task returns of a report: a few findings, and where the page is."""
    where = report["release_id"], report["day"]
    return {
        "release_id": report["release_id"],
        "day": report["day"],
        "drifted": report["drifted"],
        "findings": [in_words(m) for m in by_urgency(report["measures"]) if m["drifted"]][:MOST_TOLD],
        "report": layout.drift(*where, "report.html"),
    }


def rate_evidence(store: Store, release_id: str) -> str:
    """What the newest check of a release saw it send, in words for the gate on pages; empty when it never was checked."""
    report = newest(store, release_id)
    if report is None or report["alarm_rate"]["value"] is None:
        return ""
    return f"; its drift check of {report['day']} counted {report['alarm_rate']['value']:.3g}"
