"""The pipeline's table of contents: every step is one plain function.

A step takes the frozen configuration and a store URI, does its work from what the store holds, and returns a small
JSON-able dict of ids and counts. The Airflow task, the CLI verb and the dvc stage are thin wrappers of the same
function. Heavy libraries are imported inside, so that parsing a DAG loads none of them.

::

    ingest ─▶ validate ─▶ plan ─▶ snapshot ─▶ pretrain ─▶ align_shard… ─▶ align_reduce ─▶ release ─▶ promote

``BUILD_STEPS`` are the steps from plan to release: what Airflow, ``fleetalign run`` and ``dvc repro`` share.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fleetalign.config import Config
from fleetalign.contracts.hashing import readable_json
from fleetalign.contracts.receipts import SnapshotReceipt
from fleetalign.interval import Interval
from fleetalign.plan import receipts
from fleetalign.progress import Progress
from fleetalign.storage import layout
from fleetalign.storage.connect import open_store

if TYPE_CHECKING:
    from fleetalign.explain.explanation import EntityExplanation, ReleaseExplanation
    from fleetalign.ingest.mapping import Mapping as FileMapping
    from fleetalign.ingest.raw_partitions import IngestResult
    from fleetalign.ingest.source import Stored
    from fleetalign.validate.stored import Validated

_log = logging.getLogger(__name__)

BUILD_STEPS = ("plan", "snapshot", "pretrain", "align_shard", "align_reduce", "release")


def ingest(config: Config, store_uri: str, interval: Interval, progress: Progress | None = None) -> dict[str, Any]:
    """Ingest one closed interval, and the feedback recorded by its end.

    Feedback comes first: a wrong feedback file fails before telemetry is written.
    """
    from fleetalign.feedback.configured import import_configured
    from fleetalign.ingest.run import ingest_partition

    store = open_store(store_uri)
    feedback_statements = import_configured(store, config, interval)
    return ingest_summary(ingest_partition(store, config, interval, progress), feedback_statements)


def ingest_summary(result: IngestResult, feedback_statements: int = 0) -> dict[str, Any]:
    """Return an ingest result as JSON, without its partitions' documents."""
    return {
        "partitions": [p.prefix for p in result.partitions],
        "versions": {p.prefix.rstrip("/"): p.digest for p in result.partitions},
        "rows": {"read": result.read, "kept": result.kept, "outside": result.outside},
        "quarantined_rows": result.quarantined_rows,
        "quarantined_cells": result.quarantined_cells,
        "first_quarantined": result.first_quarantined,
        "feedback_statements": feedback_statements,
        **({"asked": list(result.queries)} if result.queries else {}),
    }


def ingest_files(
    config: Config,
    store_uri: str,
    path: str,
    mapping: FileMapping,
    interval: Interval | None = None,
    *,
    feedback_path: str | None = None,
    stored: Stored = "keep",
    progress: Progress | None = None,
) -> IngestResult:
    """Bring files into raw partitions, and their feedback into the store.

    Feedback that contradicts other feedback is stored and logged as a warning.
    """
    from fleetalign.feedback.files import read_feedback_file
    from fleetalign.feedback.statements import import_files
    from fleetalign.ingest.mapping import DEFAULT_KIND
    from fleetalign.ingest.run import ingest_files as ingest

    store = open_store(store_uri)
    # Before telemetry is written, so that a wrong feedback file stops the run early.
    feedback = read_feedback_file(feedback_path, mapping.kind or DEFAULT_KIND, store=store) if feedback_path else None
    result = ingest(store, config, path, mapping, interval, progress, stored=stored)
    if feedback_path and feedback is not None:
        for warning in import_files(store, feedback, feedback_path, _now()).warnings:
            _log.warning(warning)
    return result


def validate(config: Config, store_uri: str, interval: Interval) -> dict[str, Any]:
    """Validate every raw partition of one interval; bad rows go to quarantine.

    Raises PartitionHeld when a critical expectation fails; the other kinds are still validated.
    """
    from fleetalign.validate.run import validate_interval

    results = validate_interval(open_store(store_uri), config, interval)
    return {"partitions": [r.as_json() for r in results]}


