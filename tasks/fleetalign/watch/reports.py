"""Drift reports in the store: an HTML page and a document per release and day."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleetalign.contracts.hashing import readable_json
from fleetalign.storage import layout
from fleetalign.storage.store import Store
from fleetalign.watch.drift_page import by_urgency, in_words, render

MOST_FINDINGS = 20


def write(store: Store, report: Mapping[str, Any]) -> None:
    """Write the HTML page, then the document, replacing an earlier report of the day.

    A reader that finds the document therefore finds the page too.
    """
    where = report["release_id"], report["day"]
    store.put(layout.drift(*where, "report.html"), render(report))
    store.put(layout.drift(*where), readable_json(report))


def newest(store: Store, release_id: str) -> dict[str, Any] | None:
    """Read the report of the newest day that the release was checked on; None if it never was."""
    keys = [i.key for i in store.list(layout.drift(release_id)) if i.key.endswith(".json")]
    report: dict[str, Any] | None = store.get_json(max(keys)) if keys else None
    return report


def summary(report: Mapping[str, Any]) -> dict[str, Any]:
    """Summarise a report for a task's result: a few findings, and the key of the HTML page."""
    where = report["release_id"], report["day"]
    return {
        "release_id": report["release_id"],
        "day": report["day"],
        "drifted": report["drifted"],
        "findings": [in_words(m) for m in by_urgency(report["measures"]) if m["drifted"]][:MOST_FINDINGS],
        "report": layout.drift(*where, "report.html"),
    }


def rate_evidence(store: Store, release_id: str) -> str:
    """Describe the pages that the newest check of a release counted, for the gate on pages.

    Empty without a check.
    """
    report = newest(store, release_id)
    if report is None or report["alarm_rate"]["value"] is None:
        return ""
    return f"; its drift check of {report['day']} counted {report['alarm_rate']['value']:.3g}"
