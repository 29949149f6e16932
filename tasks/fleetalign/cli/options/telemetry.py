"""Options of the commands that bring telemetry in."""

from __future__ import annotations

import argparse

from fleetalign.cli.options import shared


def simulate(p: argparse.ArgumentParser) -> None:
    p.add_argument("--out", required=True, metavar="DIR", help="folder for telemetry, feedback and truth")
    p.add_argument("--seed", type=int, help="seed of every random draw (default: source.simulator.seed)")
    p.add_argument("--days", type=int, help="days of telemetry (default: source.simulator.days)")
    p.add_argument("--entities", type=int, help="number of entities (default: source.simulator.entities)")


def inspect(p: argparse.ArgumentParser) -> None:
    p.add_argument("telemetry", metavar="FILE_OR_DIR", help="a file, a folder or s3://bucket/prefix")
    p.add_argument("--out", metavar="FILE", help="write the proposed mapping to this file, for --map")
    shared.files(p)


def ingest(p: argparse.ArgumentParser) -> None:
    shared.stored(p)
    p.add_argument(
        "--telemetry",
        metavar="FILE_OR_DIR",
        help="files to read (default: the configured source, which needs --from and --to)",
    )
    p.add_argument(
        "--source",
        metavar="TYPE",
        help="configured source to use: simulator, files, spans, prometheus or an installed one (default: source.type)",
    )
    p.add_argument("--prometheus", metavar="URL", help="server of --source prometheus (default: source.prometheus_url)")
    p.add_argument("--feedback", metavar="FILE", help="feedback to import")
    shared.files(p)
    shared.time_range(p)


def aggregate(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "spans",
        nargs="+",
        metavar="SPANS",
        help="OTLP JSON, Zipkin JSON, request records or tables span_stats: files, folders or s3://bucket/prefix",
    )
    p.add_argument(
        "--out",
        required=True,
        metavar="TABLE_OR_FOLDER",
        help="a file that ends in .parquet, or a folder or s3:// prefix for one table per kind and partition",
    )
    p.add_argument(
        "--step", type=int, metavar="SECONDS", help="length of a window (default: steps of the kind, else 300)"
    )
    p.add_argument(
        "--telemetry", metavar="FILE", help="also write the eight statistics as telemetry to this Parquet file"
    )
    p.add_argument("--kind", help="kind of every entity in the files (default: the mapping's, else 'default')")
    p.add_argument("--map", dest="mapping", metavar="FILE", help="YAML mapping of spans, see docs/data.md")
    shared.time_range(p)
