"""Options of the commands that score telemetry and judge the scores."""

from __future__ import annotations

import argparse

from fleetalign.cli.options import shared


def score(p: argparse.ArgumentParser) -> None:
    shared.which_release(p)
    p.add_argument("--telemetry", required=True, metavar="FILE_OR_DIR", help="Parquet or CSV, wide or long; or s3://…")
    p.add_argument("--out", metavar="FILE", help="write scores as Parquet; the same as --emit parquet=FILE")
    p.add_argument(
        "--emit",
        action="append",
        default=[],
        metavar="NAME=WHERE",
        help="parquet=FILE|FOLDER/|s3://…, openmetrics=FILE or alertmanager=URL; may be repeated",
    )
    shared.files(p)
    shared.time_range(p)


def evaluate(p: argparse.ArgumentParser) -> None:
    shared.which_release(p)
    p.add_argument("--telemetry", required=True, metavar="FILE_OR_DIR", help="Parquet or CSV, wide or long; or s3://…")
    p.add_argument("--feedback", required=True, metavar="FILE", help="labels: entity_id,start,end,verdict")
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
    p.add_argument("--where", metavar="KEY=VALUE", help="only entities with this attribute")
    p.add_argument("--group-by", metavar="KEY", help="also count the pages of each value of this attribute")
    p.add_argument("--out", metavar="DIR", help="also write backtest.json and backtest.svg to this folder")
    shared.time_range(p, required=True)


def drift(p: argparse.ArgumentParser) -> None:
    shared.which_release(p)
    p.add_argument("--day", metavar="DATE", help="day to check, UTC (default: the newest whole day in the store)")
    p.add_argument("--out", metavar="FILE.html", help="also write the report to this file")
