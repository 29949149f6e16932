"""Commands that bring telemetry in.

They are ``simulate``, ``inspect``, ``aggregate``, ``ingest`` and ``validate``.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from fleetalign import steps
from fleetalign.cli import inputs
from fleetalign.cli.output import as_text, bar, show
from fleetalign.errors import BadInput, PartitionHeld, UsageError
from fleetalign.storage.connect import open_store
from fleetalign.storage.quarantine import quarantined


def simulate(options: argparse.Namespace) -> None:
    from fleetalign.simulate.simulation import Simulation

    overrides = {name: getattr(options, name) for name in ("seed", "days", "entities")}
    fleet = dataclasses.replace(
        inputs.config(options).source.simulator,
        **{name: value for name, value in overrides.items() if value is not None},
    )
    paths = [str(path) for path in Simulation.from_settings(fleet).write(options.out)]
    show(options, {"files": paths}, "\n".join(paths))


def inspect(options: argparse.Namespace) -> None:
    from fleetalign.ingest import inspect as inspection

    out = inputs.output(options.out) if options.out else None
    found = inspection.inspect(options.telemetry, inputs.mapping(options))
    show(options, found.as_json(), inspection.inspection_text(found))
    if out:
        out.write_text(inspection.mapping_yaml(found))
    if not found.kept:
        raise BadInput(f"{options.telemetry}: no row can be used with this mapping; first: {found.reason}")


def aggregate(options: argparse.Namespace) -> None:
    from fleetalign.ingest.spans.aggregate import aggregate

    config = inputs.spans(inputs.config(options), options)
    with bar(options) as progress:
        done = aggregate(config, options.spans, options.out, inputs.interval(options), options.telemetry, progress)
    show(options, done.as_json(), done.text())
    if done.refused:
        raise BadInput(done.refused)


def ingest(options: argparse.Namespace) -> None:
    config, store_uri = inputs.where(options)
    with bar(options) as progress:
        if options.telemetry:
            if options.source or options.prometheus:
                raise UsageError("ingest: --telemetry names files; drop it, or drop --source and --prometheus")
            ingested = steps.ingest_files(
                config, store_uri, options.telemetry, inputs.mapping(options), inputs.interval(options),
                feedback_path=options.feedback, stored=options.stored, progress=progress,
            )  # fmt: skip
            result = steps.ingest_summary(ingested)
        else:
            interval = inputs.interval(options)
            if interval is None:
                raise UsageError("ingest: give --telemetry FILE_OR_DIR, or --from and --to for the configured source")
            result = steps.ingest(inputs.with_source(config, options), store_uri, interval, progress=progress)
    show(options, result)
    _refuse_quarantined(store_uri, [result])


def validate(options: argparse.Namespace) -> None:
    config, store_uri = inputs.where(options)
    done = steps.validate_stored(config, store_uri, inputs.interval(options))
    show(options, done.as_json(), "\n".join(as_text({"partitions": results}) for results in done.partitions))
    if done.held:
        raise PartitionHeld("; ".join(map(str, done.held)))
    _refuse_quarantined(store_uri, done.results)


def _refuse_quarantined(store_uri: str, results: Sequence[Mapping[str, Any]]) -> None:
    """Raise BadInput when rows or cells went to the quarantine, after everything else is stored."""
    if summary := quarantined(results):
        raise BadInput(f"set aside: {summary}; the rest is stored, see {open_store(store_uri).uri}/quarantine/")
