"""``simulate``, ``inspect``, ``ingest`` and ``validate``: telemetry into the store."""

from __future__ import annotations

import argparse
import dataclasses

from fleetalign import steps
from fleetalign.cli import inputs
from fleetalign.cli.output import tell
from fleetalign.errors import BadInput, PartitionHeld, UsageError
from fleetalign.progress import Bar
from fleetalign.storage import lake
from fleetalign.storage.connect import open_store


def simulate(options: argparse.Namespace) -> int:
    from fleetalign.simulate.simulation import Simulation

    source = inputs.config(options).source
    overrides = {name: getattr(options, name) for name in ("seed", "days", "entities")}
    source = dataclasses.replace(source, **{k: v for k, v in overrides.items() if v is not None})
    for path in Simulation.from_source(source).write(options.out):
        print(path)
    return 0


def inspect(options: argparse.Namespace) -> int:
    from fleetalign.ingest import inspect as inspection

    out = inputs.output(options.out) if options.out else None
    found = inspection.inspect(options.telemetry, inputs.mapping(options))
    print(inspection.inspection_text(found))
    if out:
        out.write_text(inspection.mapping_yaml(found))
    return 0


def ingest(options: argparse.Namespace) -> int:
    config, store_uri = inputs.config(options), inputs.store_uri(options)
    bar = Bar()
    if options.telemetry:
        if options.source or options.prometheus:
            raise UsageError("ingest: --telemetry names files; drop it, or drop --source and --prometheus")
        result = steps.ingest_summary(inputs.ingest_files(config, store_uri, options, bar))
    else:
        interval = inputs.interval(options)
        if interval is None:
            raise UsageError("ingest: give --telemetry FILE_OR_DIR, or --from and --to for the configured source")
        result = steps.ingest(inputs.with_source(config, options), store_uri, interval, progress=bar)
    bar.close()
    tell(result)
    inputs.refuse_set_aside(store_uri, [result])
    return 0


def validate(options: argparse.Namespace) -> int:
    config, store_uri = inputs.config(options), inputs.store_uri(options)
    raw = lake.list_partitions(open_store(store_uri), "raw", within=inputs.interval(options))
    if not raw:
        raise BadInput(f"{store_uri}: no raw partition in that range; run ingest first")
    held, validated = [], []
    for interval in sorted({p.interval for p in raw}):
        try:
            result = steps.validate(config, store_uri, interval)
        except PartitionHeld as error:
            held.append(error)
            continue
        tell(result)
        validated += result["partitions"]
    if held:
        raise PartitionHeld("; ".join(map(str, held)))
    inputs.refuse_set_aside(store_uri, validated)
    return 0
