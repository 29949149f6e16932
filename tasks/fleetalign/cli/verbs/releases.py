"""``promote``, ``rollback``, ``releases``, ``verify``, ``report``, ``explain`` and ``gc``: releases that exist."""

from __future__ import annotations

import argparse

from fleetalign import steps
from fleetalign.cli import inputs
from fleetalign.cli.output import tell
from fleetalign.errors import GateRefused, UsageError
from fleetalign.interval import parse_time
from fleetalign.storage import layout


def promote(options: argparse.Namespace) -> int:
    result = steps.promote(
        inputs.config(options), inputs.store_uri(options), options.release,
        channel=options.channel, by=options.by or inputs.user(), why=options.why, force=options.force,
    )  # fmt: skip
    return tell(result)


def rollback(options: argparse.Namespace) -> int:
    result = steps.rollback(
        inputs.config(options), inputs.store_uri(options),
        channel=options.channel, release_id=options.release, by=options.by or inputs.user(), why=options.why,
    )  # fmt: skip
    return tell(result)


def releases(options: argparse.Namespace) -> int:
    from fleetalign.storage import channel as channels

    store = inputs.store(options)
    pointers = {name: channels.read(store, name) for name in channels.names(store)}
    for info in store.list(layout.RELEASES):
        release_id, _, name = info.key.removeprefix(layout.RELEASES).partition("/")
        if name == "manifest.json":
            on = [name for name, pointer in pointers.items() if pointer and pointer.release_id == release_id]
            print(f"{release_id}  {info.modified_at:%Y-%m-%d %H:%M}  {' '.join(f'<- {name}' for name in on)}".rstrip())
    for pointer in channels.history(store, options.channel):
        print(
            f"{pointer.channel} {pointer.sequence:>4}  {pointer.release_id}  {pointer.moved_at}  {pointer.by}: {pointer.why}"
        )
    return 0


def verify(options: argparse.Namespace) -> int:
    from fleetalign.release.verify import verify as check

    store = inputs.store(options)
    release_id = inputs.release_id(options)
    problems = check(store, release_id)
    for problem in problems:
        print(problem)
    if problems:
        raise GateRefused(f"release {release_id} does not verify: {len(problems)} problems, listed above")
    print(f"release {release_id} verifies: every file has its sha256, the graph repeats its golden vectors")
    return 0


def report(options: argparse.Namespace) -> int:
    store = inputs.store(options)
    inputs.output(options.out).write_bytes(store.get(layout.release(inputs.release_id(options), "report.html")))
    print(options.out)
    return 0


def explain(options: argparse.Namespace) -> int:
    from fleetalign.explain.explain import explain_entity, explain_release

    store = inputs.store(options)
    named = options.release or options.channel
    release_id = inputs.release_id(options) if named else inputs.newest_release(options)
    if options.at and not options.entity:
        raise UsageError("explain: --at needs --entity; name whose page it is")
    at = parse_time(options.at) if options.at else None
    print(
        explain_entity(store, release_id, options.entity, at) if options.entity else explain_release(store, release_id)
    )
    return 0


def gc(options: argparse.Namespace) -> int:
    result = steps.collect_garbage(
        inputs.config(options), inputs.store_uri(options),
        dry_run=not options.delete, min_age_hours=options.min_age_hours,
    )  # fmt: skip
    return tell(result)
