"""Options of ``fleetalign feedback``, ``fleetalign mute`` and ``fleetalign attributes``."""

from __future__ import annotations

import argparse

from fleetalign.cli.options import shared


def feedback_add(p: argparse.ArgumentParser) -> None:
    p.add_argument("--entity", metavar="[KIND/]ID", help="entity, with --from and --to")
    p.add_argument("--attribute", metavar="KEY=VALUE", help="every entity with this attribute, in place of --entity")
    p.add_argument("--kind", help="with --attribute: entities of this kind alone")
    _times(p, "first instant, ISO 8601 (UTC without a zone)", "first instant after the interval")
    p.add_argument("--page", metavar="ID", help="a page instead of an entity, with --scores")
    p.add_argument("--scores", metavar="FILE", help="table of scores that `fleetalign score` wrote")
    p.add_argument(
        "--verdict", required=True, metavar="anomaly|normal|false_alarm", help="false_alarm is another name for normal"
    )
    p.add_argument("--note", default="", help="free text")
    shared.author(p)


def feedback_pages(p: argparse.ArgumentParser) -> None:
    p.add_argument("--scores", required=True, metavar="FILE", help="table of scores that `fleetalign score` wrote")


def feedback_list(p: argparse.ArgumentParser) -> None:
    p.add_argument("--entity", metavar="[KIND/]ID", help="list only statements about this entity")


def feedback_retract(p: argparse.ArgumentParser) -> None:
    p.add_argument("statement", metavar="ID", help="id of the statement, or its first characters")
    p.add_argument("--why", required=True, help="reason, kept with the retraction")
    shared.author(p)


def feedback_import(p: argparse.ArgumentParser) -> None:
    p.add_argument("file", metavar="FILE_OR_DIR", help="CSV, Parquet, JSON lines or Alertmanager's JSON")
    p.add_argument("--kind", help="kind of statements that name none (default: source.kind, else 'default')")


def mute_add(p: argparse.ArgumentParser) -> None:
    whom = p.add_mutually_exclusive_group()
    whom.add_argument("--entity", metavar="[KIND/]ID", help="mute this entity")
    whom.add_argument("--attribute", metavar="KEY=VALUE", help="mute every entity with this attribute")
    p.add_argument("--kind", help="mute every entity of this kind; with --attribute those that have it")
    p.add_argument("--metric", metavar="NAME", help="mute this metric (default: every metric, a maintenance window)")
    _times(p, "first muted instant (default: the beginning of time)", "first instant after it (default: until lifted)")
    p.add_argument("--why", required=True, help="reason, kept with the mute")
    shared.author(p)


def mute_import(p: argparse.ArgumentParser) -> None:
    p.add_argument("file", metavar="FILE_OR_DIR", help="CSV or Parquet; columns as in docs/operate.md")
    p.add_argument("--time-zone", default="", metavar="ZONE", help="zone of times without one, such as Europe/Berlin")
    _times(p, "begin of weekly patterns that name none", "end of weekly patterns that name none")
    shared.author(p)


def attributes_import(p: argparse.ArgumentParser) -> None:
    p.add_argument("file", metavar="FILE_OR_DIR", help="CSV or Parquet: entity_id with key and value, or a column each")
    p.add_argument("--kind", help="kind of rows that name none (default: source.kind, else 'default')")


def attributes_list(p: argparse.ArgumentParser) -> None:
    p.add_argument("--kind", help="list only entities of this kind")
    p.add_argument("--where", metavar="KEY=VALUE", help="list only entities with this attribute")


def mute_lift(p: argparse.ArgumentParser) -> None:
    p.add_argument("mute", metavar="ID", help="id of the mute, or its first characters")
    p.add_argument(
        "--at", metavar="TIME", help="when the mute ends (default: now); a time before its start cancels it entirely"
    )
    p.add_argument("--why", required=True, help="reason, kept with the mute")
    shared.author(p)


def _times(p: argparse.ArgumentParser, start: str, end: str) -> None:
    p.add_argument("--from", dest="start", metavar="TIME", help=start)
    p.add_argument("--to", "--until", dest="end", metavar="TIME", help=end)
