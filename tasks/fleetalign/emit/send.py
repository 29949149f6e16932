"""Sends the scores of one interval to its targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.config.run import Config
from fleetalign.contracts.attributes import Attributes
from fleetalign.contracts.pages import find_pages
from fleetalign.contracts.tables import SCORES, to_parquet
from fleetalign.emit import alertmanager, openmetrics
from fleetalign.emit.firing import Alert, advance, read_firing, write_firing
from fleetalign.emit.incidents import Incident, group_pages
from fleetalign.emit.labels import as_labels
from fleetalign.emit.silence import Silences
from fleetalign.emit.silence_alerts import advance_silences
from fleetalign.emit.targets import Target, write
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage.attributes import NEWEST, read_attributes
from fleetalign.storage.store import Store


def incidents_of(scorer: Scorer, scores: pa.Table, config: Config) -> list[Incident]:
    """Find the incidents of ``scores`` (SCORES with contributions), in order of start."""
    pages = find_pages(scores, _steps(scorer), config.align.merge_steps)
    return group_pages(pages, timedelta(minutes=config.emit.group_minutes), config.emit.min_overlap)


def emit(
    store: Store,
    scorer: Scorer,
    scores: pa.Table,
    silences: Silences,
    targets: Sequence[Target],
    config: Config,
    now: datetime,
) -> None:
    """Send ``scores`` (SCORES with contributions, sorted) and ``silences`` to every target.

    Repeating a failed call is harmless: files are replaced, alerts renewed, and the firing alerts are stored last.

    Raises:
        StoreError: A file, bucket or server does not answer.
        UsageError: Alertmanager refuses the alerts.
    """
    kinds = scorer.kinds if any(target.name != "parquet" for target in targets) else ()
    attributes = read_attributes(store, kinds, newest=NEWEST)
    for target in targets:
        if target.name == "parquet":
            write(_file(target.where, scores), to_parquet(scores.select(SCORES.schema.names)))
        elif target.name == "openmetrics":
            text = openmetrics.render(scores, scorer.aligner, scorer.release_id, silences.found, attributes)
            write(target.where, text)
    urls = [target.where for target in targets if target.name == "alertmanager"]
    if urls:
        _alert(store, scorer, scores, silences, urls, config, now, attributes)


def _alert(
    store: Store,
    scorer: Scorer,
    scores: pa.Table,
    silences: Silences,
    urls: Sequence[str],
    config: Config,
    now: datetime,
    attributes: Attributes,
) -> None:
    name = scorer.pointer.channel if scorer.pointer else scorer.release_id
    before = read_firing(store, name)
    alerts, after = advance(before, scores, _steps(scorer), config.align.merge_steps, config.emit, now)
    silent, pages = advance_silences(before.silences, silences, after.newest, config.emit)
    shown = labelled([*alerts, *silent], before.labels, attributes)
    for url in urls:
        alertmanager.post(url, shown, scorer.release_id, now, timedelta(hours=config.emit.hold_hours))
    going_on = {alert.incident.incident_id: alert.labels for alert in shown if not alert.ended}
    write_firing(store, name, replace(after, silences=pages, labels=going_on))


def labelled(alerts: Sequence[Alert], before: Mapping[str, Mapping[str, str]], attributes: Attributes) -> list[Alert]:
    """Give each alert the labels that it had ``before``.

    A new one has those of its first entity when it begins.
    """
    found = []
    for alert in alerts:
        incident = alert.incident
        labels = before.get(incident.incident_id)
        if labels is None:
            labels = as_labels(attributes.of(incident.first.kind, incident.first.entity_id, incident.start))
        found.append(replace(alert, labels=labels))
    return found


def _steps(scorer: Scorer) -> dict[str, int]:
    return {kind: entry.step_seconds for kind, entry in scorer.manifest.kinds.items()}


def _file(where: str, scores: pa.Table) -> str:
    """Return the file to write.

    In a folder (``where`` ends in ``/``) it is one per interval, named by its first sample.
    """
    if not where.endswith("/"):
        return where
    first = pc.min(scores["timestamp"]).as_py()
    return where + (f"{first:%Y-%m-%dT%H%M%SZ}.parquet" if first else "empty.parquet")