def validate_stored(config: Config, store_uri: str, within: Interval | None) -> Validated:
    """Validate every raw partition that overlaps ``within`` (None: all).

    A held partition does not stop the others.
    """
    from fleetalign.validate.stored import validate_stored

    return validate_stored(open_store(store_uri), config, within)


def pretrain_due(config: Config, store_uri: str) -> dict[str, str] | None:
    """Return what to train on (``snapshot``) and ``why``; None while no pre-training is due.

    Looks at the store, counts no events: safe to call any number of times.
    """
    from fleetalign.watch.due import snapshot_due

    due = snapshot_due(open_store(store_uri), config, latest(config, store_uri, "pretrain"))
    return dataclasses.asdict(due) if due else None


def plan(
    config: Config,
    store_uri: str,
    *,
    reuse_model: bool = False,
    interval: Interval | None = None,
    as_of: datetime | None = None,
) -> dict[str, Any]:
    """Write the plan for what the store holds now.

    With ``reuse_model`` the newest trained model is kept and only a new alignment of it is planned; when nothing is new
    since the plan that trained or last aligned it, that plan is returned and every later step is a no-op.
    Feedback recorded after ``as_of`` does not exist.
    """
    from fleetalign.plan.cost import expected_cpu_hours
    from fleetalign.plan.draft import write_plan
    from fleetalign.plan.realign import plan_realignment

    store = open_store(store_uri)
    if reuse_model:
        plan_id, planned, new = plan_realignment(store, config, interval, as_of)
    else:
        plan_id, planned = write_plan(store, config, interval, as_of)
        new = True
    return {
        "plan_id": plan_id,
        "new": new,
        "kinds": {
            kind: {"entities": entry.entities, "ranges": entry.ranges.as_document()}
            for kind, entry in planned.kinds.items()
        },
        "partitions": len(planned.partitions),
        "feedback_rows": planned.feedback.rows,
        "shards": len(planned.shards),
        "expected_align_cpu_hours": float(f"{expected_cpu_hours(planned):.2g}"),
    }


def snapshot(config: Config, store_uri: str, plan_id: str) -> dict[str, Any]:
    """Record the plan's telemetry in the DVC data registry; returns the git revision."""
    store = open_store(store_uri)
    if not config.registry.enabled:
        return SnapshotReceipt().as_document()
    from fleetalign.plan.document import read_plan
    from fleetalign.versioning.dvc import snapshot as record

    result = record(store, read_plan(store, plan_id), plan_id, config.registry).as_document()
    store.put(layout.receipt(plan_id, "snapshot"), readable_json(result))
    return result


def pretrain(
    config: Config, store_uri: str, plan_id: str, *, force: bool = False, progress: Progress | None = None
) -> dict[str, Any]:
    """Train one shared model per kind, export and verify it, and fit the normalizer.

    A finished training is not repeated unless ``force``; an interrupted one goes on from its checkpoint.
    """
    from fleetalign.plan.document import plan_config, read_plan

    store = open_store(store_uri)
    planned = read_plan(store, plan_id)
    if planned.reuse or (store.exists(layout.receipt(plan_id, "pretrain")) and not force):
        receipt = receipts.trained(store, plan_id, planned)
    else:
        from fleetalign.model.pretrain import pretrain_plan

        settings = dataclasses.replace(plan_config(planned), storage=config.storage)
        receipt = pretrain_plan(store, planned, plan_id, settings, resume=not force, progress=progress)
    return receipt.as_document() | receipts.of_plan(store, plan_id, planned)


def shards(config: Config, store_uri: str, plan_id: str) -> list[dict[str, Any]]:
    """List the plan's shards, each with a label that says what it holds.

    Raises ConfigError when to align them is expected to take more than ``airflow.max_cpu_hours``.
    """
    from fleetalign.align.shard_task import label
    from fleetalign.plan.cost import require_affordable
    from fleetalign.plan.document import read_plan

    planned = read_plan(open_store(store_uri), plan_id)
    require_affordable(plan_id, planned, config.airflow.max_cpu_hours)
    return [{"plan_id": plan_id, "index": shard.index, "label": label(shard)} for shard in planned.shards]


