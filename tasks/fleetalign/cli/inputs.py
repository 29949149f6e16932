"""Reads what the options of several verbs have in common: configuration, range, plan, files, release."""

from __future__ import annotations

import argparse
import dataclasses
import getpass
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

from fleetalign import config as configuration
from fleetalign import steps
from fleetalign.config import Config
from fleetalign.errors import BadInput, NotFound, UsageError
from fleetalign.interval import Interval, parse_time
from fleetalign.plan import receipts
from fleetalign.progress import Bar
from fleetalign.storage import lake, layout
from fleetalign.storage.connect import open_store
from fleetalign.storage.store import Store

ALL_TIME = ("1990-01-01", "2100-01-01")


def config(options: argparse.Namespace) -> Config:
    return configuration.load(options.params)


def store_uri(options: argparse.Namespace) -> str:
    return configuration.store_uri(options.store)


def store(options: argparse.Namespace) -> Store:
    return open_store(store_uri(options))


def interval(options: argparse.Namespace) -> Interval | None:
    if options.start is None and options.end is None:
        return None
    return Interval.parse(options.start or ALL_TIME[0], options.end or ALL_TIME[1])


def as_of(options: argparse.Namespace) -> datetime | None:
    return parse_time(options.as_of) if options.as_of else None


def planned(options: argparse.Namespace) -> tuple[Config, str, str]:
    settings, store_uri = config(options), configuration.store_uri(options.store)
    given = options.plan or ""
    if given.startswith("@"):
        try:
            given = json.loads(Path(given[1:]).read_text())["plan_id"]
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(f"--plan {given}: not a receipt with a plan_id ({error})") from None
    if not given:
        plans = [i for i in open_store(store_uri).list(layout.PLANS) if i.key.count("/") == 1]
        if not plans:
            raise UsageError(f"{store_uri}: there is no plan yet; run `fleetalign plan` first")
        given = max(plans, key=lambda i: (i.modified_at, i.key)).key.removeprefix(layout.PLANS).removesuffix(".json")
    return settings, store_uri, given


def mapping(options: argparse.Namespace):
    from fleetalign.ingest.mapping import Mapping, load_mapping

    chosen = load_mapping(options.mapping) if options.mapping else Mapping()
    named = {"kind": options.kind, "metrics": tuple(options.metrics), "ignore": tuple(options.ignore)}
    return dataclasses.replace(chosen, **{name: value for name, value in named.items() if value})


def ingest_files(config: Config, store_uri: str, options: argparse.Namespace, bar: Bar):
    from fleetalign.feedback.files import read_feedback_file
    from fleetalign.feedback.statements import import_files
    from fleetalign.ingest.run import ingest_files

    store = open_store(store_uri)
    # Read before telemetry is written: a wrong feedback file should cost nothing.
    feedback = read_feedback_file(options.feedback, default_kind(options), store=store) if options.feedback else None
    result = ingest_files(
        store, config, options.telemetry, mapping(options), interval(options), bar, replace=options.replace
    )
    if feedback is not None:
        for warning in import_files(store, feedback, options.feedback, datetime.now(UTC)).warnings:
            print(f"note: {warning}", file=sys.stderr)
    return result


def set_aside(summaries: Sequence[Mapping[str, Any]]) -> str:
    """What ``summaries`` of ingest and validate count as quarantined, in one line; empty when nothing is."""
    from fleetalign.storage.quarantine import taken_out

    rows, cells = (sum((Counter(s[f"quarantined_{what}"]) for s in summaries), Counter()) for what in ("rows", "cells"))
    first = next((s["first_quarantined"] for s in summaries if s["first_quarantined"]), "")
    return f"{taken_out(rows, cells)}; first: {first}" if rows or cells else ""


def refuse_set_aside(store_uri: str, summaries: Sequence[Mapping[str, Any]]) -> None:
    """Raises BadInput when something was set aside, after everything else is stored: somebody should look at it."""
    if said := set_aside(summaries):
        raise BadInput(f"set aside: {said}; the rest is stored, see {open_store(store_uri).uri}/quarantine/")


def with_source(config: Config, options: argparse.Namespace) -> Config:
    """``config`` with the source that the options of ``ingest`` choose."""
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


def read_telemetry(options: argparse.Namespace):
    """The telemetry of the options as one table; what was taken out is said on stderr."""
    import pyarrow as pa

    from fleetalign.ingest.run import ingest_files
    from fleetalign.storage.memory import MemoryStore

    scratch = MemoryStore()
    end = Interval.parse(ALL_TIME[0], options.end) if options.end else None
    result = ingest_files(scratch, config(options), options.telemetry, mapping(options), end)
    if said := set_aside([steps.ingest_summary(result)]):
        print(f"left out: {said}", file=sys.stderr)
    tables = [lake.read_partition(scratch, partition) for partition in result.partitions]
    return pa.concat_tables(tables, promote_options="default")


def default_kind(options: argparse.Namespace) -> str:
    """The kind of feedback that names none: that of the telemetry beside it."""
    from fleetalign.ingest.mapping import DEFAULT_KIND

    return mapping(options).kind or DEFAULT_KIND


def day(text: str) -> Interval:
    """The UTC day of an ISO date. Raises UsageError."""
    start = parse_time(text)
    if start.time() != time.min:
        raise UsageError(f"--day is {text!r}; give a date such as 2024-05-01")
    return Interval(start, start + timedelta(days=1))


def output(path: str) -> Path:
    """A file to write, checked before the work begins. Raises UsageError."""
    from fleetalign.emit.targets import writable

    return writable(Path(path))


def targets(options: argparse.Namespace):
    """Where ``--out`` and ``--emit`` send scores. Raises UsageError."""
    from fleetalign.emit.targets import parse_all

    named = [*([f"parquet={options.out}"] if options.out else []), *options.emit]
    if not named:
        raise UsageError("score: say where scores go, with --out FILE or --emit NAME=WHERE")
    return parse_all(named)


def release_id(options: argparse.Namespace) -> str:
    if options.release:
        return options.release
    from fleetalign.storage import channel as channels

    store_uri = configuration.store_uri(options.store)
    pointer = channels.read(open_store(store_uri), options.channel)
    if pointer is None:
        raise NotFound(f"{store_uri}: channel {options.channel!r} points nowhere yet; name a --release or promote one")
    return pointer.release_id


def newest_release(options: argparse.Namespace) -> str:
    store_uri = configuration.store_uri(options.store)
    plan_id = steps.latest(config(options), store_uri, "release")
    if plan_id is None:
        raise UsageError(f"{store_uri}: there is no release yet")
    return receipts.read_release(open_store(store_uri), plan_id).release_id


def user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
