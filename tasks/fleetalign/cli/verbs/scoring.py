"""``score``, ``evaluate``, ``backtest`` and ``drift``: telemetry through a release."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

from fleetalign.cli import given
from fleetalign.errors import GateRefused, UsageError
from fleetalign.interval import parse_time
from fleetalign.progress import Bar
from fleetalign.storage import layout


def score(options: argparse.Namespace) -> int:
    import pyarrow.compute as pc

    from fleetalign.emit.emit import emit, incidents_of
    from fleetalign.release.grouping import report_lines
    from fleetalign.release.scorer import Scorer

    config, targets = given.config(options), given.targets(options)
    store = given.store(options)
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

    config, store = given.config(options), given.store(options)
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

    config, store = given.config(options), given.store(options)
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


def drift(options: argparse.Namespace) -> int:
    from fleetalign.evaluate.drift_report import text
    from fleetalign.release.drift import check
    from fleetalign.release.scorer import Scorer

    store, bar = given.store(options), Bar()
    day = given.day(options.day) if options.day else None
    out = given.output(options.out) if options.out else None
    found = check(store, given.config(options), Scorer.open(store, options.channel, options.release), day, bar)
    bar.close()
    page = layout.drift(found["release_id"], found["day"], "report.html")
    print(f"{text(found)}\nreport {store.uri}/{page}")
    if out:
        out.write_bytes(store.get(page))
    if found["drifted"]:
        raise GateRefused(f"{found['day']} has drifted from release {found['release_id']}, as listed above")
    return 0
