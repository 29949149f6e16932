"""The command line's table of contents: every verb, and the parser made from it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple, NoReturn

from fleetalign import __version__
from fleetalign.cli.options import bench, build, operators, releases, scoring, shared, telemetry
from fleetalign.errors import UsageError


class Verb(NamedTuple):
    """A row of ``VERBS``."""

    group: str
    """The module of ``cli.verbs`` whose function of the verb's name does it."""

    summary: str
    options: Callable[[argparse.ArgumentParser], list[argparse.ArgumentParser] | None]
    """Adds the verb's options to its parser; where the verb has verbs of its own, returns theirs."""

    example: str


VERBS = {
    "run": Verb(
        "build",
        "telemetry in, a release out",
        build.run,
        "fleetalign run --telemetry metrics.parquet --feedback feedback.csv --store ./store",
    ),
    "simulate": Verb(
        "telemetry",
        "write a simulated fleet with faults and operators",
        telemetry.simulate,
        "fleetalign simulate --out ./fleet --days 14",
    ),
    "inspect": Verb(
        "telemetry",
        "say what files would be read as, and propose a mapping",
        telemetry.inspect,
        "fleetalign inspect metrics.csv --out mapping.yaml",
    ),
    "ingest": Verb(
        "telemetry",
        "files or the configured source into raw partitions",
        telemetry.ingest,
        "fleetalign ingest --telemetry metrics.csv --kind web --store ./store",
    ),
    "validate": Verb(
        "telemetry",
        "raw partitions into validated ones, the bad into quarantine",
        shared.time_range,
        "fleetalign validate --store ./store --from 2026-03-02 --to 2026-03-03",
    ),
    "plan": Verb("build", "write down what a build is made of", build.plan, "fleetalign plan --store ./store"),
    "snapshot": Verb(
        "build",
        "record the plan's telemetry in the DVC registry",
        shared.build_step,
        "fleetalign snapshot --store ./store",
    ),
    "pretrain": Verb("build", "train one shared model per kind", build.pretrain, "fleetalign pretrain --store ./store"),
    "align": Verb(
        "build", "align every entity: all shards, then the fleet", shared.build_step, "fleetalign align --store ./store"
    ),
    "align-shard": Verb(
        "build", "align one shard", build.align_shard, "fleetalign align-shard --shard 3 --store ./store"
    ),
    "align-reduce": Verb(
        "build", "reduce the shards to the aligner table", shared.build_step, "fleetalign align-reduce --store ./store"
    ),
    "release": Verb("build", "judge, gate and publish", shared.build_step, "fleetalign release --store ./store"),
    "promote": Verb(
        "releases",
        "point a channel to a release if its gates allow",
        releases.promote,
        "fleetalign promote 3f2a9c0d1e5b7a68 --store ./store",
    ),
    "rollback": Verb(
        "releases",
        "move a channel to an older release",
        releases.rollback,
        "fleetalign rollback --why 'too many pages' --store ./store",
    ),
    "releases": Verb(
        "releases", "list releases, channels and history", releases.releases, "fleetalign releases --store ./store"
    ),
    "verify": Verb(
        "releases",
        "check every byte and the golden vectors of a release",
        shared.which_release,
        "fleetalign verify --store ./store",
    ),
    "score": Verb(
        "scoring",
        "score telemetry with a release",
        scoring.score,
        "fleetalign score --telemetry today.parquet --out scores.parquet --store ./store",
    ),
    "evaluate": Verb(
        "scoring",
        "judge a release on labelled telemetry, beside its controls",
        scoring.evaluate,
        "fleetalign evaluate --telemetry t.parquet --feedback f.csv --store ./store",
    ),
    "backtest": Verb(
        "scoring",
        "how many pages two configurations would have sent, to whom, when",
        scoring.backtest,
        "fleetalign backtest --from 2026-03-02 --to 2026-03-09 --out ./backtest --store ./store",
    ),
    "drift": Verb(
        "scoring",
        "compare a day with what a release was built on",
        scoring.drift,
        "fleetalign drift --day 2026-03-10 --out drift.html --store ./store",
    ),
    "report": Verb(
        "releases", "fetch a release's report", releases.report, "fleetalign report --out report.html --store ./store"
    ),
    "explain": Verb(
        "releases",
        "why a candidate was not promoted, or why an entity has its threshold",
        releases.explain,
        "fleetalign explain --entity web/api-1 --store ./store",
    ),
    "tune": Verb(
        "build",
        "search the model's parameters on train only",
        build.tune,
        "fleetalign tune --kind web --trials 20 --out ./tuning --store ./store",
    ),
    "bench": Verb(
        "bench",
        "measure detection, speed or growth beside controls and the published way, or what Airflow costs",
        bench.bench,
        "fleetalign bench speed --quick --out ./bench",
    ),
    "feedback": Verb(
        "operators",
        "say what a page or an interval was, take it back, import what other tools say",
        operators.feedback,
        "fleetalign feedback add --entity web/api-1 --from 2026-03-05T01:00Z --to 2026-03-05T02:00Z --verdict false_alarm",
    ),
    "mute": Verb(
        "operators",
        "silence a noisy metric, or everything for a maintenance window",
        operators.mute,
        "fleetalign mute add --entity web/api-1 --metric disk_used --why 'disk is being moved' --store ./store",
    ),
    "gc": Verb("releases", "list or delete what nothing reaches", releases.gc, "fleetalign gc --store ./store"),
}
WITHOUT_STORE = ("simulate", "inspect", "bench")


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing two lines, so that every error has the same form."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}; see {self.prog} --help")


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; what it parses has ``verb`` and, where the verb has its own, ``word``."""
    root = _Parser(
        prog="fleetalign", description="One shared anomaly detector for a whole fleet, aligned to each entity."
    )
    root.add_argument("--version", action="version", version=f"fleetalign {__version__}")
    verbs = root.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=_Parser)
    for name, (_, summary, options, example) in VERBS.items():
        verb = verbs.add_parser(
            name, help=summary, description=summary[0].upper() + summary[1:] + ".", epilog=f"example: {example}"
        )
        for leaf in options(verb) or [verb]:
            shared.common(leaf, store=name not in WITHOUT_STORE)
    return root