def align_shard(
    config: Config, store_uri: str, plan_id: str, index: int, progress: Progress | None = None
) -> dict[str, Any]:
    """Score one shard's calibrate range with the exported graph and tabulate its entities."""
    from fleetalign.align.shard_task import align_and_store

    return align_and_store(open_store(store_uri), config, plan_id, index, progress).as_document()


def align_reduce(config: Config, store_uri: str, plan_id: str) -> dict[str, Any]:
    """Reduce every shard of the plan to the aligner table and the final normalizer."""
    from fleetalign.align.reduce import reduce_plan
    from fleetalign.plan.document import read_plan

    store = open_store(store_uri)
    planned = read_plan(store, plan_id)
    receipt = reduce_plan(store, plan_id, planned).as_document()
    store.put_immutable(layout.receipt(plan_id, "align_reduce"), readable_json(receipt))
    # Rows per entity stay in the receipt: what a task returns must not grow with the fleet.
    summary = {k: v for k, v in receipt.items() if k not in ("leave_one_out", "random_tail_probabilities")}
    return summary | receipts.of_plan(store, plan_id, planned)


def release(config: Config, store_uri: str, plan_id: str, progress: Progress | None = None) -> dict[str, Any]:
    """Judge what the plan built, apply the gates and publish one immutable release."""
    from fleetalign.release.build import build_release
    from fleetalign.release.publish import of_release

    store = open_store(store_uri)
    receipt = build_release(store, plan_id, config, progress)
    return receipt.as_document() | of_release(store, receipt.release_id)


def promote(
    config: Config, store_uri: str, release_id: str, *, channel: str, by: str, why: str, force: bool = False
) -> dict[str, Any]:
    """Point a channel to a release if its gates and the champion's comparison allow it.

    Raises GateRefused with the reasons otherwise. A no-op when the channel already serves the same artifacts.
    """
    from fleetalign.release.comparison import promote_release
    from fleetalign.watch.reports import rate_evidence

    return promote_release(
        open_store(store_uri), config, release_id, rate_evidence, channel=channel, by=by, why=why, force=force
    )


def promotion_verdict(
    config: Config, store_uri: str, release_id: str, *, channel: str, force: bool = False
) -> str | None:
    """Describe a promotion as Markdown for its approver; None when nothing would move.

    Raises GateRefused as ``promote`` does.
    """
    from fleetalign.release.comparison import promotion_verdict as verdict
    from fleetalign.watch.reports import rate_evidence

    return verdict(open_store(store_uri), config, release_id, rate_evidence, channel=channel, force=force)


def rollback(
    config: Config, store_uri: str, *, channel: str, release_id: str | None, by: str, why: str
) -> dict[str, Any]:
    """Point a channel to an older release: ``release_id``, or the one before the current."""
    from fleetalign.release.promote import rollback as move_back

    return move_back(
        open_store(store_uri), channel, by, why, release_id, expires_after_hours=config.release.expires_after_hours
    ).as_json()


def score(config: Config, store_uri: str, interval: Interval) -> dict[str, Any]:
    """Score one closed interval with the channel's release, and send it to ``emit.targets``."""
    from fleetalign.emit.scheduled import score_interval

    return score_interval(open_store(store_uri), config, interval, _now())


