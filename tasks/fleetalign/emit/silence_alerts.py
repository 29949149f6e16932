"""Alerts about silent and frozen entities, from one run to the next.

They last until the entity is heard again. A silence is kept as a page whose only metric is its reason, so that those of one moment are grouped as pages are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from fleetalign.config.run import EmitConfig
from fleetalign.contracts.mutes import ANY
from fleetalign.contracts.pages import Page
from fleetalign.emit.firing import Alert
from fleetalign.emit.incidents import group_pages
from fleetalign.emit.silence import Silence, Silences


def advance_silences(
    before: Sequence[Page], silences: Silences, newest: datetime | None, settings: EmitConfig
) -> tuple[list[Alert], tuple[Page, ...]]:
    """Join the silences of earlier runs with those of new telemetry.

    Old telemetry that is scored late does not fire: what lasts there is over if ``newest``, the newest sample of any
    run, is ``hold_hours`` later.

    Returns:
        An alert for each group that lasts, or has ended since ``before``, and the pages to store.
    """
    left = list(silences.found)
    hold = timedelta(hours=settings.hold_hours)
    pages: list[Page] = []
    ended: list[bool] = []
    for page in before:
        same = next((one for one in left if _continues(one, page)), None)
        if same is not None:
            left.remove(same)
            pages.append(replace(page, end=max(page.end, same.end)))
            ended.append(not same.lasts)
        else:
            pages.append(page)
            ended.append(_is_over(page, silences, hold))
    pages += [Page(one.kind, one.entity_id, one.start, one.end, 0.0, ((one.reason, 1.0),)) for one in left]
    ended += [not one.lasts or (newest is not None and newest - one.end >= hold) for one in left]
    over = {(page, id(page)): done for page, done in zip(pages, ended, strict=True)}
    alerts = [
        Alert(incident, all(over[page, id(page)] for page in incident.pages), reason_of(incident.first))
        for incident in group_pages(pages, timedelta(minutes=settings.group_minutes), settings.min_overlap)
    ]
    return alerts, tuple(page for alert in alerts if not alert.ended for page in alert.incident.pages)


def reason_of(page: Page) -> str:
    """Return why the entity of ``page`` is in an alert: ``silent`` or ``frozen``."""
    return page.metrics[0][0]


def _continues(one: Silence, page: Page) -> bool:
    same = (one.kind, one.entity_id, one.reason) == (page.kind, page.entity_id, reason_of(page))
    return same and one.start <= page.end and one.end > page.start


def _is_over(page: Page, silences: Silences, hold: timedelta) -> bool:
    """Tell whether a silence that new telemetry does not show has ended."""
    key = (page.kind, page.entity_id)
    if page.kind in silences.off or key in silences.excused or (page.kind, ANY) not in silences.known:
        return True
    back = (silences.heard if reason_of(page) == "silent" else silences.changed).get(key)
    if back is not None and back >= page.start:
        return True
    newest = silences.heard.get((page.kind, ANY))
    return key not in silences.known and newest is not None and newest - page.end >= hold
