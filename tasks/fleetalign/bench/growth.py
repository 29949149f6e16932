"""How time, memory and bytes grow with the fleet: the same short history for 1,000, 10,000 and 100,000 entities.

Every step runs in a fresh process, one after the other, so that the peak of resident memory is that step's own.
``run`` measures, ``tables`` and ``plots`` show; what is not straight or not flat is said in words.
``python -m fleetalign.bench.growth STEP URI ENTITIES NETWORK SOURCE`` runs one step and prints one JSON line.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fleetalign.bench import growth_fleet
from fleetalign.bench.growth_report import plots, tables
from fleetalign.bench.machine import machine
from fleetalign.bench.memory import highest_resident_bytes
from fleetalign.config import Config, ModelConfig

FULL, QUICK = (1_000, 10_000, 100_000), (200, 1_000)
INGESTED = 1_000
"""Larger fleets are written as validated partitions: ingest and validate work per partition, not per fleet."""
SCORED_AT_ONCE = 2_000
"""Entities of one scorer call; a consumer holds no more telemetry than that."""
BUILD_STEPS = ("plan", "pretrain", "align", "reduce", "release", "score")
STRAIGHT = 1.25
"""A step is straight when an entity of the largest fleet costs at most this many times what one cost before."""
SHORT_SECONDS = 2.0
"""What takes less in the largest fleet is noise."""
FLAT = 1.1
"""Memory is flat when the largest fleet's peak is at most this many times the smallest's."""
TIMEOUT_SECONDS = 3_600
Progress = Callable[[int, int, str], None]

__all__ = ["FULL", "QUICK", "findings", "plots", "run", "tables"]


def run(
    entities: Sequence[int] | None,
    out: Path,
    quick: bool,
    progress: Progress | None = None,
    network: str | None = None,
) -> dict[str, Any]:
    """Build and score every fleet of ``entities`` (ascending; None: FULL, or QUICK), write ``out/growth.json``, return it.

    Plain JSON values. ``network``: None is the default one. Stores live in the temporary directory while they are
    measured (about 1 GB for 100,000 entities). ``progress`` is called with (done, total, what).
    """
    sizes = tuple(entities or (QUICK if quick else FULL))
    network = network or ModelConfig().network
    started = time.perf_counter()
    total = sum(len(steps_of(size)) for size in sizes)
    done, found = 0, []
    for size in sizes:

        def tell(step: str, size: int = size) -> None:
            nonlocal done
            if progress:
                progress(done, total, f"{step}, {size:,} entities")
            done += 1

        found.append(measure(size, network, tell))
    result = {
        "machine": machine(),
        "network": network,
        "settings": {
            "metrics": len(growth_fleet.METRICS),
            "steps": growth_fleet.STEPS,
            "step_seconds": growth_fleet.STEP_SECONDS,
            "window_steps": growth_fleet.WINDOW_STEPS,
            "spoken_share": 1 / growth_fleet.SPOKEN_EVERY,
        },
        "sizes": found,
        "findings": findings(found),
        "quick": quick,
        "seconds": time.perf_counter() - started,
    }
    if progress:
        progress(total, total, "growth")
    out.mkdir(parents=True, exist_ok=True)
    (out / "growth.json").write_text(json.dumps(result, indent=1) + "\n")
    return result


def steps_of(entities: int) -> tuple[str, ...]:
    return (("ingest", "validate") if entities <= INGESTED else ("write",)) + BUILD_STEPS


def measure(entities: int, network: str, tell: Callable[[str], None]) -> dict[str, Any]:
    """Seconds and peak memory of every step for one fleet, and the bytes of what it leaves."""
    with tempfile.TemporaryDirectory(prefix="fleetalign-growth-") as folder:
        store, source = Path(folder) / "store", Path(folder) / "source"
        if entities <= INGESTED:
            growth_fleet.write_source(source, entities)
        steps = {}
        for step in steps_of(entities):
            tell(step)
            steps[step] = _in_fresh_process(step, str(store), entities, network, str(source))
        return {
            "entities": entities,
            "steps": {name: {k: found[k] for k in MEASURED} for name, found in steps.items()},
            "release": steps["release"]["result"],
            "score": steps["score"]["result"],
            "bytes": _bytes(store, entities),
        }


MEASURED = ("wall_seconds", "cpu_seconds", "peak_bytes")


def _in_fresh_process(step: str, *arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "fleetalign.bench.growth", step, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=TIMEOUT_SECONDS
    )
    return json.loads(done.stdout.splitlines()[-1])


def _bytes(store: Path, entities: int) -> dict[str, Any]:
    def total(pattern: str) -> int:
        return sum(p.stat().st_size for p in store.glob(pattern))

    return {
        "model": total("models/*/model.onnx"),
        "aligner_per_entity": total("aligners/**/*.parquet") / entities,
        "normalizer_per_entity": max(p.stat().st_size for p in store.glob("normalizers/**/*.parquet")) / entities,
        "shard_tables_per_entity": total("plans/*/**/*.parquet") / entities,
        "telemetry_per_entity": total("telemetry/validated/**/*.parquet") / entities,
    }


def findings(sizes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For every step whether its time is straight and its memory flat; ``good`` None where the sizes cannot tell."""
    out = []
    for step in BUILD_STEPS:
        at = [(s["entities"], s["steps"][step]) for s in sizes if step in s["steps"]]
        if len(at) >= 2:
            out += [
                {"step": step, "what": "time", **time_finding([(n, f["cpu_seconds"]) for n, f in at])},
                {"step": step, "what": "memory", **memory_finding([(n, f["peak_bytes"]) for n, f in at])},
            ]
    return out


