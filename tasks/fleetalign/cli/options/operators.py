"""Arguments of ``fleetalign feedback`` and ``fleetalign mute``, which have verbs of their own."""

from __future__ import annotations

import argparse
from typing import Any


def feedback(verb: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """The verbs of ``feedback``."""
    verbs = verb.add_subparsers(dest="word", metavar="WHAT", required=True)
    add = _verb(verbs, "add", "say what an interval or a page of one entity was")
    add.add_argument("--entity", metavar="[KIND/]ID", help="entity, with --from and --to")
    _times(add, "first instant, ISO 8601 (UTC without a zone)", "first instant after the interval")
    add.add_argument("--page", metavar="ID", help="a page instead, with --scores")
    add.add_argument("--scores", metavar="FILE", help="what `fleetalign score` wrote")
    add.add_argument("--verdict", required=True, metavar="anomaly|normal|false_alarm", help="false_alarm is normal")
    add.add_argument("--note", default="", help="what was seen")
    pages = _verb(verbs, "pages", "list the pages of a table of scores, with their ids")
    pages.add_argument("--scores", required=True, metavar="FILE", help="what `fleetalign score` wrote")
    listed = _verb(verbs, "list", "every statement with its id, oldest first")
    listed.add_argument("--entity", metavar="[KIND/]ID", help="statements about this entity only")
    retract = _verb(verbs, "retract", "take a statement back; what was said before it holds again")
    retract.add_argument("statement", metavar="ID", help="its id, or the first characters")
    retract.add_argument("--why", required=True)
    imported = _verb(verbs, "import", "statements of a CSV, Parquet, JSON-lines or Alertmanager file")
    imported.add_argument("file", metavar="FILE_OR_DIR")
    imported.add_argument("--kind", help="kind of statements that name none (default: source.kind, else 'default')")
    collect = _verb(verbs, "collect", "read what other tools dropped into the store's inbox/feedback/")
    for said in (add, retract):
        said.add_argument("--by", help="who (default: $USER)")
    return [add, pages, listed, retract, imported, collect]


def mute(verb: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """The verbs of ``mute``."""
    verbs = verb.add_subparsers(dest="word", metavar="WHAT", required=True)
    add = _verb(verbs, "add", "silence a metric, or everything for a maintenance window")
    whom = add.add_mutually_exclusive_group(required=True)
    whom.add_argument("--entity", metavar="[KIND/]ID", help="mute this entity")
    whom.add_argument("--kind", help="mute every entity of this kind")
    add.add_argument("--metric", metavar="NAME", help="mute this metric (default: all, a maintenance window)")
    _times(add, "mute from here on (default: from the beginning)", "until here (default: until it is lifted)")
    add.add_argument("--why", required=True)
    listed = _verb(verbs, "list", "every mute with its id, and who lifted it")
    lift = _verb(verbs, "lift", "end a mute")
    lift.add_argument("mute", metavar="ID", help="its id, or the first characters")
    lift.add_argument("--at", metavar="TIME", help="when it ends (default: now); before its start: it never was")
    lift.add_argument("--why", required=True)
    for said in (add, lift):
        said.add_argument("--by", help="who (default: $USER)")
    return [add, listed, lift]


def _verb(verbs: Any, name: str, summary: str) -> argparse.ArgumentParser:
    return verbs.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")


def _times(verb: argparse.ArgumentParser, start: str, end: str) -> None:
    verb.add_argument("--from", dest="start", metavar="TIME", help=start)
    verb.add_argument("--to", "--until", dest="end", metavar="TIME", help=end)
