"""Scores one closed interval of the store and sends the result, as the scoring DAG does."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from fleetalign.config.run import Config
from fleetalign.emit.scored import score_and_send
from fleetalign.emit.targets import parse_all
from fleetalign.errors import BadInput, ConfigError
from fleetalign.interval import Interval
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage import lake
from fleetalign.storage.store import Store


def score_interval(store: Store, config: Config, interval: Interval, now: datetime) -> dict[str, Any]:
    """Score the validated partitions of ``interval`` and send the result to ``emit.targets``.

    ``interval`` is one or more whole partitions.

    Raises:
        ConfigError: ``emit.targets`` is empty.
        BadInput: No kind of the release has a validated partition there.
    """
    if not config.emit.targets:
        raise ConfigError(
            "emit.targets is empty: set where scores and alarms go, such as [alertmanager=http://am:9093]"
        )
    targets = parse_all(config.emit.targets)
    scorer = Scorer.open(store, config.release.channel)
    telemetry = _telemetry(store, scorer, interval)
    unread = [
        kind
        for kind in scorer.kinds
        if lake.list_partitions(store, "raw", kind, interval)
        and not lake.list_partitions(store, "validated", kind, interval)
    ]
    scored = score_and_send(store, config, scorer, telemetry, targets, interval.start, now, interval.end, unread)
    return {
        "release_id": scored.release_id,
        **interval.as_json(),
        "samples": scored.samples,
        "alarms": scored.alarms,
        "incidents": len(scored.incidents),
        "silences": len(scored.silences),
    }


def _telemetry(store: Store, scorer: Scorer, interval: Interval) -> pa.Table:
    """Read every kind's validated telemetry of ``interval`` and the history its windows need."""
    tables, new_rows = [], 0
    for kind, entry in scorer.manifest.kinds.items():
        history = timedelta(seconds=scorer.history_steps(kind) * entry.step_seconds)
        reach = Interval(interval.start - history, interval.end)
        partitions = lake.list_partitions(store, "validated", kind, reach)
        new_rows += sum(p.rows for p in partitions if p.interval.overlaps(interval))
        tables += [lake.read_partition(store, partition) for partition in partitions]
    if not new_rows:
        raise BadInput(
            f"{store.uri}: no validated telemetry from {interval.start} to {interval.end} of any kind that release "
            f"{scorer.release_id} knows ({', '.join(scorer.kinds)}); validate it first"
        )
    return pa.concat_tables(tables, promote_options="default")
