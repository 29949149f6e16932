"""Options of ``fleetalign bench``."""

from __future__ import annotations

import argparse


def bench(p: argparse.ArgumentParser) -> None:
    choices = ("detection", "speed", "growth", "airflow", "scale", "kills")
    p.add_argument("what", choices=choices, metavar="|".join(choices))
    p.add_argument("--data", metavar="FOLDER", help="labelled Parquet, one file per set (detection)")
    p.add_argument("--out", metavar="DIR", default="bench", help="page, numbers and pictures (default: ./bench)")
    p.add_argument("--quick", action="store_true", help="a few minutes at most; wider intervals, shorter curves")
