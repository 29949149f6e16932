"""``run``, the verbs of its steps from ``plan`` to ``release``, and ``tune``."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

from fleetalign import steps
from fleetalign.cli import inputs
from fleetalign.cli.output import tell, tell_receipt
from fleetalign.config import Config
from fleetalign.errors import BadInput, GateRefused, PartitionHeld
from fleetalign.progress import Bar
from fleetalign.storage import layout
from fleetalign.storage.connect import open_store


def run(options: argparse.Namespace) -> int:
    config, store_uri = inputs.config(options), inputs.store_uri(options)
    bar = Bar()
    result = inputs.ingest_files(config, store_uri, options, bar)
    intervals = sorted({p.interval for p in result.partitions})
    held, read = [], [steps.ingest_summary(result)]
    for done, interval in enumerate(intervals, start=1):
        try:
            read += steps.validate(config, store_uri, interval)["partitions"]
        except PartitionHeld as error:
            held.append(error)
            print(f"held: {error}", file=sys.stderr)
        bar(done, len(intervals), "validate")
    planned = steps.plan(config, store_uri, interval=inputs.interval(options), as_of=inputs.as_of(options))
    bar.close()
    print(f"plan {planned['plan_id']}", file=sys.stderr)
    released = _build(config, store_uri, planned["plan_id"], bar)
    print(_release_lines(store_uri, released))
    refused = None
    if not options.no_promote:
        try:
            promoted = steps.promote(
                config, store_uri, released["release_id"],
                channel=config.release.channel, by=inputs.user(), why="fleetalign run",
            )  # fmt: skip
            print(f"channel {promoted['channel']}: {promoted['why']}")
        except GateRefused as error:
            refused = error
            print(f"not promoted: {error}", file=sys.stderr)
    print(f"release {released['release_id']}")
    said = inputs.set_aside(read)
    if said:
        print(f"set aside: {said}", file=sys.stderr)
    stopped = [*held, *([refused] if refused else [])]
    return stopped[0].exit_code if stopped else BadInput.exit_code if said else 0


def _build(config: Config, store_uri: str, plan_id: str, bar: Bar) -> dict[str, Any]:
    steps.snapshot(config, store_uri, plan_id)
    steps.pretrain(config, store_uri, plan_id, progress=bar)
    _align(config, store_uri, plan_id, bar)
    released = steps.release(config, store_uri, plan_id, progress=bar)
    bar.close()
    return released


def _align(config: Config, store_uri: str, plan_id: str, bar: Bar) -> dict[str, Any]:
    found = steps.shards(config, store_uri, plan_id)
    for done, shard in enumerate(found, start=1):
        steps.align_shard(config, store_uri, plan_id, shard["index"])
        bar(done, len(found), "align shards")
    bar.close()
    return steps.align_reduce(config, store_uri, plan_id)


def plan(options: argparse.Namespace) -> int:
    config, store_uri = inputs.config(options), inputs.store_uri(options)
    return tell_receipt(
        options,
        steps.plan(
            config,
            store_uri,
            reuse_model=options.reuse_model,
            interval=inputs.interval(options),
            as_of=inputs.as_of(options),
        ),
    )


def snapshot(options: argparse.Namespace) -> int:
    return tell_receipt(options, steps.snapshot(*inputs.planned(options)))


def pretrain(options: argparse.Namespace) -> int:
    bar = Bar()
    result = steps.pretrain(*inputs.planned(options), force=options.force, progress=bar)
    bar.close()
    return tell_receipt(options, result)


def align(options: argparse.Namespace) -> int:
    return tell_receipt(options, _align(*inputs.planned(options), Bar()))


def align_shard(options: argparse.Namespace) -> int:
    config, store_uri, plan_id = inputs.planned(options)
    chosen = [s["index"] for s in steps.shards(config, store_uri, plan_id)] if options.all else [options.shard]
    return tell_receipt(options, {"shards": [steps.align_shard(config, store_uri, plan_id, index) for index in chosen]})


def align_reduce(options: argparse.Namespace) -> int:
    return tell_receipt(options, steps.align_reduce(*inputs.planned(options)))


def release(options: argparse.Namespace) -> int:
    config, store_uri, plan_id = inputs.planned(options)
    result = steps.release(config, store_uri, plan_id)
    print(_release_lines(store_uri, result), file=sys.stderr)
    return tell_receipt(options, result)


def tune(options: argparse.Namespace) -> int:
    import yaml

    from fleetalign.model.tune import tune_kind
    from fleetalign.plan.document import plan_config, read_plan

    config, store_uri, plan_id = inputs.planned(options)
    store = open_store(store_uri)
    document = read_plan(store, plan_id)
    settings = dataclasses.replace(plan_config(document), storage=config.storage)
    bar = Bar()
    best = tune_kind(store, document, options.kind, settings, options.trials, options.out, progress=bar)
    bar.close()
    path = Path(options.out) / "best.yaml"
    path.write_text(yaml.safe_dump(best, sort_keys=True))
    print(f"{path}\n{path.with_name('history.png')}", file=sys.stderr)
    return tell(best)


def _release_lines(store_uri: str, released: dict[str, Any]) -> str:
    from fleetalign.explain.text import release_text
    from fleetalign.storage.manifest import read_manifest

    store, release_id = open_store(store_uri), released["release_id"]
    where = f"{store.uri}/{layout.release(release_id, 'report.html')}"
    return f"{release_text(read_manifest(store, release_id))}\nreport {where}"
