"""Incidents as alerts of the Alertmanager v2 API.

The labels of an alert are its identity: kind, first entity, its attributes when the incident began, and incident id never
change while a fault unfolds, so posting it again renews it. What changes (members, margin, metrics, release) is in the annotations.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import urllib3

from fleetalign.emit.firing import Alert
from fleetalign.emit.incidents import describe, describe_silence, metrics_text
from fleetalign.errors import StoreError, UsageError
from fleetalign.interval import format_time

ALERTNAME = "FleetalignIncident"
SILENT_ALERTNAME = "FleetalignSilent"
MEMBERS_SHOWN = 50
ALERTS_PER_POST = 500
TIMEOUT = urllib3.Timeout(connect=5.0, read=20.0)
TRIES = 4
BACKOFF_SECONDS = 0.5


def as_json(alert: Alert, release_id: str, hold_until: datetime) -> dict[str, Any]:
    """Write an alert as the API takes it.

    While its incident continues it ends at ``hold_until`` unless posted again.
    """
    incident = alert.incident
    labels = {
        **alert.labels,
        "alertname": SILENT_ALERTNAME if alert.silence else ALERTNAME,
        "kind": incident.first.kind,
        "entity_id": incident.first.entity_id,
        "incident": incident.incident_id,
    }
    annotations = {"members": _listed(incident.members), "release": release_id}
    if alert.silence:
        labels["reason"] = alert.silence
        annotations["summary"] = describe_silence(incident, alert.silence)
    else:
        annotations |= {
            "summary": describe(incident),
            "margin": f"{incident.worst.margin:.4g}",
            "metrics": metrics_text(incident),
        }
    return {
        "labels": labels,
        "annotations": annotations,
        "startsAt": format_time(incident.start),
        "endsAt": format_time(incident.end if alert.ended else hold_until),
    }


def post(url: str, alerts: Sequence[Alert], release_id: str, now: datetime, hold: timedelta) -> None:
    """Send ``alerts`` to the Alertmanager at ``url``, such as ``http://alertmanager:9093``.

    A request without an answer, or with a temporary error (429, 5xx), is tried ``TRIES`` times with exponential
    back-off, under two minutes in all.

    Raises:
        StoreError: No try succeeded.
        UsageError: Alertmanager rejected the request.
    """
    retry = urllib3.Retry(
        TRIES - 1,
        backoff_factor=BACKOFF_SECONDS,
        status_forcelist=(429, 500, 502, 503, 504),
        allowed_methods=("POST",),
        redirect=False,
        respect_retry_after_header=False,  # the server would choose how long a task waits
    )
    where = f"{url.rstrip('/')}/api/v2/alerts"
    with urllib3.PoolManager(timeout=TIMEOUT, retries=retry) as pool:
        for begin in range(0, len(alerts), ALERTS_PER_POST):
            body = [as_json(alert, release_id, now + hold) for alert in alerts[begin : begin + ALERTS_PER_POST]]
            _send(pool, where, json.dumps(body).encode())


def _send(pool: urllib3.PoolManager, where: str, body: bytes) -> None:
    try:
        answer = pool.request("POST", where, body=body, headers={"Content-Type": "application/json"})
    except urllib3.exceptions.HTTPError as error:
        reason = getattr(error, "reason", None) or error
        raise StoreError(
            f"{where}: no alert was accepted in {TRIES} tries ({reason}); check that Alertmanager runs, then run again"
        ) from None
    if answer.status >= 300:
        message = " ".join(answer.data[:300].decode(errors="replace").split())
        raise UsageError(f"{where}: Alertmanager refused with {answer.status} ({message}); check the URL")


def _listed(members: Sequence[str]) -> str:
    more = len(members) - MEMBERS_SHOWN
    return ", ".join(members[:MEMBERS_SHOWN]) + (f" and {more} more" if more > 0 else "")
