"""Options of ``fleetalign bench``."""

from __future__ import annotations

import argparse

BENCHMARKS = ("detection", "speed", "growth", "airflow", "scale", "kills")


def bench(p: argparse.ArgumentParser) -> None:
    p.add_argument("what", choices=BENCHMARKS, metavar="|".join(BENCHMARKS), help="benchmark to run")
    p.add_argument("--data", metavar="FOLDER", help="labelled Parquet, one file per data set (detection)")
    p.add_argument(
        "--out", metavar="DIR", default="bench", help="folder for document, numbers and pictures (default: ./bench)"
    )
    p.add_argument("--quick", action="store_true", help="finish in a few minutes: wider intervals, shorter curves")
