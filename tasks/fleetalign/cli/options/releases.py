"""Options of the commands about existing releases."""

from __future__ import annotations

import argparse

from fleetalign.cli.options import shared


def release_list(p: argparse.ArgumentParser) -> None:
    shared.channel(p, "channel whose history to list")


def release_promote(p: argparse.ArgumentParser) -> None:
    p.add_argument("release", metavar="RELEASE", help="id of the release")
    shared.channel(p, "channel to move")
    shared.author(p)
    p.add_argument("--why", default="promoted by hand", help="reason, kept in the channel's history")
    p.add_argument("--force", action="store_true", help="promote although a gate refuses; --why is then the reason")


def release_rollback(p: argparse.ArgumentParser) -> None:
    shared.channel(p, "channel to move")
    p.add_argument("--release", metavar="ID", help="release to go back to (default: the previous one)")
    shared.author(p)
    p.add_argument("--why", required=True, help="reason, kept in the channel's history")


def release_report(p: argparse.ArgumentParser) -> None:
    shared.which_release(p)
    p.add_argument("--out", required=True, metavar="FILE.html", help="file to write")


def explain(p: argparse.ArgumentParser) -> None:
    which = p.add_mutually_exclusive_group()
    which.add_argument("--channel", help="explain the release of this channel (default: the newest release)")
    which.add_argument("--release", metavar="ID", help="explain this release")
    p.add_argument("--entity", metavar="[KIND/]ID", help="explain the threshold of this entity instead of the gates")
    p.add_argument("--at", metavar="TIME", help="with --entity: also explain its page at this instant")


def gc(p: argparse.ArgumentParser) -> None:
    p.add_argument("--delete", action="store_true", help="delete the objects (default: only list them)")
    p.add_argument(
        "--min-age-hours", type=float, default=168.0, metavar="HOURS", help="keep younger objects (default: 168)"
    )
