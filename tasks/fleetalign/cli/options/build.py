"""Options of the commands from telemetry to a release."""

from __future__ import annotations

import argparse

from fleetalign.cli.options import shared


def run(p: argparse.ArgumentParser) -> None:
    shared.stored(p)
    shared.as_of(p)
    p.add_argument("--telemetry", required=True, metavar="FILE_OR_DIR", help="Parquet or CSV, wide or long; or s3://…")
    p.add_argument("--feedback", metavar="FILE", help="feedback of operators: entity_id,start,end,verdict")
    p.add_argument("--no-promote", action="store_true", help="publish the release, but leave the channel alone")
    shared.files(p)
    shared.time_range(p)


def plan(p: argparse.ArgumentParser) -> None:
    shared.as_of(p)
    p.add_argument("--reuse-model", action="store_true", help="align the newest model again instead of training one")
    shared.receipt(p)
    shared.time_range(p)


def pretrain(p: argparse.ArgumentParser) -> None:
    shared.build_step(p)
    p.add_argument("--force", action="store_true", help="train again although the plan has its model")


def align_shard(p: argparse.ArgumentParser) -> None:
    shared.build_step(p)
    which = p.add_mutually_exclusive_group(required=True)
    which.add_argument("--shard", type=int, metavar="INDEX", help="align this shard")
    which.add_argument("--all", action="store_true", help="align every shard, one after another")


def tune(p: argparse.ArgumentParser) -> None:
    shared.build_step(p)
    p.add_argument("--kind", required=True, help="kind whose telemetry to use")
    p.add_argument("--trials", type=int, default=20, help="trials that the study ends with (default: 20)")
    p.add_argument("--out", required=True, metavar="DIR", help="folder for the study, its plot and best.yaml")
