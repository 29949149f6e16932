"""What each verb of the command line does: options in, a step called, a few lines out."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fleetalign import config as configuration
from fleetalign import given, steps
from fleetalign.config import Config
from fleetalign.errors import BadInput, GateRefused, PartitionHeld, UsageError
from fleetalign.interval import parse_time
from fleetalign.progress import Bar
from fleetalign.storage import lake, layout
from fleetalign.storage.store import open_store


def run(options: argparse.Namespace) -> int:
    config, store_uri = given.config(options), configuration.store_uri(options.store)
    bar = Bar()
    result = given.ingest_files(config, store_uri, options, bar)
    intervals = sorted({p.interval for p in result.partitions})
    held = []
    for done, interval in enumerate(intervals, start=1):
        try:
            steps.validate(config, store_uri, interval)
        except PartitionHeld as error:
            held.append(error)
            print(f"held: {error}", file=sys.stderr)
        bar(done, len(intervals), "validate")
    planned = steps.plan(config, store_uri, interval=given.interval(options), as_of=given.as_of(options))
    bar.close()
    print(f"plan {planned['plan_id']}", file=sys.stderr)
    released = _build(config, store_uri, planned["plan_id"], bar)
    print(_release_lines(store_uri, released))
    refused = None
    if not options.no_promote:
        try:
            promoted = steps.promote(
                config, store_uri, released["release_id"],
                channel=config.release.channel, by=given.user(), why="fleetalign run",
            )  # fmt: skip
            print(f"channel {promoted['channel']}: {promoted['why']}")
        except GateRefused as error:
            refused = error
            print(f"not promoted: {error}", file=sys.stderr)
    print(f"release {released['release_id']}")
    stopped = [*held, *([refused] if refused else [])]
    return stopped[0].exit_code if stopped else 0


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


def simulate(options: argparse.Namespace) -> int:
    from fleetalign.simulate.simulation import Simulation

    source = given.config(options).source
    overrides = {name: getattr(options, name) for name in ("seed", "days", "entities")}
    source = dataclasses.replace(source, **{k: v for k, v in overrides.items() if v is not None})
    for path in Simulation.from_source(source).write(options.out):
        print(path)
    return 0


def ingest(options: argparse.Namespace) -> int:
    config, store_uri = given.config(options), configuration.store_uri(options.store)
    bar = Bar()
    if options.telemetry:
        if options.source or options.prometheus:
            raise UsageError("ingest: --telemetry names files; drop it, or drop --source and --prometheus")
        result = given.ingest_files(config, store_uri, options, bar)
        bar.close()
        return _print(steps.ingest_summary(result))
    interval = given.interval(options)
    if interval is None:
        raise UsageError("ingest: give --telemetry FILE_OR_DIR, or --from and --to for the configured source")
    result = steps.ingest(given.with_source(config, options), store_uri, interval, progress=bar)
    bar.close()
    return _print(result)


def inspect(options: argparse.Namespace) -> int:
    from fleetalign.ingest import inspect as inspecting
    from fleetalign.ingest.inspect_text import inspection_text, mapping_yaml

    out = given.output(options.out) if options.out else None
    found = inspecting.inspect(options.telemetry, given.mapping(options))
    print(inspection_text(found))
    if out:
        out.write_text(mapping_yaml(found))
    return 0


def validate(options: argparse.Namespace) -> int:
    config, store_uri = given.config(options), configuration.store_uri(options.store)
    raw = lake.list_partitions(open_store(store_uri), "raw", within=given.interval(options))
    if not raw:
        raise BadInput(f"{store_uri}: no raw partition in that range; run ingest first")
    held = []
    for interval in sorted({p.interval for p in raw}):
        try:
            _print(steps.validate(config, store_uri, interval))
        except PartitionHeld as error:
            held.append(error)
    if held:
        raise PartitionHeld("; ".join(map(str, held)))
    return 0


def plan(options: argparse.Namespace) -> int:
    config, store_uri = given.config(options), configuration.store_uri(options.store)
    return _receipt(
        options,
        steps.plan(
            config,
            store_uri,
            reuse_model=options.reuse_model,
            interval=given.interval(options),
            as_of=given.as_of(options),
        ),
    )


def snapshot(options: argparse.Namespace) -> int:
    return _receipt(options, steps.snapshot(*given.planned(options)))


def pretrain(options: argparse.Namespace) -> int:
    bar = Bar()
    result = steps.pretrain(*given.planned(options), force=options.force, progress=bar)
    bar.close()
    return _receipt(options, result)


def align(options: argparse.Namespace) -> int:
    return _receipt(options, _align(*given.planned(options), Bar()))


def align_shard(options: argparse.Namespace) -> int:
    config, store_uri, plan_id = given.planned(options)
    chosen = [s["index"] for s in steps.shards(config, store_uri, plan_id)] if options.all else [options.shard]
    return _receipt(options, {"shards": [steps.align_shard(config, store_uri, plan_id, index) for index in chosen]})


def align_reduce(options: argparse.Namespace) -> int:
    return _receipt(options, steps.align_reduce(*given.planned(options)))


def release(options: argparse.Namespace) -> int:
    config, store_uri, plan_id = given.planned(options)
    result = steps.release(config, store_uri, plan_id)
    print(_release_lines(store_uri, result), file=sys.stderr)
    return _receipt(options, result)


def promote(options: argparse.Namespace) -> int:
    result = steps.promote(
        given.config(options), configuration.store_uri(options.store), options.release,
        channel=options.channel, by=options.by or given.user(), why=options.why, force=options.force,
    )  # fmt: skip
    return _print(result)


def rollback(options: argparse.Namespace) -> int:
    result = steps.rollback(
        given.config(options), configuration.store_uri(options.store),
        channel=options.channel, release_id=options.release, by=options.by or given.user(), why=options.why,
    )  # fmt: skip
    return _print(result)


def releases(options: argparse.Namespace) -> int:
    from fleetalign.release import channel as channels

    store = open_store(configuration.store_uri(options.store))
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

    store = open_store(configuration.store_uri(options.store))
    release_id = given.release_id(options)
    problems = check(store, release_id)
    for problem in problems:
        print(problem)
    if problems:
        raise GateRefused(f"release {release_id} does not verify: {len(problems)} problems, listed above")
    print(f"release {release_id} verifies: every file has its sha256, the graph repeats its golden vectors")
    return 0


def score(options: argparse.Namespace) -> int:
    import pyarrow.compute as pc

    from fleetalign.emit.emit import emit, incidents_of
    from fleetalign.release.grouping import report_lines
    from fleetalign.release.scorer import Scorer

    config, targets = given.config(options), given.targets(options)
    store = open_store(configuration.store_uri(options.store))
    scorer = Scorer.open(store, options.channel, options.release)
    start = parse_time(options.start) if options.start else None
    scores = scorer.score(given.read_telemetry(options), start=start, contributions="alarms")
    emit(store, scorer, scores, targets, config, datetime.now(UTC))
    silent = pc.value_counts(scores["reason"].drop_null()).to_pylist()
    reasons = ", ".join(f"{v['counts']} {v['values']}" for v in silent)
    alarms = pc.sum(scores["alarm"]).as_py() or 0
    print(
        f"{scores.num_rows} samples scored by release {scorer.release_id}: {alarms} alarms; without a score: {reasons or 'none'}"
    )
    print("\n".join(report_lines(incidents_of(scorer, scores, config))))
    print("\n".join(target.where for target in targets))
    return 0


def evaluate(options: argparse.Namespace) -> int:
    from fleetalign.evaluate.tables import figures_text
    from fleetalign.ingest.feedback_files import read_feedback_file
    from fleetalign.release.control import control_of
    from fleetalign.release.judging import judge_scores
    from fleetalign.release.scorer import Scorer

    config, store = given.config(options), open_store(configuration.store_uri(options.store))
    scorer = Scorer.open(store, options.channel, options.release)
    telemetry, start = given.read_telemetry(options), parse_time(options.start) if options.start else None
    scores = scorer.score(telemetry, start=start)
    control = control_of(store, scorer.manifest)
    beside = control and control.score(telemetry, start=start)
    feedback = read_feedback_file(options.feedback, given.default_kind(options))
    print(figures_text(judge_scores(store, scorer, scores, feedback, config, beside).table()))
    return 0


def backtest(options: argparse.Namespace) -> int:
    from fleetalign.evaluate.plots import backtest_plot
    from fleetalign.release import backtest as past
    from fleetalign.release.scorer import Scorer

    config, store = given.config(options), open_store(configuration.store_uri(options.store))
    span = given.interval(options)
    if options.budget is not None and not options.budget >= 0:
        raise UsageError(f"backtest: --budget is {options.budget:g}; give pages per entity and day, 0 or more")
    first = Scorer.open(store, options.channel, options.release)
    other = options.against or (first.release_id if options.budget is not None else given.newest_release(options))
    sides = []
    for scorer, budget in ((first, None), (Scorer.open(store, release=other), options.budget)):
        name = scorer.release_id if budget is None else f"{scorer.release_id}, at most {budget:g}"
        traces = past.stored_traces(store, scorer, span, config)
        sides.append(past.sent(name, traces, config.align.merge_steps, budget))
    found = past.document(*sides, span)
    print(past.text(found))
    if options.out:
        folder = Path(options.out)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "backtest.json").write_text(json.dumps(found, indent=2) + "\n")
        (folder / "backtest.svg").write_text(backtest_plot(found["sides"], past.changes(found)[:12]))
        print(folder / "backtest.svg")
    return 0


def report(options: argparse.Namespace) -> int:
    store = open_store(configuration.store_uri(options.store))
    given.output(options.out).write_bytes(store.get(layout.release(given.release_id(options), "report.html")))
    print(options.out)
    return 0


def explain(options: argparse.Namespace) -> int:
    from fleetalign.release.explain import explain_entity, explain_release

    store = open_store(configuration.store_uri(options.store))
    named = options.release or options.channel
    release_id = given.release_id(options) if named else given.newest_release(options)
    if options.at and not options.entity:
        raise UsageError("explain: --at needs --entity; name whose page it is")
    at = parse_time(options.at) if options.at else None
    print(
        explain_entity(store, release_id, options.entity, at) if options.entity else explain_release(store, release_id)
    )
    return 0


def tune(options: argparse.Namespace) -> int:
    import yaml

    from fleetalign.align.plan import plan_config, read_plan
    from fleetalign.model.tune import tune_kind

    config, store_uri, plan_id = given.planned(options)
    store = open_store(store_uri)
    document = read_plan(store, plan_id)
    settings = dataclasses.replace(plan_config(document), storage=config.storage)
    bar = Bar()
    best = tune_kind(store, document, options.kind, settings, options.trials, options.out, progress=bar)
    bar.close()
    path = Path(options.out) / "best.yaml"
    path.write_text(yaml.safe_dump(best, sort_keys=True))
    print(f"{path}\n{path.with_name('history.png')}", file=sys.stderr)
    return _print(best)


def bench(options: argparse.Namespace) -> int:
    from fleetalign.bench.command import bench as measure

    bar = Bar()
    data = Path(options.data) if options.data else None
    page = measure(options.what, Path(options.out), data=data, quick=options.quick, progress=bar)
    bar.close()
    print(page)
    return 0


def feedback(options: argparse.Namespace) -> int:
    from fleetalign import word_verbs

    return getattr(word_verbs, f"{options.verb}_{options.word}")(options)


mute = feedback


def gc(options: argparse.Namespace) -> int:
    result = steps.collect_garbage(
        given.config(options), configuration.store_uri(options.store),
        dry_run=not options.delete, min_age_hours=options.min_age_hours,
    )  # fmt: skip
    return _print(result)


def _release_lines(store_uri: str, released: dict[str, Any]) -> str:
    from fleetalign.evaluate.tables import release_text

    where = f"{open_store(store_uri).uri}/{layout.release(released['release_id'], 'report.html')}"
    return f"{release_text(released)}\nreport {where}"


def _receipt(options: argparse.Namespace, result: dict[str, Any]) -> int:
    if getattr(options, "receipt", None):
        path = Path(options.receipt)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=2, sort_keys=True) + "\n")
    return _print(result)


def _print(result: dict[str, Any]) -> int:
    print(json.dumps(result, indent=2, sort_keys=True))
    return 0
