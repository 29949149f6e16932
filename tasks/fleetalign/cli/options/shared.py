"""Options that several verbs take; ``cli.given`` reads them."""

from __future__ import annotations

import argparse


def common(parser: argparse.ArgumentParser, store: bool = True) -> None:
    group = parser.add_argument_group("everywhere")
    if store:
        group.add_argument(
            "--store", metavar="URI", help="file:///path, a path or s3://bucket/prefix (default: $FLEETALIGN_STORE)"
        )
    group.add_argument("--params", metavar="FILE", help="YAML that overrides defaults (default: $FLEETALIGN_PARAMS)")
    group.add_argument("--verbose", action="store_true", help="show the traceback of an error")


def time_range(parser: argparse.ArgumentParser, required: bool = False) -> None:
    parser.add_argument(
        "--from", dest="start", metavar="TIME", required=required, help="first instant, ISO 8601 (UTC without a zone)"
    )
    parser.add_argument("--to", dest="end", metavar="TIME", required=required, help="first instant after the range")


def files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kind", help="kind of every entity in the files (default: the mapping's, else 'default')")
    parser.add_argument(
        "--map", dest="mapping", metavar="FILE", help="YAML mapping of columns or series, see docs/data.md"
    )
    parser.add_argument(
        "--metrics", nargs="+", default=(), metavar="COLUMN", help="metric columns (default: every numeric one)"
    )
    parser.add_argument("--ignore", nargs="+", default=(), metavar="COLUMN", help="columns that are no metrics")


def build_step(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--plan", metavar="ID|@FILE", help="plan id, or @receipt.json (default: the newest plan of the store)"
    )
    parser.add_argument("--receipt", metavar="FILE", help="also write the step's result as JSON")


def which_release(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--channel", default="champion", help="channel to follow (default: champion)")
    which.add_argument("--release", metavar="ID", help="a release instead of a channel")


def replace(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--replace", action="store_true", help="replace stored partitions even if they hold rows that the files lack"
    )


def as_of(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--as-of", metavar="TIME", help="feedback recorded after this instant does not exist")
