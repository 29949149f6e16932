"""``fleetalign``: one verb per step, and the verbs that people need around them.

Exit codes (contracts 7): 0 done · 1 a gate or check said no · 2 wrong usage or config · 3 bad input · 4 store or
network · 5 a bug. An error is one line on stderr: what, where, what to do; ``--verbose`` adds the traceback.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn, get_args

from fleetalign import __version__
from fleetalign.errors import FleetalignError, UsageError
from fleetalign.settings import SourceType
from fleetalign.word_cli import feedback_arguments, mute_arguments

BUG = 5


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing two lines, so that every error has the same form."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}; see {self.prog} --help")


def _common(parser: argparse.ArgumentParser, store: bool = True) -> None:
    group = parser.add_argument_group("everywhere")
    if store:
        group.add_argument(
            "--store", metavar="URI", help="file:///path, a path or s3://bucket/prefix (default: $FLEETALIGN_STORE)"
        )
    group.add_argument("--params", metavar="FILE", help="YAML that overrides defaults (default: $FLEETALIGN_PARAMS)")
    group.add_argument("--verbose", action="store_true", help="show the traceback of an error")


def _range(parser: argparse.ArgumentParser, required: bool = False) -> None:
    parser.add_argument(
        "--from", dest="start", metavar="TIME", required=required, help="first instant, ISO 8601 (UTC without a zone)"
    )
    parser.add_argument("--to", dest="end", metavar="TIME", required=required, help="first instant after the range")


def _files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kind", help="kind of every entity in the files (default: the mapping's, else 'default')")
    parser.add_argument(
        "--map", dest="mapping", metavar="FILE", help="YAML mapping of columns or series, see docs/data.md"
    )
    parser.add_argument(
        "--metrics", nargs="+", default=(), metavar="COLUMN", help="metric columns (default: every numeric one)"
    )
    parser.add_argument("--ignore", nargs="+", default=(), metavar="COLUMN", help="columns that are no metrics")


def _build_step(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--plan", metavar="ID|@FILE", help="plan id, or @receipt.json (default: the newest plan of the store)"
    )
    parser.add_argument("--receipt", metavar="FILE", help="also write the step's result as JSON")


def _release(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--channel", default="champion", help="channel to follow (default: champion)")
    which.add_argument("--release", metavar="ID", help="a release instead of a channel")


def _replace(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--replace", action="store_true", help="replace stored partitions even if they hold rows that the files lack"
    )


def _as_of(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--as-of", metavar="TIME", help="feedback recorded after this instant does not exist")


def _run(p: argparse.ArgumentParser) -> None:
    _replace(p)
    _as_of(p)
    p.add_argument("--telemetry", required=True, metavar="FILE_OR_DIR", help="Parquet or CSV, wide or long; or s3://…")
    p.add_argument("--feedback", metavar="FILE", help="what operators said: entity_id,start,end,verdict")
    p.add_argument("--no-promote", action="store_true", help="stop at the release, leave the channel alone")
    _files(p)
    _range(p)


def _simulate(p: argparse.ArgumentParser) -> None:
    p.add_argument("--out", required=True, metavar="DIR", help="folder for telemetry, feedback and truth")
    p.add_argument("--seed", type=int, help="(default: source.seed)")
    p.add_argument("--days", type=int, help="(default: source.days)")
    p.add_argument("--entities", type=int, help="(default: source.entities)")


def _ingest(p: argparse.ArgumentParser) -> None:
    _replace(p)
    p.add_argument(
        "--telemetry",
        metavar="FILE_OR_DIR",
        help="files to read (default: the configured source, which needs --from and --to)",
    )
    p.add_argument("--source", choices=get_args(SourceType), help="configured source to use (default: source.type)")
    p.add_argument("--prometheus", metavar="URL", help="server of --source prometheus (default: source.prometheus_url)")
    p.add_argument("--feedback", metavar="FILE", help="feedback to import")
    _files(p)
    _range(p)


def _inspect(p: argparse.ArgumentParser) -> None:
    p.add_argument("telemetry", metavar="FILE_OR_DIR", help="a file, a folder or s3://bucket/prefix")
    p.add_argument("--out", metavar="FILE", help="write the proposed mapping there, for --map")
    _files(p)


def _validate(p: argparse.ArgumentParser) -> None:
    _range(p)


def _plan(p: argparse.ArgumentParser) -> None:
    _as_of(p)
    p.add_argument("--reuse-model", action="store_true", help="align the newest model anew instead of training one")
    p.add_argument("--receipt", metavar="FILE", help="also write the step's result as JSON")
    _range(p)


def _pretrain(p: argparse.ArgumentParser) -> None:
    _build_step(p)
    p.add_argument("--force", action="store_true", help="train again although the plan has its model")


def _align_shard(p: argparse.ArgumentParser) -> None:
    _build_step(p)
    which = p.add_mutually_exclusive_group(required=True)
    which.add_argument("--shard", type=int, metavar="INDEX")
    which.add_argument("--all", action="store_true", help="every shard, one after another")


def _promote(p: argparse.ArgumentParser) -> None:
    p.add_argument("release", metavar="RELEASE")
    p.add_argument("--channel", default="champion")
    p.add_argument("--by", help="who (default: $USER)")
    p.add_argument("--why", default="promoted by hand")
    p.add_argument("--force", action="store_true", help="promote although a gate says no; --why is then the reason")


def _rollback(p: argparse.ArgumentParser) -> None:
    p.add_argument("--channel", default="champion")
    p.add_argument("--release", metavar="ID", help="release to go back to (default: the previous one)")
    p.add_argument("--by", help="who (default: $USER)")
    p.add_argument("--why", required=True)


def _releases(p: argparse.ArgumentParser) -> None:
    p.add_argument("--channel", default="champion")


def _verify(p: argparse.ArgumentParser) -> None:
    _release(p)


def _score(p: argparse.ArgumentParser) -> None:
    _release(p)
    p.add_argument("--telemetry", required=True, metavar="FILE_OR_DIR")
    p.add_argument("--out", metavar="FILE", help="scores as Parquet; the same as --emit parquet=FILE")
    p.add_argument(
        "--emit",
        action="append",
        default=[],
        metavar="NAME=WHERE",
        help="parquet=FILE|FOLDER/|s3://…, openmetrics=FILE or alertmanager=URL; may be given several times",
    )
    _files(p)
    _range(p)


def _evaluate(p: argparse.ArgumentParser) -> None:
    _release(p)
    p.add_argument("--telemetry", required=True, metavar="FILE_OR_DIR")
    p.add_argument("--feedback", required=True, metavar="FILE")
    _files(p)
    _range(p)


def _backtest(p: argparse.ArgumentParser) -> None:
    _release(p)
    p.add_argument(
        "--against", metavar="ID", help="the other release (default: with --budget the same, else the newest)"
    )
    p.add_argument(
        "--budget", type=float, metavar="PAGES", help="hold the other side to this many pages per entity and day"
    )
    p.add_argument("--out", metavar="DIR", help="also write backtest.json and backtest.svg")
    _range(p, required=True)


def _report(p: argparse.ArgumentParser) -> None:
    _release(p)
    p.add_argument("--out", required=True, metavar="FILE.html")


def _explain(p: argparse.ArgumentParser) -> None:
    which = p.add_mutually_exclusive_group()
    which.add_argument("--channel", help="explain what this channel serves (default: the newest release)")
    which.add_argument("--release", metavar="ID", help="explain this release")
    p.add_argument("--entity", metavar="[KIND/]ID", help="explain this entity's row instead of the release's gates")
    p.add_argument("--at", metavar="TIME", help="with --entity: and its page at this instant, from stored telemetry")


def _tune(p: argparse.ArgumentParser) -> None:
    _build_step(p)
    p.add_argument("--kind", required=True)
    p.add_argument("--trials", type=int, default=20)
    p.add_argument("--out", required=True, metavar="DIR", help="study, plot and best.yaml")


def _bench(p: argparse.ArgumentParser) -> None:
    p.add_argument("what", choices=("detection", "speed", "growth"), metavar="detection|speed|growth")
    p.add_argument("--data", metavar="FOLDER", help="labelled Parquet, one file per set (detection)")
    p.add_argument("--out", metavar="DIR", default="bench", help="page, numbers and pictures (default: ./bench)")
    p.add_argument("--quick", action="store_true", help="a few minutes at most; wider intervals, shorter curves")


def _gc(p: argparse.ArgumentParser) -> None:
    p.add_argument("--delete", action="store_true", help="really delete (default: list only)")
    p.add_argument("--min-age-hours", type=float, default=168.0)


VERBS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], list[argparse.ArgumentParser] | None], str]] = {
    "run": (
        "telemetry in, a release out",
        _run,
        "fleetalign run --telemetry metrics.parquet --feedback feedback.csv --store ./store",
    ),
    "simulate": (
        "write a simulated fleet with faults and operators",
        _simulate,
        "fleetalign simulate --out ./fleet --days 14",
    ),
    "inspect": (
        "say what files would be read as, and propose a mapping",
        _inspect,
        "fleetalign inspect metrics.csv --out mapping.yaml",
    ),
    "ingest": (
        "files or the configured source into raw partitions",
        _ingest,
        "fleetalign ingest --telemetry metrics.csv --kind web --store ./store",
    ),
    "validate": (
        "raw partitions into validated ones, the bad into quarantine",
        _validate,
        "fleetalign validate --store ./store --from 2026-03-02 --to 2026-03-03",
    ),
    "plan": ("write down what a build is made of", _plan, "fleetalign plan --store ./store"),
    "snapshot": ("record the plan's telemetry in the DVC registry", _build_step, "fleetalign snapshot --store ./store"),
    "pretrain": ("train one shared model per kind", _pretrain, "fleetalign pretrain --store ./store"),
    "align": ("align every entity: all shards, then the fleet", _build_step, "fleetalign align --store ./store"),
    "align-shard": ("align one shard", _align_shard, "fleetalign align-shard --shard 3 --store ./store"),
    "align-reduce": ("reduce the shards to the aligner table", _build_step, "fleetalign align-reduce --store ./store"),
    "release": ("judge, gate and publish", _build_step, "fleetalign release --store ./store"),
    "promote": (
        "point a channel to a release if its gates allow",
        _promote,
        "fleetalign promote 3f2a9c0d1e5b7a68 --store ./store",
    ),
    "rollback": (
        "move a channel to an older release",
        _rollback,
        "fleetalign rollback --why 'too many pages' --store ./store",
    ),
    "releases": ("list releases, channels and history", _releases, "fleetalign releases --store ./store"),
    "verify": ("check every byte and the golden vectors of a release", _verify, "fleetalign verify --store ./store"),
    "score": (
        "score telemetry with a release",
        _score,
        "fleetalign score --telemetry today.parquet --out scores.parquet --store ./store",
    ),
    "evaluate": (
        "judge a release on labelled telemetry, beside its controls",
        _evaluate,
        "fleetalign evaluate --telemetry t.parquet --feedback f.csv --store ./store",
    ),
    "backtest": (
        "how many pages two configurations would have sent, to whom, when",
        _backtest,
        "fleetalign backtest --from 2026-03-02 --to 2026-03-09 --out ./backtest --store ./store",
    ),
    "report": ("fetch a release's report", _report, "fleetalign report --out report.html --store ./store"),
    "explain": (
        "why a candidate was not promoted, or why an entity has its threshold",
        _explain,
        "fleetalign explain --entity web/api-1 --store ./store",
    ),
    "tune": (
        "search the model's parameters on train only",
        _tune,
        "fleetalign tune --kind web --trials 20 --out ./tuning --store ./store",
    ),
    "bench": (
        "measure detection, speed or growth beside controls and the published way",
        _bench,
        "fleetalign bench speed --quick --out ./bench",
    ),
    "feedback": (
        "say what a page or an interval was, take it back, import what other tools say",
        feedback_arguments,
        "fleetalign feedback add --entity web/api-1 --from 2026-03-05T01:00Z --to 2026-03-05T02:00Z --verdict false_alarm",
    ),
    "mute": (
        "silence a noisy metric, or everything for a maintenance window",
        mute_arguments,
        "fleetalign mute add --entity web/api-1 --metric disk_used --why 'disk is being moved' --store ./store",
    ),
    "gc": ("list or delete what nothing reaches", _gc, "fleetalign gc --store ./store"),
}
"""Verb -> (what it does, its arguments, an example). Arguments that make verbs of their own return them."""


def parser() -> argparse.ArgumentParser:
    root = _Parser(
        prog="fleetalign", description="One shared anomaly detector for a whole fleet, aligned to each entity."
    )
    root.add_argument("--version", action="version", version=f"fleetalign {__version__}")
    verbs = root.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=_Parser)
    for name, (summary, arguments, example) in VERBS.items():
        verb = verbs.add_parser(
            name, help=summary, description=summary[0].upper() + summary[1:] + ".", epilog=f"example: {example}"
        )
        for leaf in arguments(verb) or [verb]:
            _common(leaf, store=name not in ("simulate", "inspect", "bench"))
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    verbose = "--verbose" in given
    try:
        options = parser().parse_args(given)
        from fleetalign import verbs

        return getattr(verbs, options.verb.replace("-", "_"))(options) or 0
    except FleetalignError as error:
        return _fail(error, error.exit_code, verbose)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("fleetalign: interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    except MemoryError as error:
        return _fail(error, BUG, verbose)
    except Exception as error:
        return _fail(error, BUG, verbose, bug=True)


def _fail(error: BaseException, code: int, verbose: bool, bug: bool = False) -> int:
    if verbose:
        traceback.print_exc()
    text = " ".join(str(error).split()) or type(error).__name__
    if bug:
        text = f"a bug: {type(error).__name__}: {text}; run again with --verbose and report the traceback"
    print(f"fleetalign: {text}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
