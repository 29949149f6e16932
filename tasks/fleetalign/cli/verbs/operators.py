"""``feedback`` and ``mute``: what operators tell the store."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from fleetalign import steps
from fleetalign.cli import inputs
from fleetalign.cli.output import show
from fleetalign.errors import BadInput
from fleetalign.interval import format_time


def feedback_add(options: argparse.Namespace) -> None:
    from fleetalign.feedback.statements import FIELDS

    form = {name: value for name in FIELDS if (value := getattr(options, name))}
    show(options, steps.add_feedback(*inputs.where(options), form, by=inputs.author(options)))


def feedback_pages(options: argparse.Namespace) -> None:
    from fleetalign.feedback.alarm_pages import read_pages
    from fleetalign.feedback.listing import pages_json, pages_text

    pages = read_pages(options.scores, inputs.config(options).align.merge_steps)
    show(options, pages_json(pages), pages_text(pages))


def feedback_list(options: argparse.Namespace) -> None:
    from fleetalign.feedback.listing import statements, statements_json, statements_text

    found = statements(inputs.store(options), options.entity)
    show(options, statements_json(found), statements_text(found))


def feedback_retract(options: argparse.Namespace) -> None:
    from fleetalign.feedback.statements import retract

    result = retract(
        inputs.store(options), options.statement, by=inputs.author(options), why=options.why, now=datetime.now(UTC)
    )
    show(options, result)


def feedback_import(options: argparse.Namespace) -> None:
    show(options, steps.import_feedback(*inputs.where(options), options.file, options.kind))


def feedback_collect(options: argparse.Namespace) -> None:
    """Import the inbox; raise BadInput for quarantined objects after importing the others."""
    collected = steps.collect_feedback(*inputs.where(options))
    show(options, collected)
    if bad := collected["quarantined"]:
        raise BadInput(
            f"{len(bad)} of {collected['objects']} objects of the inbox went to quarantine/objects/, "
            f"the others are imported; first: {next(iter(bad.values()))}"
        )


def mute_add(options: argparse.Namespace) -> None:
    from fleetalign.feedback.mutes import MuteRequest, mute

    request = MuteRequest(
        entity=options.entity, kind=options.kind, attribute=options.attribute, metric=options.metric,
        start=inputs.instant(options.start), end=inputs.instant(options.end),
        by=inputs.author(options), why=options.why,
    )  # fmt: skip
    show(options, {"mute_id": ", ".join(mute(inputs.store(options), request))})


def mute_import(options: argparse.Namespace) -> None:
    from fleetalign.feedback.calendars import import_calendar

    store, between = inputs.store(options), (inputs.instant(options.start), inputs.instant(options.end))
    show(options, import_calendar(store, options.file, between, zone=options.time_zone, by=inputs.author(options)))


def attributes_import(options: argparse.Namespace) -> None:
    from fleetalign.ingest.attributes import import_attribute_file
    from fleetalign.ingest.mapping import DEFAULT_KIND

    kind = options.kind or inputs.config(options).source.kind or DEFAULT_KIND
    show(options, import_attribute_file(inputs.store(options), options.file, kind, datetime.now(UTC)))


def attributes_list(options: argparse.Namespace) -> None:
    from fleetalign.feedback.listing import attributes_json, attributes_text

    found = attributes_json(inputs.store(options), options.kind, options.where)
    show(options, found, attributes_text(found))


def mute_list(options: argparse.Namespace) -> None:
    from fleetalign.feedback.listing import mutes_json, mutes_text

    store = inputs.store(options)
    show(options, mutes_json(store), mutes_text(store))


def mute_lift(options: argparse.Namespace) -> None:
    from fleetalign.feedback.mutes import lift

    at = inputs.instant(options.at) or datetime.now(UTC)
    lifted = lift(inputs.store(options), options.mute, at=at, by=inputs.author(options), why=options.why)
    show(options, {"mute_id": lifted, "until": format_time(at)})
