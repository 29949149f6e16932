"""The steps one after another in one process.

``fleetalign run`` and ``fleetalign align`` do this, without a scheduler.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fleetalign import steps
from fleetalign.config import Config
from fleetalign.errors import BadInput, FleetalignError, GateRefused
from fleetalign.interval import Interval
from fleetalign.progress import Progress
from fleetalign.storage.connect import open_store
from fleetalign.storage.quarantine import quarantined

if TYPE_CHECKING:
    from datetime import datetime

    from fleetalign.ingest.mapping import Mapping as FileMapping
    from fleetalign.ingest.source import Stored

MOST_WARNINGS = 10
"""Lines of a run about what validation warned of; the results hold all of it."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Run:
    """What a run from telemetry to a promoted release did."""

    release: dict[str, Any]
    """The result of the release step."""
    promotion: dict[str, Any] | None
    """The result of the promotion; None when it was refused or not asked for."""
    refused: GateRefused | None
    """Why the release was not promoted."""
    held: tuple[FleetalignError, ...]
    """One error for each interval with a partition that validation held."""
    quarantined: str
    """What went to the quarantine, in one line; empty when nothing did."""

    @property
    def exit_code(self) -> int:
        """That of the first held partition or refusal, else of bad input, else 0."""
        stopped = [*self.held, *([self.refused] if self.refused else [])]
        if stopped:
            return stopped[0].exit_code
        return BadInput.exit_code if self.quarantined else 0

    def as_json(self) -> dict[str, Any]:
        """Return the result as one JSON document."""
        return {
            "plan_id": self.release["plan_id"],
            "release_id": self.release["release_id"],
            "release": self.release,
            "promotion": self.promotion,
            "refused": str(self.refused) if self.refused else None,
            "held": [str(error) for error in self.held],
            "quarantined": self.quarantined,
        }


def run(
    config: Config,
    store_uri: str,
    path: str,
    mapping: FileMapping,
    *,
    feedback_path: str | None = None,
    interval: Interval | None = None,
    as_of: datetime | None = None,
    stored: Stored = "keep",
    promote_by: str | None,
    progress: Progress | None = None,
) -> Run:
    """Ingest and validate files, build a release, and promote it if its gates allow.

    The release is built from everything the store holds. ``promote_by`` names who promotes; None leaves the channel alone. A held partition, a refused promotion and rows in
    the quarantine do not stop the run: they are logged as warnings and kept in the result.
    """
    from fleetalign.validate.stored import validate_intervals

    ingested = steps.ingest_files(
        config, store_uri, path, mapping, interval, feedback_path=feedback_path, stored=stored, progress=progress
    )
    intervals = (partition.interval for partition in ingested.partitions)
    validated = validate_intervals(open_store(store_uri), config, intervals, progress)
    for error in validated.held:
        _log.warning("held: %s", error)
    for sentence in warnings_of(validated.results):
        _log.warning("%s", sentence)
    planned = steps.plan(config, store_uri, interval=interval, as_of=as_of)
    _log.info("plan %s", planned["plan_id"])
    released = build(config, store_uri, planned["plan_id"], progress)
    promotion = refused = None
    if promote_by is not None:
        try:
            promotion = steps.promote(
                config, store_uri, released["release_id"],
                channel=config.release.channel, by=promote_by, why="fleetalign run",
            )  # fmt: skip
        except GateRefused as error:
            refused = error
            _log.warning("not promoted: %s", error)
    left_out = quarantined([steps.ingest_summary(ingested), *validated.results])
    if left_out:
        _log.warning("set aside: %s", left_out)
    return Run(released, promotion, refused, validated.held, left_out)


def warnings_of(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what validation warned of.

    Each line has the first partition, and the number of others that it is true of.
    """
    where: dict[tuple[str, str], list[str]] = {}
    for result in results:
        for warning in result["warnings"]:
            where.setdefault((result["kind"], warning), []).append(
                result["partition"].rstrip("/").partition("/date=")[2]
            )
    lines = [
        f"{kind}, {days[0]}{f' and {len(days) - 1} more' if len(days) > 1 else ''}: {warning}"
        for (kind, warning), days in where.items()
    ]
    return [
        *lines[:MOST_WARNINGS],
        *([f"… and {len(lines) - MOST_WARNINGS} more warnings"] if len(lines) > MOST_WARNINGS else []),
    ]


def build(config: Config, store_uri: str, plan_id: str, progress: Progress | None = None) -> dict[str, Any]:
    """Run every step of ``BUILD_STEPS`` after ``plan``; returns the result of the release step."""
    steps.snapshot(config, store_uri, plan_id)
    steps.pretrain(config, store_uri, plan_id, progress=progress)
    align(config, store_uri, plan_id, progress)
    return steps.release(config, store_uri, plan_id, progress=progress)


def align(config: Config, store_uri: str, plan_id: str, progress: Progress | None = None) -> dict[str, Any]:
    """Align every shard of the plan, then reduce them; returns the result of the reduction."""
    align_shards(config, store_uri, plan_id, progress)
    return steps.align_reduce(config, store_uri, plan_id)


def align_shards(
    config: Config, store_uri: str, plan_id: str, progress: Progress | None = None
) -> list[dict[str, Any]]:
    """Align every shard of the plan, one after another; returns the result of each."""
    shards = steps.shards(config, store_uri, plan_id)
    results = []
    for done, shard in enumerate(shards, start=1):
        results.append(steps.align_shard(config, store_uri, plan_id, shard["index"]))
        if progress is not None:
            progress(done, len(shards), "align shards")
    return results