def backtest(
    config: Config, store_uri: str, span: Interval, *, channel: str, release_id: str | None = None,
    against: str | None = None, budget: float | None = None, where: str | None = None, group_by: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Compare the pages that two releases, or a release and a budget, would have sent."""
    from fleetalign.release.backtest import backtest

    return backtest(
        open_store(store_uri), config, span, channel=channel, release_id=release_id, against=against, budget=budget,
        where=where, group_by=group_by,
    )  # fmt: skip


def explain(
    config: Config,
    store_uri: str,
    *,
    release_id: str | None = None,
    channel: str | None = None,
    entity: str | None = None,
    at: datetime | None = None,
) -> EntityExplanation | ReleaseExplanation:
    """Explain the gates of a release, or the aligner row of ``entity`` and its page at ``at``.

    The release is ``release_id``, else the one ``channel`` points to, else the newest.
    """
    from fleetalign.explain.explanation import explain_entity, explain_release
    from fleetalign.release.listing import newest_release, released_on

    store = open_store(store_uri)
    chosen = release_id or (released_on(store, channel) if channel else newest_release(store))
    return explain_entity(store, chosen, entity, at) if entity else explain_release(store, chosen)


def drift(config: Config, store_uri: str) -> dict[str, Any] | None:
    """Compare the newest whole day with what the channel's release was built on.

    None while the channel points nowhere: nothing is served that could have drifted.
    """
    from fleetalign.watch.drift import check_channel

    return check_channel(open_store(store_uri), config)


def drift_report(
    config: Config,
    store_uri: str,
    *,
    channel: str,
    release_id: str | None = None,
    day: Interval | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Compare ``day`` with what a release was built on; store the report and return it.

    ``day`` None is the newest whole day of validated telemetry.
    """
    from fleetalign.scoring.scorer import Scorer
    from fleetalign.watch.drift import check

    store = open_store(store_uri)
    return check(store, config, Scorer.open(store, channel, release_id), day, progress)


def health(config: Config, store_uri: str) -> dict[str, Any] | None:
    """Return the channel's gauges, and an alarm before its release expires.

    None while the channel points nowhere.
    """
    from fleetalign.watch.health import health as of

    name, warn_hours = config.release.channel, config.release.warn_before_expiry_hours
    found = of(open_store(store_uri), name, _now(), warn_hours)
    return None if found is None else {"gauges": found.gauges, "alarm": found.alarm}


def add_feedback(config: Config, store_uri: str, form: Mapping[str, str], *, by: str) -> dict[str, Any]:
    """Store one statement; the fields of ``form`` are those of ``feedback.statements.FIELDS``."""
    from fleetalign.feedback.statements import add

    return add(open_store(store_uri), form, merge_steps=config.align.merge_steps, by=by, now=_now())


def import_feedback(config: Config, store_uri: str, path: str, kind: str | None = None) -> dict[str, Any]:
    """Import the statements of a file or folder; ``kind`` is that of statements that name none."""
    from fleetalign.feedback.files import read_feedback_file
    from fleetalign.feedback.statements import import_files
    from fleetalign.ingest.mapping import DEFAULT_KIND

    store = open_store(store_uri)
    table = read_feedback_file(path, kind or config.source.kind or DEFAULT_KIND, store=store)
    return import_files(store, table, path, _now()).as_json()


def collect_feedback(config: Config, store_uri: str) -> dict[str, Any]:
    """Import what other tools put into the inbox; unreadable objects go to quarantine."""
    from fleetalign.feedback.inbox import collect
    from fleetalign.ingest.mapping import DEFAULT_KIND

    return collect(open_store(store_uri), config.source.kind or DEFAULT_KIND, _now()).as_json()


def collect_garbage(
    config: Config, store_uri: str, *, dry_run: bool = True, min_age_hours: float = 168.0
) -> dict[str, Any]:
    """Delete unreferenced objects, or only list them when ``dry_run``."""
    from fleetalign.release.garbage import collect

    keys = collect(open_store(store_uri), dry_run=dry_run, min_age_hours=min_age_hours, now=_now())
    return {"dry_run": dry_run, "objects": len(keys), "keys": keys[:1000]}


def latest(config: Config, store_uri: str, step: str) -> str | None:
    """Return the plan of the newest result of ``step``; None when there is none.

    ``step`` is ``pretrain``, ``align_reduce`` or ``release``.
    """
    return receipts.latest(open_store(store_uri), step)


def _now() -> datetime:
    return datetime.now(UTC)


__all__ = [
    *BUILD_STEPS,
    "add_feedback",
    "backtest",
    "collect_feedback",
    "collect_garbage",
    "drift",
    "drift_report",
    "explain",
    "health",
    "import_feedback",
    "ingest",
    "ingest_files",
    "ingest_summary",
    "latest",
    "pretrain_due",
    "promote",
    "promotion_verdict",
    "rollback",
    "score",
    "shards",
    "validate",
    "validate_stored",
]
