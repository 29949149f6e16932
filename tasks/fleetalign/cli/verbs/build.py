"""``run``, its steps from ``plan`` to ``release build``, and ``tune``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleetalign import pipeline, steps
from fleetalign.cli import inputs
from fleetalign.cli.output import bar, show
from fleetalign.storage import layout
from fleetalign.storage.connect import open_store


def run(options: argparse.Namespace) -> int:
    config, store_uri = inputs.where(options)
    with bar(options) as progress:
        done = pipeline.run(
            config, store_uri, options.telemetry, inputs.mapping(options),
            feedback_path=options.feedback, interval=inputs.interval(options), as_of=inputs.instant(options.as_of),
            stored=options.stored, promote_by=None if options.no_promote else inputs.user(), progress=progress,
        )  # fmt: skip
    lines = [_release_text(store_uri, done.release)]
    if done.promotion is not None:
        lines.append(f"channel {done.promotion['channel']}: {done.promotion['why']}")
    show(options, done.as_json(), "\n".join([*lines, f"release {done.release['release_id']}"]))
    return done.exit_code


def plan(options: argparse.Namespace) -> None:
    result = steps.plan(
        *inputs.where(options),
        reuse_model=options.reuse_model, interval=inputs.interval(options), as_of=inputs.instant(options.as_of),
    )  # fmt: skip
    show(options, result)


def snapshot(options: argparse.Namespace) -> None:
    show(options, steps.snapshot(*inputs.planned(options)))


def pretrain(options: argparse.Namespace) -> None:
    with bar(options) as progress:
        result = steps.pretrain(*inputs.planned(options), force=options.force, progress=progress)
    show(options, result)


def align(options: argparse.Namespace) -> None:
    with bar(options) as progress:
        result = pipeline.align(*inputs.planned(options), progress)
    show(options, result)


def align_shard(options: argparse.Namespace) -> None:
    where = inputs.planned(options)
    done = pipeline.align_shards(*where) if options.all else [steps.align_shard(*where, options.shard)]
    show(options, {"shards": done})


def align_reduce(options: argparse.Namespace) -> None:
    show(options, steps.align_reduce(*inputs.planned(options)))


def release_build(options: argparse.Namespace) -> None:
    config, store_uri, plan_id = inputs.planned(options)
    result = steps.release(config, store_uri, plan_id)
    if options.output == "text" and not options.quiet:
        print(_release_text(store_uri, result), file=sys.stderr)
    show(options, result)


def tune(options: argparse.Namespace) -> None:
    from fleetalign.model.tune import BEST_FILE, HISTORY_FILE, tune_plan

    config, store_uri, plan_id = inputs.planned(options)
    with bar(options) as progress:
        best = tune_plan(
            open_store(store_uri), plan_id, options.kind, config, options.trials, options.out, progress=progress
        )
    if not options.quiet:
        print(Path(options.out) / BEST_FILE, Path(options.out) / HISTORY_FILE, sep="\n", file=sys.stderr)
    show(options, best)


def _release_text(store_uri: str, released: Mapping[str, Any]) -> str:
    from fleetalign.explain.text import release_text
    from fleetalign.storage.manifest import read_manifest

    store, release_id = open_store(store_uri), released["release_id"]
    where = f"{store.uri}/{layout.release(release_id, 'report.html')}"
    return f"{release_text(read_manifest(store, release_id))}\nreport {where}"
