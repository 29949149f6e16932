"""``score``, ``evaluate``, ``backtest`` and ``drift``: telemetry through a release."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from fleetalign import steps
from fleetalign.cli import inputs
from fleetalign.cli.output import bar, show
from fleetalign.errors import GateRefused
from fleetalign.interval import Interval
from fleetalign.storage import layout


def score(options: argparse.Namespace) -> None:
    from fleetalign.emit.scored import score_files

    config, targets = inputs.config(options), inputs.targets(options)
    scored = score_files(
        inputs.store(options), config, inputs.telemetry(options), targets,
        channel=options.channel, release_id=options.release, start=inputs.instant(options.start), now=datetime.now(UTC),
    )  # fmt: skip
    show(options, scored.as_json(), scored.text())
    scored.require_a_score()


def evaluate(options: argparse.Namespace) -> None:
    from fleetalign.explain.text import figures_text
    from fleetalign.release.evaluation import evaluate_files

    figures = evaluate_files(
        inputs.store(options), inputs.config(options), inputs.telemetry(options), options.feedback,
        channel=options.channel, release_id=options.release, start=inputs.instant(options.start),
    )  # fmt: skip
    show(options, figures.as_json(), figures_text(figures.table()))


def backtest(options: argparse.Namespace) -> None:
    from fleetalign.release.backtest import text, write

    found = steps.backtest(
        *inputs.where(options), Interval.parse(options.start, options.end),
        channel=options.channel, release_id=options.release, against=options.against, budget=options.budget,
        where=options.where, group_by=options.group_by,
    )  # fmt: skip
    lines = [text(found)]
    if options.out:
        lines.append(str(write(found, Path(options.out))))
    show(options, found, "\n".join(lines))


def drift(options: argparse.Namespace) -> None:
    from fleetalign.watch.drift_page import text

    store = inputs.store(options)
    day = inputs.day(options.day) if options.day else None
    out = inputs.output(options.out) if options.out else None
    with bar(options) as progress:
        found = steps.drift_report(
            *inputs.where(options), channel=options.channel, release_id=options.release, day=day, progress=progress
        )
    page = layout.drift(found["release_id"], found["day"], "report.html")
    show(options, {**found, "report": page}, f"{text(found)}\nreport {store.uri}/{page}")
    if out:
        out.write_bytes(store.get(page))
    if found["drifted"]:
        raise GateRefused(f"{found['day']} has drifted from release {found['release_id']}, as listed above")
