"""Sends the scores of one interval to its targets."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.config.run import Config
from fleetalign.contracts.pages import find_pages
from fleetalign.contracts.tables import SCORES, to_parquet
from fleetalign.emit import alertmanager, openmetrics
from fleetalign.emit.firing import advance, read_firing, write_firing
from fleetalign.emit.incidents import Incident, group_pages
from fleetalign.emit.targets import Target, write
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage.store import Store


def incidents_of(scorer: Scorer, scores: pa.Table, config: Config) -> list[Incident]:
    """Find the incidents of ``scores`` (SCORES with contributions), in order of start."""
    pages = find_pages(scores, _steps(scorer), config.align.merge_steps)
    return group_pages(pages, timedelta(minutes=config.emit.group_minutes), config.emit.min_overlap)


def emit(
    store: Store, scorer: Scorer, scores: pa.Table, targets: Sequence[Target], config: Config, now: datetime
) -> None:
    """Send ``scores`` (SCORES with contributions, sorted) to every target.

    Repeating a failed call is harmless: files are replaced, alerts renewed, and the firing alerts are stored last.

    Raises:
        StoreError: A file, bucket or server does not answer.
        UsageError: Alertmanager refuses the alerts.
    """
    for target in targets:
        if target.name == "parquet":
            write(_file(target.where, scores), to_parquet(scores.select(SCORES.schema.names)))
        elif target.name == "openmetrics":
            write(target.where, openmetrics.render(scores, scorer.aligner, scorer.release_id))
    urls = [target.where for target in targets if target.name == "alertmanager"]
    if urls:
        _alert(store, scorer, scores, urls, config, now)


def _alert(store: Store, scorer: Scorer, scores: pa.Table, urls: Sequence[str], config: Config, now: datetime) -> None:
    name = scorer.pointer.channel if scorer.pointer else scorer.release_id
    alerts, after = advance(
        read_firing(store, name), scores, _steps(scorer), config.align.merge_steps, config.emit, now
    )
    for url in urls:
        alertmanager.post(url, alerts, scorer.release_id, now, timedelta(hours=config.emit.hold_hours))
    write_firing(store, name, after)


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
