"""Reads the options that several commands share.

They are configuration, store, time range, plan, files and release.
"""

from __future__ import annotations

import argparse
import dataclasses
import getpass
import json
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from fleetalign import config as configuration
from fleetalign.config import Config, SourceConfig
from fleetalign.errors import UsageError
from fleetalign.interval import Interval, parse_time
from fleetalign.storage.connect import open_store
from fleetalign.storage.store import Store

if TYPE_CHECKING:
    from fleetalign.emit.targets import Target
    from fleetalign.ingest.mapping import Mapping
    from fleetalign.ingest.telemetry_files import TelemetryFiles

ALL_TIME = ("1990-01-01", "2100-01-01")


def config(options: argparse.Namespace) -> Config:
    """Load the settings of ``--params``."""
    return configuration.load(options.params)


def store_uri(options: argparse.Namespace) -> str:
    """Return the store that ``--store`` or the environment names."""
    return configuration.store_uri(options.store)


def store(options: argparse.Namespace) -> Store:
    """Open the store."""
    return open_store(store_uri(options))


def where(options: argparse.Namespace) -> tuple[Config, str]:
    """Return settings and store URI, as a step takes them."""
    return config(options), store_uri(options)


def interval(options: argparse.Namespace) -> Interval | None:
    """Return the range of ``--from`` and ``--to``; a missing end is open, None without both."""
    if options.start is None and options.end is None:
        return None
    return Interval.parse(options.start or ALL_TIME[0], options.end or ALL_TIME[1])


def instant(text: str | None) -> datetime | None:
    """Parse a time; None when the option was not given."""
    return parse_time(text) if text else None


def day(text: str) -> Interval:
    """Return the UTC day of an ISO date. Raises UsageError."""
    start = parse_time(text)
    if start.time() != time.min:
        raise UsageError(f"--day is {text!r}; give a date such as 2024-05-01")
    return Interval(start, start + timedelta(days=1))


def planned(options: argparse.Namespace) -> tuple[Config, str, str]:
    """Return settings, store URI and plan id.

    The plan is that of ``--plan`` or its receipt, else the newest.
    """
    from fleetalign.plan.receipts import newest_plan

    settings, uri = where(options)
    plan: str = options.plan or newest_plan(open_store(uri))
    if plan.startswith("@"):
        try:
            plan = json.loads(Path(plan[1:]).read_text())["plan_id"]
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(f"--plan {plan}: not a receipt with a plan_id ({error})") from None
    return settings, uri, plan


def mapping(options: argparse.Namespace) -> Mapping:
    """Read the mapping of ``--map``, with ``--kind``, ``--metrics`` and ``--ignore`` on top."""
    from fleetalign.ingest.mapping import Mapping, load_mapping

    chosen = load_mapping(options.mapping) if options.mapping else Mapping()
    named = {"kind": options.kind, "metrics": tuple(options.metrics), "ignore": tuple(options.ignore)}
    return dataclasses.replace(chosen, **{name: value for name, value in named.items() if value})


def telemetry(options: argparse.Namespace) -> TelemetryFiles:
    """Name the files of ``--telemetry``.

    Rows after ``--to`` are ignored; rows before ``--from`` are read as context.
    """
    from fleetalign.ingest.telemetry_files import TelemetryFiles

    end = Interval.parse(ALL_TIME[0], options.end) if options.end else None
    return TelemetryFiles(options.telemetry, mapping(options), end)


def with_source(config: Config, options: argparse.Namespace) -> Config:
    """Put the source that the options of ``ingest`` choose into ``config``. Raises UsageError."""
    if options.prometheus and (options.source or config.source.type) != "prometheus":
        raise UsageError("ingest: --prometheus names a server; add --source prometheus")
    chosen = {
        "type": options.source,
        "prometheus_url": options.prometheus,
        "mapping_path": options.mapping,
        "feedback_path": options.feedback,
        "kind": options.kind,
    }
    return dataclasses.replace(
        config, source=dataclasses.replace(config.source, **{name: value for name, value in chosen.items() if value})
    )


def spans(config: Config, options: argparse.Namespace) -> Config:
    """Put the kind, mapping and step of ``aggregate`` into ``config``. Raises UsageError."""
    from fleetalign.ingest.spans.source import check_step, configured_mapping, kind_of

    if config.source.type != "spans":  # its settings describe other files
        config = dataclasses.replace(config, source=SourceConfig())
    chosen = {"mapping_path": options.mapping, "kind": options.kind}
    source = dataclasses.replace(config.source, **{name: value for name, value in chosen.items() if value})
    config = dataclasses.replace(config, source=source)
    if options.step is None:
        return config
    check_step(options.step, config.partition)
    return dataclasses.replace(config, steps={**config.steps, kind_of(configured_mapping(config)): options.step})


def output(path: str) -> Path:
    """Check a file to write, before the work begins. Raises UsageError."""
    from fleetalign.emit.targets import writable

    return writable(Path(path))


def targets(options: argparse.Namespace) -> list[Target]:
    """Parse the targets of ``--out`` and ``--emit``. Raises UsageError."""
    from fleetalign.emit.targets import parse_all

    named = [*([f"parquet={options.out}"] if options.out else []), *options.emit]
    if not named:
        raise UsageError("score: name a target for the scores, with --out FILE or --emit NAME=WHERE")
    return parse_all(named)


def release_id(options: argparse.Namespace, store: Store) -> str:
    """Find the release of ``--release``, else that of ``--channel``. Raises NotFound."""
    from fleetalign.release.listing import released_on

    return options.release or released_on(store, options.channel)


def author(options: argparse.Namespace) -> str:
    """Return the name of ``--by``, else that of the user."""
    return options.by or user()


def user() -> str:
    """Return the name of the user who runs the command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
