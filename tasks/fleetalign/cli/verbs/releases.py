"""``release list`` to ``release report``, ``explain`` and ``gc``: existing releases."""

from __future__ import annotations

import argparse

from fleetalign import steps
from fleetalign.cli import inputs
from fleetalign.cli.output import show
from fleetalign.errors import GateRefused, UsageError


def release_list(options: argparse.Namespace) -> None:
    from fleetalign.release.listing import list_releases

    found = list_releases(inputs.store(options), options.channel)
    show(options, found.as_json(), found.text())


def release_show(options: argparse.Namespace) -> None:
    from fleetalign.release.listing import show_release

    store = inputs.store(options)
    found = show_release(store, inputs.release_id(options, store))
    show(options, found.as_json(), found.text())


def release_verify(options: argparse.Namespace) -> None:
    from fleetalign.release.verify import verify

    store = inputs.store(options)
    release_id = inputs.release_id(options, store)
    problems = verify(store, release_id)
    passed = f"release {release_id} verifies: every file has its sha256, the graph repeats its golden vectors"
    show(options, {"release_id": release_id, "problems": problems}, "\n".join(problems) or passed)
    if problems:
        raise GateRefused(f"release {release_id} does not verify: {len(problems)} problems, listed above")


def release_promote(options: argparse.Namespace) -> None:
    result = steps.promote(
        *inputs.where(options), options.release,
        channel=options.channel, by=inputs.author(options), why=options.why, force=options.force,
    )  # fmt: skip
    show(options, result)


def release_rollback(options: argparse.Namespace) -> None:
    result = steps.rollback(
        *inputs.where(options),
        channel=options.channel, release_id=options.release, by=inputs.author(options), why=options.why,
    )  # fmt: skip
    show(options, result)


def release_report(options: argparse.Namespace) -> None:
    from fleetalign.release.listing import read_report

    store = inputs.store(options)
    release_id = inputs.release_id(options, store)
    inputs.output(options.out).write_bytes(read_report(store, release_id))
    show(options, {"release_id": release_id, "file": options.out}, options.out)


def explain(options: argparse.Namespace) -> None:
    if options.at and not options.entity:
        raise UsageError("explain: --at needs --entity; name the entity whose page to explain")
    found = steps.explain(
        *inputs.where(options), release_id=options.release, channel=options.channel,
        entity=options.entity, at=inputs.instant(options.at),
    )  # fmt: skip
    show(options, found.as_json(), found.text())


def gc(options: argparse.Namespace) -> None:
    result = steps.collect_garbage(
        *inputs.where(options), dry_run=not options.delete, min_age_hours=options.min_age_hours
    )
    show(options, result)
