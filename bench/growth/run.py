"""How time, memory and bytes grow with the fleet: the same short history for 1,000, 10,000 and 100,000 entities.

Every step runs in fresh processes, one after the other, so that the peak of resident memory is that step's own; align
and score in ``WORKERS`` of them, as mapped tasks and scorers do. ``run`` measures, ``tables`` and ``plots`` show; what is
not straight or not flat is said in words.
"""

from __future__ import annotations

import itertools
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.growth import fleet
from bench.growth import steps as growth_steps
from bench.growth.report import FLAT, plots, tables
from bench.growth.steps import PARALLEL, WORKERS
from bench.machine import machine
from bench.programs import in_fresh_processes
from fleetalign.config import ModelConfig
from fleetalign.progress import Progress

FULL, QUICK = (1_000, 10_000, 100_000), (200, 1_000)
INGESTED = 1_000
"""Larger fleets are written as validated partitions: ingest and validate work per partition, not per fleet."""
BUILD_STEPS = ("plan", "pretrain", "align", "reduce", "release", "score")
STRAIGHT = 1.25
"""A step is straight when an entity of the largest fleet costs at most this many times what one cost before."""
SHORT_SECONDS = 2.0
"""What takes less in the largest fleet is noise; so is a bend that this much in a smaller fleet's time would explain."""

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
            "metrics": len(fleet.METRICS),
            "steps": fleet.SHORT.steps,
            "step_seconds": fleet.SHORT.step_seconds,
            "window_steps": fleet.WINDOW_STEPS,
            "spoken_share": 1 / fleet.SPOKEN_EVERY,
            "workers": WORKERS,
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
            fleet.write_source(source, entities)
        steps = {}
        for step in steps_of(entities):
            tell(step)
            workers = WORKERS if step in PARALLEL else 1
            steps[step] = in_fresh_processes(growth_steps, step, workers, store, entities, network, source)
        return {
            "entities": entities,
            "steps": {name: {k: found[k] for k in MEASURED} for name, found in steps.items()},
            "release": steps["release"]["results"][0],
            "samples_scored": sum(steps["score"]["results"]),
            "bytes": _bytes(store, entities),
        }


MEASURED = ("wall_seconds", "cpu_seconds", "peak_bytes")


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
    bend = (slopes[-1] - STRAIGHT * max(slopes[-2], 0.0)) * (most - before)
    # The slope before is read off a short piece of the line: its noise grows with how far the line is drawn on.
    good = bend <= SHORT_SECONDS * (most - before) / (before - points[-3][0])
    return {"good": good, "text": f"{'straight' if good else 'NOT straight'}: {text}"}


def memory_finding(points: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """``points`` (entities, peak bytes), ascending."""
    (before, low), (most, high) = points[-2:]
    good = high <= FLAT * low
    peaks = ", ".join(f"{peak / 2**20:.0f} MiB at {entities:,}" for entities, peak in points)
    text = f"{peaks}; {(high - low) / (most - before) / 1024:.2g} KiB for one more entity at the end"
    return {"good": good, "text": f"{'flat' if good else 'NOT flat'}: {text}"}
