"""Reads Alertmanager's webhook payload: a resolved alert with a resolution is a statement.

``resolution`` is an annotation (or label) that the tool which closes alerts adds; a resolved alert without one states
neither that it was an incident nor that it was false.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from fleetalign.errors import BadInput
from fleetalign.ingest.mapping import ENTITY_NAMES

RESOLUTIONS = {
    "anomaly": "anomaly",
    "incident": "anomaly",
    "true_positive": "anomaly",
    "normal": "normal",
    "false_alarm": "normal",
    "false_positive": "normal",
}
"""Resolution to verdict."""
SOURCE = "alertmanager"


def read_payload(data: bytes, origin: str) -> pa.Table:
    """Return the feedback columns, all text, of the resolved alerts that have a resolution.

    Raises BadInput naming the alert and the field.
    """
    try:
        alerts = json.loads(data)["alerts"]
        rows = [
            _statement(alert, f"{origin}: alert {i}")
            for i, alert in enumerate(alerts, start=1)
            if _has_resolution(alert)
        ]
        names = ("kind", "entity_id", "start", "end", "verdict", "source", "note")
        return pa.table({name: pa.array([row[name] for row in rows], pa.string()) for name in names})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput(f"{origin}: not a webhook payload of Alertmanager ({type(error).__name__}: {error})") from None


def _has_resolution(alert: dict[str, Any]) -> bool:
    return alert["status"] == "resolved" and _field(alert, "resolution") is not None


def _statement(alert: dict[str, Any], where: str) -> dict[str, str | None]:
    resolution = str(_field(alert, "resolution")).strip().lower()
    if resolution not in RESOLUTIONS:
        raise BadInput(f"{where}: resolution is {resolution!r}; must be one of {', '.join(RESOLUTIONS)}")
    entity = next((alert["labels"][name] for name in ENTITY_NAMES if alert["labels"].get(name)), None)
    if entity is None:
        raise BadInput(f"{where}: no label names the entity; add one of {', '.join(ENTITY_NAMES)}")
    summary = _field(alert, "summary") or alert["labels"].get("alertname", "")
    return {
        "kind": alert["labels"].get("kind"),
        "entity_id": str(entity),
        "start": alert["startsAt"],
        "end": alert["endsAt"],
        "verdict": RESOLUTIONS[resolution],
        "source": str(_field(alert, "resolved_by") or SOURCE),
        "note": str(summary),
    }


def _field(alert: dict[str, Any], name: str) -> Any:
    return alert.get("annotations", {}).get(name) or alert["labels"].get(name)