def time_finding(points: Sequence[tuple[int, float]]) -> dict[str, Any]:
    """``points`` (entities, CPU seconds), ascending: what one more entity costs at the end, beside what it cost before.

    CPU seconds, because what else the machine does counts in the wall clock.
    """
    slopes = [(t - s) / (n - m) for (m, s), (n, t) in itertools.pairwise(points)]
    milliseconds = [1000 * s for s in slopes]
    (before, _), (most, seconds) = points[-2:]
    text = f"{milliseconds[-1]:.3g} ms for one more entity between {before:,} and {most:,}"
    if len(slopes) == 1:
        return {"good": None, "text": f"{text}; two fleets give a slope, no shape"}
    text += f", {milliseconds[-2]:.3g} ms before"
    if seconds < SHORT_SECONDS:
        return {"good": True, "text": f"{seconds:.2g} s at {most:,}: too short to have a shape"}
    good = slopes[-1] <= STRAIGHT * max(slopes[-2], 0.0)
    return {"good": good, "text": f"{'straight' if good else 'NOT straight'}: {text}"}


def memory_finding(points: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """``points`` (entities, peak bytes), ascending."""
    (least, low), (most, high) = points[0], points[-1]
    good = high <= FLAT * low
    text = f"{low / 2**20:.0f} MiB at {least:,}, {high / 2**20:.0f} MiB at {most:,}"
    if not good:
        text += f", {(high - low) / (most - least) / 1024:.2g} KiB for one more entity"
    return {"good": good, "text": f"{'flat' if good else 'NOT flat'}: {text}"}


def main(arguments: Sequence[str]) -> None:
    step, uri, entities, network, source = arguments
    config = growth_fleet.settings(int(entities), network, Path(source))
    wall, cpu = time.perf_counter(), time.process_time()
    result = _STEPS[step](config, uri, int(entities))
    print(
        json.dumps(
            {
                "wall_seconds": time.perf_counter() - wall,
                "cpu_seconds": time.process_time() - cpu,
                "peak_bytes": highest_resident_bytes(),
                "result": result,
            }
        )
    )


def _ingest(config: Config, uri: str, entities: int) -> None:
    from fleetalign import steps

    for day in growth_fleet.days():
        steps.ingest(config, uri, day)


def _validate(config: Config, uri: str, entities: int) -> None:
    from fleetalign import steps

    for day in growth_fleet.days():
        steps.validate(config, uri, day)


def _write(config: Config, uri: str, entities: int) -> None:
    growth_fleet.write_store(uri, entities)


def _plan(config: Config, uri: str, entities: int) -> None:
    from fleetalign import steps

    steps.plan(config, uri)


def _plan_id(uri: str) -> str:
    """The store holds one plan."""
    from fleetalign.storage import layout
    from fleetalign.storage.store import open_store

    keys = [info.key for info in open_store(uri).list(layout.PLANS) if info.key.count("/") == 1]
    return keys[0].removeprefix(layout.PLANS).removesuffix(".json")


def _pretrain(config: Config, uri: str, entities: int) -> None:
    from fleetalign import steps

    steps.pretrain(config, uri, _plan_id(uri))


def _align(config: Config, uri: str, entities: int) -> None:
    from fleetalign import steps

    plan_id = _plan_id(uri)
    for shard in steps.shards(config, uri, plan_id):
        steps.align_shard(config, uri, plan_id, shard["index"])


def _reduce(config: Config, uri: str, entities: int) -> None:
    from fleetalign import steps

    steps.align_reduce(config, uri, _plan_id(uri))


def _release(config: Config, uri: str, entities: int) -> dict[str, Any]:
    from fleetalign import steps

    found = steps.release(config, uri, _plan_id(uri))
    return {"release_id": found["release_id"], "coverage": found["coverage"]}


def _score(config: Config, uri: str, entities: int) -> dict[str, int]:
    """Every entity's last day, as a consumer scores it: some entities at a time."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from fleetalign import steps
    from fleetalign.release.scorer import Scorer
    from fleetalign.storage import lake, layout
    from fleetalign.storage.store import open_store

    store = open_store(uri)
    plan_id = steps.latest(config, uri, "release")
    scorer = Scorer.open(store, release=store.get_json(layout.receipt(plan_id, "release"))["release_id"])
    partitions = lake.list_partitions(store, "validated")[-2:]
    scored = alarms = 0
    for first in range(0, entities, SCORED_AT_ONCE):
        last = min(first + SCORED_AT_ONCE, entities) - 1
        ids = (growth_fleet.entity_id(first), growth_fleet.entity_id(last))
        telemetry = pa.concat_tables(p for day in partitions for p in lake.read_parts(store, day, None, ids))
        scores = scorer.score(telemetry, start=partitions[-1].interval.start)
        scored += scores["score"].length() - scores["score"].null_count
        alarms += pc.sum(scores["alarm"]).as_py()
    return {"samples": scored, "alarms": alarms}


_STEPS: dict[str, Callable[[Config, str, int], Any]] = {
    "ingest": _ingest,
    "validate": _validate,
    "write": _write,
    "plan": _plan,
    "pretrain": _pretrain,
    "align": _align,
    "reduce": _reduce,
    "release": _release,
    "score": _score,
}

if __name__ == "__main__":
    main(sys.argv[1:])
