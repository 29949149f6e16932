"""Options of the verbs about releases that exist."""

from __future__ import annotations

import argparse

from fleetalign.cli.options import shared


def promote(p: argparse.ArgumentParser) -> None:
    p.add_argument("release", metavar="RELEASE")
    p.add_argument("--channel", default="champion")
    p.add_argument("--by", help="who (default: $USER)")
    p.add_argument("--why", default="promoted by hand")
    p.add_argument("--force", action="store_true", help="promote although a gate says no; --why is then the reason")


def rollback(p: argparse.ArgumentParser) -> None:
    p.add_argument("--channel", default="champion")
    p.add_argument("--release", metavar="ID", help="release to go back to (default: the previous one)")
    p.add_argument("--by", help="who (default: $USER)")
    p.add_argument("--why", required=True)


def releases(p: argparse.ArgumentParser) -> None:
    p.add_argument("--channel", default="champion")


def report(p: argparse.ArgumentParser) -> None:
    shared.which_release(p)
    p.add_argument("--out", required=True, metavar="FILE.html")


def explain(p: argparse.ArgumentParser) -> None:
    which = p.add_mutually_exclusive_group()
    which.add_argument("--channel", help="explain what this channel serves (default: the newest release)")
    which.add_argument("--release", metavar="ID", help="explain this release")
    p.add_argument("--entity", metavar="[KIND/]ID", help="explain this entity's row instead of the release's gates")
    p.add_argument("--at", metavar="TIME", help="with --entity: and its page at this instant, from stored telemetry")


def gc(p: argparse.ArgumentParser) -> None:
    p.add_argument("--delete", action="store_true", help="really delete (default: list only)")
    p.add_argument("--min-age-hours", type=float, default=168.0)
