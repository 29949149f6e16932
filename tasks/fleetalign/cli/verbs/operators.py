"""What the verbs of ``fleetalign feedback`` and ``fleetalign mute`` do, each named VERB_WHAT."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from fleetalign import steps
from fleetalign.cli import inputs
from fleetalign.cli.output import tell
from fleetalign.errors import BadInput
from fleetalign.interval import format_time, parse_time


def feedback_add(options: argparse.Namespace) -> int:
    from fleetalign.feedback.statements import FIELDS

    form = {name: value for name in FIELDS if (value := getattr(options, name))}
    by = options.by or inputs.user()
    return tell(steps.add_feedback(inputs.config(options), inputs.store_uri(options), form, by=by))


def feedback_pages(options: argparse.Namespace) -> int:
    from fleetalign.feedback.alarm_pages import read_pages

    for page in read_pages(options.scores, inputs.config(options).align.merge_steps):
        print(f"{page.page_id}  until {format_time(page.end)}")
    return 0


def feedback_list(options: argparse.Namespace) -> int:
    from fleetalign.storage.inventory import EntityInventory
    from fleetalign.storage.statements import read_feedback

    store = inputs.store(options)
    only = EntityInventory(store).resolve(options.entity) if options.entity else None
    rows = read_feedback(store).to_pylist()
    taken_back = {row["retracts"] for row in rows}
    for row in rows:
        if only in (None, (row["kind"], row["entity_id"])):
            about = f"{row['kind']}/{row['entity_id']}  {format_time(row['start'])} to {format_time(row['end'])}"
            what = f"retracts {row['retracts']}" if row["retracts"] else row["verdict"]
            gone = "  (retracted)" if row["feedback_id"] in taken_back else ""
            note = f": {row['note']}" if row["note"] else ""
            print(
                f"{row['feedback_id']}  {format_time(row['recorded_at'])}  {about}  {what}{gone}  {row['source']}{note}"
            )
    return 0


def feedback_retract(options: argparse.Namespace) -> int:
    from fleetalign.feedback.statements import retract

    by = options.by or inputs.user()
    return tell(retract(inputs.store(options), options.statement, by=by, why=options.why, now=_now()))


def feedback_import(options: argparse.Namespace) -> int:
    from fleetalign.feedback.files import read_feedback_file
    from fleetalign.feedback.statements import import_files
    from fleetalign.ingest.mapping import DEFAULT_KIND

    store, kind = inputs.store(options), options.kind or inputs.config(options).source.kind or DEFAULT_KIND
    table = read_feedback_file(options.file, kind, store=store)
    return tell(import_files(store, table, options.file, _now()).as_json())


def feedback_collect(options: argparse.Namespace) -> int:
    """A quarantined object is bad input, and everything else is imported all the same."""
    collected = steps.collect_feedback(inputs.config(options), inputs.store_uri(options))
    tell(collected)
    if collected["quarantined"]:
        raise BadInput(
            f"{len(collected['quarantined'])} of {collected['objects']} objects of the inbox went to quarantine/objects/, "
            f"the others are imported; first: {next(iter(collected['quarantined'].values()))}"
        )
    return 0


def mute_add(options: argparse.Namespace) -> int:
    from fleetalign.feedback.mutes import MuteRequest, mute

    start, end = (parse_time(text) if text else None for text in (options.start, options.end))
    request = MuteRequest(
        entity=options.entity, kind=options.kind, metric=options.metric,
        start=start, end=end, by=options.by or inputs.user(), why=options.why,
    )  # fmt: skip
    return tell({"mute_id": mute(inputs.store(options), request)})


def mute_list(options: argparse.Namespace) -> int:
    from fleetalign.contracts.mutes import in_words
    from fleetalign.storage.statements import list_mutes

    for row in list_mutes(inputs.store(options)):
        lifted = "".join(f"; lifted at {format_time(x['at'])} by {x['by']}: {x['why']}" for x in row["lifts"][:1])
        print(f"{row['mute_id']}  {row['kind']}/{row['entity_id']}  {in_words(row)}{lifted}")
    return 0


def mute_lift(options: argparse.Namespace) -> int:
    from fleetalign.feedback.mutes import lift

    at = parse_time(options.at) if options.at else _now()
    lifted = lift(inputs.store(options), options.mute, at=at, by=options.by or inputs.user(), why=options.why)
    return tell({"mute_id": lifted, "until": format_time(at)})


def _now() -> datetime:
    return datetime.now(UTC)
