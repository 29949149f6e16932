"""``score``, ``evaluate``, ``backtest`` and ``drift``: telemetry through a release."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

from fleetalign.cli import inputs
from fleetalign.errors import GateRefused, UsageError
from fleetalign.interval import parse_time
from fleetalign.progress import Bar
from fleetalign.storage import layout


def score(options: argparse.Namespace) -> int:
    import pyarrow.compute as pc

    from fleetalign.emit.incidents import report_lines
    from fleetalign.emit.send import emit, incidents_of
    from fleetalign.scoring.scorer import Scorer

    config, targets = inputs.config(options), inputs.targets(options)
    store = inputs.store(options)
    scorer = Scorer.open(store, options.channel, options.release)
    start = parse_time(options.start) if options.start else None
    scores = scorer.score(inputs.read_telemetry(options), start=start, contributions="alarms")
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
    from fleetalign.explain.text import figures_text
    from fleetalign.feedback.files import read_feedback_file
    from fleetalign.release.figures import judge_scores
    from fleetalign.release.untrained import control_of
    from fleetalign.scoring.scorer import Scorer

    config, store = inputs.config(options), inputs.store(options)
    scorer = Scorer.open(store, options.channel, options.release)
    telemetry, start = inputs.read_telemetry(options), parse_time(options.start) if options.start else None
    scores = scorer.score(telemetry, start=start)
    control = control_of(store, scorer.manifest)
    beside = control and control.score(telemetry, start=start)
    feedback = read_feedback_file(options.feedback, inputs.default_kind(options))
    print(figures_text(judge_scores(scorer, scores, feedback, config, beside).table()))
    return 0


def backtest(options: argparse.Namespace) -> int:
    from fleetalign.explain.plots import backtest_plot
    from fleetalign.release import backtest as past

    config, store = inputs.config(options), inputs.store(options)
    span = inputs.interval(options)
    if options.budget is not None and not options.budget >= 0:
        raise UsageError(f"backtest: --budget is {options.budget:g}; give pages per entity and day, 0 or more")
    found = past.backtest(
        store, config, span, options.channel, options.release, against=options.against, budget=options.budget
    )
    print(past.text(found))
    if options.out:
        folder = Path(options.out)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "backtest.json").write_text(json.dumps(found, indent=2) + "\n")
        (folder / "backtest.svg").write_text(backtest_plot(found["sides"], past.changes(found)[:12]))
        print(folder / "backtest.svg")
    return 0


def drift(options: argparse.Namespace) -> int:
    from fleetalign.scoring.scorer import Scorer
    from fleetalign.watch.drift import check
    from fleetalign.watch.drift_page import text

    store, bar = inputs.store(options), Bar()
    day = inputs.day(options.day) if options.day else None
    out = inputs.output(options.out) if options.out else None
    found = check(store, inputs.config(options), Scorer.open(store, options.channel, options.release), day, bar)
    bar.close()
    page = layout.drift(found["release_id"], found["day"], "report.html")
    print(f"{text(found)}\nreport {store.uri}/{page}")
    if out:
        out.write_bytes(store.get(page))
    if found["drifted"]:
        raise GateRefused(f"{found['day']} has drifted from release {found['release_id']}, as listed above")
    return 0
