"""The table of commands, and the parser made from it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn

from fleetalign import __version__
from fleetalign.cli.options import bench, build, operators, releases, scoring, shared, telemetry
from fleetalign.errors import UsageError

Options = Callable[[argparse.ArgumentParser], None]


class Command(NamedTuple):
    """A row of ``COMMANDS``."""

    module: str
    """The module of ``cli.verbs`` whose function of the command's name runs it."""
    summary: str
    """What the command does, in the imperative."""
    options: Options
    """Adds the command's own options to its parser."""
    example: str
    """Arguments of a typical call, without ``fleetalign``."""
    has_store: bool = True
    """Whether it takes ``--store``."""


def _none(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


COMMANDS = {
    "run": Command(
        "build",
        "ingest telemetry, build a release and promote it if its gates allow",
        build.run,
        "run --telemetry metrics.parquet --feedback feedback.csv --store ./store",
    ),
    "simulate": Command(
        "telemetry",
        "write a simulated fleet with faults and operator feedback",
        telemetry.simulate,
        "simulate --out ./fleet --days 14",
        has_store=False,
    ),
    "inspect": Command(
        "telemetry",
        "show how files would be read, and propose a mapping",
        telemetry.inspect,
        "inspect metrics.csv --out mapping.yaml",
        has_store=False,
    ),
    "ingest": Command(
        "telemetry",
        "read files or the configured source into raw partitions",
        telemetry.ingest,
        "ingest --telemetry metrics.csv --kind web --store ./store",
    ),
    "aggregate": Command(
        "telemetry",
        "window requests of traces or records into the table span_stats, and telemetry",
        telemetry.aggregate,
        "aggregate traces/ --out span_stats.parquet --telemetry telemetry.parquet",
        has_store=False,
    ),
    "validate": Command(
        "telemetry",
        "check raw partitions: write validated ones, quarantine bad rows and cells",
        shared.time_range,
        "validate --store ./store --from 2026-03-02 --to 2026-03-03",
    ),
    "plan": Command(
        "build", "write the plan of a build: its data, settings and shards", build.plan, "plan --store ./store"
    ),
    "snapshot": Command(
        "build", "record the plan's telemetry in the DVC registry", shared.build_step, "snapshot --store ./store"
    ),
    "pretrain": Command(
        "build",
        "train one shared model per kind; resume after an interruption",
        build.pretrain,
        "pretrain --store ./store",
    ),
    "align": Command(
        "build", "align every entity: all shards, then the fleet", shared.build_step, "align --store ./store"
    ),
    "align-shard": Command(
        "build",
        "align one shard of the plan, or all of them",
        build.align_shard,
        "align-shard --shard 3 --store ./store",
    ),
    "align-reduce": Command(
        "build", "reduce the aligned shards to the aligner table", shared.build_step, "align-reduce --store ./store"
    ),
    "release build": Command(
        "build",
        "evaluate the plan's models, apply the gates and publish",
        shared.build_step,
        "release build --store ./store",
    ),
    "release list": Command(
        "releases",
        "list releases, the channels that point to them, and a channel's history",
        releases.release_list,
        "release list --store ./store",
    ),
    "release show": Command(
        "releases",
        "show a release's models, coverage, measures and gates",
        shared.which_release,
        "release show --release 3f2a9c0d1e5b7a68 --store ./store",
    ),
    "release verify": Command(
        "releases",
        "check every file and the golden vectors of a release",
        shared.which_release,
        "release verify --store ./store",
    ),
    "release promote": Command(
        "releases",
        "point a channel to a release if its gates allow",
        releases.release_promote,
        "release promote 3f2a9c0d1e5b7a68 --store ./store",
    ),
    "release rollback": Command(
        "releases",
        "point a channel to an older release",
        releases.release_rollback,
        "release rollback --why 'too many pages' --store ./store",
    ),
    "release report": Command(
        "releases",
        "write a release's HTML report to a file",
        releases.release_report,
        "release report --out report.html --store ./store",
    ),
    "score": Command(
        "scoring",
        "score telemetry with a release and send the scores to files or Alertmanager",
        scoring.score,
        "score --telemetry today.parquet --out scores.parquet --store ./store",
    ),
    "evaluate": Command(
        "scoring",
        "measure a release on labelled telemetry, next to its controls",
        scoring.evaluate,
        "evaluate --telemetry t.parquet --feedback f.csv --store ./store",
    ),
    "backtest": Command(
        "scoring",
        "compare the pages that two releases, or a release and a budget, would have sent",
        scoring.backtest,
        "backtest --from 2026-03-02 --to 2026-03-09 --out ./backtest --store ./store",
    ),
    "drift": Command(
        "scoring",
        "compare one day of telemetry with what a release was built on",
        scoring.drift,
        "drift --day 2026-03-10 --out drift.html --store ./store",
    ),
    "explain": Command(
        "releases",
        "explain a release's gates, an entity's threshold or a page",
        releases.explain,
        "explain --entity web/api-1 --store ./store",
    ),
    "feedback add": Command(
        "operators",
        "store a verdict about an interval or a page of one entity",
        operators.feedback_add,
        "feedback add --entity web/api-1 --from 2026-03-05T01:00Z --to 2026-03-05T02:00Z --verdict false_alarm",
    ),
    "feedback pages": Command(
        "operators",
        "list the pages in a table of scores, with their ids",
        operators.feedback_pages,
        "feedback pages --scores scores.parquet",
    ),
    "feedback list": Command(
        "operators",
        "list every statement with its id, oldest first",
        operators.feedback_list,
        "feedback list --entity web/api-1 --store ./store",
    ),
    "feedback retract": Command(
        "operators",
        "retract a statement, so that earlier ones apply again",
        operators.feedback_retract,
        "feedback retract 3f2a --why 'wrong entity' --store ./store",
    ),
    "feedback import": Command(
        "operators",
        "import statements from CSV, Parquet, JSON lines or Alertmanager",
        operators.feedback_import,
        "feedback import feedback.csv --store ./store",
    ),
    "feedback collect": Command(
        "operators",
        "import statements from the store's inbox/feedback/",
        _none,
        "feedback collect --store ./store",
    ),
    "mute add": Command(
        "operators",
        "mute a metric, or every metric for a maintenance window",
        operators.mute_add,
        "mute add --entity web/api-1 --metric disk_used --why 'disk is being moved' --store ./store",
    ),
    "mute list": Command("operators", "list every mute with its id", _none, "mute list --store ./store"),
    "mute import": Command(
        "operators",
        "mute the downtimes and holidays of a calendar file",
        operators.mute_import,
        "mute import downtimes.csv --time-zone Europe/Berlin --store ./store",
    ),
    "mute lift": Command(
        "operators", "end a mute", operators.mute_lift, "mute lift 3f2a --why 'the disk was moved' --store ./store"
    ),
    "attributes import": Command(
        "operators",
        "read attributes of entities, such as their team, from a file",
        operators.attributes_import,
        "attributes import inventory.csv --kind web --store ./store",
    ),
    "attributes list": Command(
        "operators",
        "list entities and their attributes",
        operators.attributes_list,
        "attributes list --where team=payments --store ./store",
    ),
    "tune": Command(
        "build",
        "search the model's settings with Optuna, on the train range only",
        build.tune,
        "tune --kind web --trials 20 --out ./tuning --store ./store",
    ),
    "bench": Command(
        "bench",
        "run a benchmark of the repository (needs a checkout)",
        bench.bench,
        "bench speed --quick --out ./bench",
        has_store=False,
    ),
    "gc": Command("releases", "list or delete unreferenced objects of the store", releases.gc, "gc --store ./store"),
}
GROUPS = {
    "release": "build, list, verify, promote and roll back releases",
    "feedback": "add, list, import and retract feedback of operators",
    "mute": "mute a metric or a whole entity for a time",
    "attributes": "import and list attributes of entities, such as their team",
}
"""Commands of two words begin with one of these."""
EARLIER_NAMES = {
    "promote": ("release", "promote"),
    "releases": ("release", "list"),
    "report": ("release", "report"),
    "rollback": ("release", "rollback"),
    "verify": ("release", "verify"),
}
"""Names of version 0.1: still accepted, listed in no help text."""
EXIT_CODES = {
    0: "done",
    1: "a gate or check refused; the build is fine",
    2: "wrong usage or configuration",
    3: "bad input; nothing is lost, bad data is in the quarantine",
    4: "the store or the network failed",
    5: "a bug",
}


class _Parser(argparse.ArgumentParser):
    """A parser that raises instead of printing two lines: every error has the same form."""

    def error(self, message: str) -> NoReturn:
        command = self.prog.partition(" ")[2]
        raise UsageError(f"{command}: {message}; see {self.prog} --help".removeprefix(": "))


def parser() -> argparse.ArgumentParser:
    """Build the parser of the command line; its result has ``command``, a key of ``COMMANDS``."""
    root = _Parser(
        prog="fleetalign",
        description="One shared anomaly detector for a whole fleet, aligned to each entity.",
        epilog="exit codes:\n" + "\n".join(f"  {code}  {meaning}" for code, meaning in EXIT_CODES.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root.add_argument("--version", action="version", version=f"fleetalign {__version__}")
    verbs = root.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    groups = {}
    for name, command in COMMANDS.items():
        group, _, word = name.rpartition(" ")
        if group and group not in groups:
            summary = GROUPS[group]
            whole = verbs.add_parser(group, help=summary, description=_sentence(summary))
            groups[group] = whole.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
        leaf = groups.get(group, verbs).add_parser(
            word,
            help=command.summary,
            description=_sentence(command.summary),
            epilog=f"example: fleetalign {command.example}",
        )
        command.options(leaf)
        shared.common(leaf, command.has_store)
        leaf.set_defaults(command=name)
    return root


def current_name(arguments: Sequence[str]) -> list[str]:
    """Replace an earlier name of a command by its present one.

    Earlier names are those of ``EARLIER_NAMES``, and ``release`` followed by no command of its group: the build step.
    """
    first, *rest = arguments or ("",)
    if first == "release" and (not rest or (rest[0].startswith("-") and rest[0] not in ("-h", "--help"))):
        return ["release", "build", *rest]
    return [*EARLIER_NAMES[first], *rest] if first in EARLIER_NAMES else list(arguments)


def _sentence(summary: str) -> str:
    return summary[0].upper() + summary[1:] + "."
