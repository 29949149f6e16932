"""Options that several commands take; ``cli.inputs`` reads them."""

from __future__ import annotations

import argparse


def common(parser: argparse.ArgumentParser, store: bool = True) -> None:
    """Options of every command."""
    group = parser.add_argument_group("common options")
    if store:
        group.add_argument(
            "--store", metavar="URI", help="a path, file:///path or s3://bucket/prefix (default: $FLEETALIGN_STORE)"
        )
    group.add_argument(
        "--params", metavar="FILE", help="YAML file that overrides settings (default: $FLEETALIGN_PARAMS)"
    )
    group.add_argument(
        "--output", choices=("text", "json"), default="text", help="form of the result on stdout (default: text)"
    )
    amount = group.add_mutually_exclusive_group()
    amount.add_argument(
        "-v",
        "--verbose",
        action="count",
        default=0,
        help="log progress and show an error's traceback; -vv: log details",
    )
    amount.add_argument("-q", "--quiet", action="store_true", help="show errors only: no warnings, no progress bar")


def time_range(parser: argparse.ArgumentParser, required: bool = False) -> None:
    """Add a range of time."""
    parser.add_argument(
        "--from", dest="start", metavar="TIME", required=required, help="first instant, ISO 8601 (UTC without a zone)"
    )
    parser.add_argument("--to", dest="end", metavar="TIME", required=required, help="first instant after the range")


def files(parser: argparse.ArgumentParser) -> None:
    """How to read files of telemetry."""
    parser.add_argument("--kind", help="kind of every entity in the files (default: the mapping's, else 'default')")
    parser.add_argument(
        "--map", dest="mapping", metavar="FILE", help="YAML mapping of columns or series, see docs/data.md"
    )
    parser.add_argument(
        "--metrics", nargs="+", default=(), metavar="COLUMN", help="metric columns (default: every numeric column)"
    )
    parser.add_argument("--ignore", nargs="+", default=(), metavar="COLUMN", help="columns to ignore")


def build_step(parser: argparse.ArgumentParser) -> None:
    """Which plan a build step works on."""
    parser.add_argument(
        "--plan", metavar="ID|@FILE", help="plan id, or @receipt.json (default: the newest plan of the store)"
    )
    receipt(parser)


def receipt(parser: argparse.ArgumentParser) -> None:
    """Add a file for the step's result."""
    parser.add_argument("--receipt", metavar="FILE", help="also write the result as JSON to this file")


def channel(parser: argparse.ArgumentParser, what: str) -> None:
    """One channel."""
    parser.add_argument("--channel", default="champion", help=f"{what} (default: champion)")


def which_release(parser: argparse.ArgumentParser) -> None:
    """Add a release, by id or by the channel that points to it."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--channel", default="champion", help="use the release that this channel points to (default: champion)"
    )
    which.add_argument("--release", metavar="ID", help="use this release")


def author(parser: argparse.ArgumentParser) -> None:
    """Who makes a change."""
    parser.add_argument("--by", metavar="NAME", help="who makes the change (default: the user's name)")


def stored(parser: argparse.ArgumentParser) -> None:
    """Choose what becomes of stored partitions."""
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "--merge", dest="stored", action="store_const", const="merge", default="keep",
        help="add the rows to stored partitions: what came late",
    )  # fmt: skip
    either.add_argument(
        "--replace", dest="stored", action="store_const", const="replace",
        help="replace stored partitions even if they hold rows that the files lack",
    )  # fmt: skip


def as_of(parser: argparse.ArgumentParser) -> None:
    """Which feedback counts."""
    parser.add_argument("--as-of", metavar="TIME", help="ignore feedback recorded after this instant")
