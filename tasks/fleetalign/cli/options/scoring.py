"""Options of the verbs that score telemetry and judge the scores."""

from __future__ import annotations

import argparse

from fleetalign.cli.options import shared


def score(p: argparse.ArgumentParser) -> None:
    shared.which_release(p)
    p.add_argument("--telemetry", required=True, metavar="FILE_OR_DIR")
    p.add_argument("--out", metavar="FILE", help="scores as Parquet; the same as --emit parquet=FILE")
    p.add_argument(
        "--emit",
        action="append",
        default=[],
        metavar="NAME=WHERE",
        help="parquet=FILE|FOLDER/|s3://…, openmetrics=FILE or alertmanager=URL; may be given several times",
    )
    shared.files(p)
    shared.time_range(p)


def evaluate(p: argparse.ArgumentParser) -> None:
    shared.which_release(p)
    p.add_argument("--telemetry", required=True, metavar="FILE_OR_DIR")
    p.add_argument("--feedback", required=True, metavar="FILE")
    shared.files(p)
    shared.time_range(p)


def backtest(p: argparse.ArgumentParser) -> None:
    shared.which_release(p)
    p.add_argument(
        "--against", metavar="ID", help="the other release (default: with --budget the same, else the newest)"
    )
    p.add_argument(
        "--budget", type=float, metavar="PAGES", help="hold the other side to this many pages per entity and day"
    )
    p.add_argument("--out", metavar="DIR", help="also write backtest.json and backtest.svg")
    shared.time_range(p, required=True)


def drift(p: argparse.ArgumentParser) -> None:
    shared.which_release(p)
    p.add_argument("--day", metavar="DATE", help="day to check, UTC (default: the newest whole day in the store)")
    p.add_argument("--out", metavar="FILE.html", help="also write the page there")
