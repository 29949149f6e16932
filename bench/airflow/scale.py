"""Fleets of growing size through plan, align and release on a real Airflow, and the same steps without it.

Airflow is started by ``infra/local/scale.py`` in a process of its own. ``run`` measures, ``tables`` and ``plots`` show;
what a million entities would take is calculated from the two largest fleets, and the assumptions are listed with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import programs
from bench.airflow import scale_steps
from bench.growth.fleet import METRICS
from bench.growth.run import time_finding
from bench.tables import table
from fleetalign.plan.cost import MOST_SHARDS

PROGRAM = programs.FOLDER / "scale.py"
ENTITIES = {False: (10, 500, 20_000), True: (10, 100)}
TIMEOUT_SECONDS = 5_400
PICTURE = "scale.png"
USEFUL = 0.8
"""Share of the time that the largest fleet should spend on work rather than on being scheduled."""
SERVERS = ("scheduler", "api-server", "worker", "worker-gpu", "dag-processor", "triggerer", "postgresql", "redis")
MANY, SLOTS = 1_000_000, 64
STEPS = ("plan", "align", "reduce", "release")


def run(folder: Path, quick: bool, progress: Any = None, program: Path = PROGRAM) -> dict[str, Any]:
    """Measure every fleet both ways; plain JSON values. About ten minutes, ``quick`` about three.

    Raises UsageError outside a checkout of the repository, FleetalignError when a server or a run failed.
    """
    return programs.measured("scale", program, ["--entities", *ENTITIES[quick]], quick, TIMEOUT_SECONDS)


def useful(fleet: Mapping[str, Any]) -> dict[str, float]:
    """``wall``: seconds of the steps without Airflow by seconds with it; ``cpu``: their CPU by that of all servers."""
    without = fleet["without"]
    return {
        "wall": sum(without[s]["wall_seconds"] for s in STEPS) / fleet["stack"]["wall_seconds"],
        "cpu": sum(without[s]["cpu_seconds"] for s in STEPS) / sum(fleet["stack"]["cpu_seconds"].values()),
    }


def calculated(fleets: Sequence[Mapping[str, Any]], entities: int = MANY, slots: int = SLOTS) -> dict[str, Any]:
    """Seconds of every step for ``entities`` on ``slots``, drawn on along the line through the two largest fleets."""
    small, large = fleets[-2:]
    apart = large["entities"] - small["entities"]

    def drawn_on(step: str, figure: str) -> float:
        low, high = small["without"][step][figure], large["without"][step][figure]
        return high + max(high - low, 0.0) / apart * (entities - large["entities"])

    without = sum(large["without"][s]["wall_seconds"] for s in STEPS)
    overhead = max(large["stack"]["wall_seconds"] - without, 0.0) / large["stack"]["tasks"]
    shards = min(MOST_SHARDS, math.ceil(large["shards"] * entities / large["entities"]))
    align = drawn_on("align", "cpu_seconds")
    waves = math.ceil(shards / slots)
    seconds = {step: drawn_on(step, "wall_seconds") for step in STEPS if step != "align"}
    return {
        "entities": entities,
        "slots": slots,
        "shards": shards,
        "waves": waves,
        "overhead_seconds": overhead,
        "align_cpu_seconds": align,
        "shard_seconds": align / shards,
        "seconds": seconds | {"align": waves * (align / shards + overhead)},
    }


def tables(result: Mapping[str, Any]) -> str:
    """Both ways side by side, memory and CPU of every server, the shape, and what is calculated; Markdown."""
    fleets = result["fleets"]
    history = scale_steps.HISTORY
    words = (
        programs.introduced(result)
        + f"; PostgreSQL, Redis and Celery on that one machine, {result['slots']} tasks at a time. Each entity has {len(METRICS)} "
        f"metrics and {history.days} days of {history.step_seconds} s, the last 30 % of which is aligned; telemetry and model are "
        "there before. *With Airflow*: from the trigger of `entity_align` to the end of `release_promote`, on servers that "
        "have worked before. *Without*: the same steps on the same telemetry, align in as many processes as Airflow has "
        "slots, their libraries loaded before the clock starts. Both end in the same release id."
        + (" A quick run: it shows the order of things, not the figures." if result["quick"] else "")
    )
    sections = [words, _both(fleets), _finding(fleets), _servers(fleets), _steps(fleets)]
    return "\n\n".join([*sections, _many(calculated(fleets))]) + "\n"


def _both(fleets: Sequence[Mapping[str, Any]]) -> str:
    def wall(fleet: Mapping[str, Any]) -> float:
        return sum(fleet["without"][s]["wall_seconds"] for s in STEPS)

    def cpu(fleet: Mapping[str, Any]) -> float:
        return sum(fleet["without"][s]["cpu_seconds"] for s in STEPS)

    return table(fleets, [
        ("entities", lambda f: f"{f['entities']:,}"),
        ("shards", lambda f: str(f["shards"])),
        ("task instances", lambda f: str(f["stack"]["tasks"])),
        ("wall with Airflow, s", lambda f: f"{f['stack']['wall_seconds']:.1f}"),
        ("without, s", lambda f: f"{wall(f):.1f}"),
        ("useful share", lambda f: f"{useful(f)['wall']:.0%}"),
        ("CPU with Airflow, s", lambda f: f"{sum(f['stack']['cpu_seconds'].values()):.1f}"),
        ("without, s", lambda f: f"{cpu(f):.1f}"),
        ("useful share", lambda f: f"{useful(f)['cpu']:.0%}"),
    ])  # fmt: skip


def _finding(fleets: Sequence[Mapping[str, Any]]) -> str:
    largest = fleets[-1]
    share = useful(largest)
    said = f"**At {largest['entities']:,} entities {share['wall']:.0%} of the wall clock and {share['cpu']:.0%} of the CPU is useful work"
    target = f" (target {USEFUL:.0%} of the time: {'met' if share['wall'] >= USEFUL else 'missed'})"
    line = time_finding([(f["entities"], sum(f["stack"]["cpu_seconds"].values())) for f in fleets])["text"]
    return f"{said}{target if largest['entities'] >= 20_000 else ''}.** All servers' CPU: {line}."


def _servers(fleets: Sequence[Mapping[str, Any]]) -> str:
    def cell(fleet: Mapping[str, Any], server: str) -> str:
        stack = fleet["stack"]
        return f"{stack['cpu_seconds'][server]:.1f} s, {stack['peak_bytes'].get(server, 0) / 2**20:.0f} MiB"

    columns = [("server", lambda name: name)]
    columns += [(f"{f['entities']:,} entities", lambda name, f=f: cell(f, name)) for f in fleets]
    meaning = (
        "CPU seconds and highest memory of every server while it ran, tasks with their worker; pages that several processes "
        "share are counted once."
    )
    return f"{table(SERVERS, columns)}\n\n{meaning}"


def _steps(fleets: Sequence[Mapping[str, Any]]) -> str:
    def cell(fleet: Mapping[str, Any], step: str) -> str:
        found = fleet["without"][step]
        return f"{found['wall_seconds']:.2f} s ({found['cpu_seconds']:.2f}), {found['peak_bytes'] / 2**20:.0f} MiB"

    columns = [("step without Airflow: wall (CPU), peak", lambda step: step)]
    columns += [(f"{f['entities']:,} entities", lambda step, f=f: cell(f, step)) for f in fleets]
    return table(STEPS, columns)


def _many(many: Mapping[str, Any]) -> str:
    seconds = many["seconds"]
    total = sum(seconds.values()) + 4 * many["overhead_seconds"]
    cluster = (
        f"### {many['entities']:,} entities on a cluster, calculated\n\n"
        f"{many['slots']} worker slots, {many['shards']} shards of {math.ceil(many['entities'] / many['shards']):,} entities in "
        f"{many['waves']} waves: align {seconds['align'] / 60:.0f} min ({many['align_cpu_seconds'] / 3600:.1f} CPU hours, "
        f"{many['shard_seconds']:.0f} s a shard), plan {seconds['plan']:.0f} s, reduce {seconds['reduce'] / 60:.1f} min, release "
        f"{seconds['release']:.0f} s, in all {total / 60:.0f} min."
    )
    assumptions = (
        "This is a projection, not a run. It assumes: cores like these, one per slot; steps that grow along the line between the two "
        f"largest fleets; {many['overhead_seconds']:.1f} s for each task instance, as at the largest; a scheduler that fills "
        f"{many['slots']} slots as fast as it fills these; a store that gives each slot what a local disk gave here; as much "
        "history and as many metrics as above (both count in proportion). What memory does is under *Growth*: a task holds one "
        "shard, and the steps that are one process grow by less than a KiB for each entity."
    )
    return f"{cluster}\n\n{assumptions}"


def plots(result: Mapping[str, Any], folder: Path) -> list[Path]:
    """Wall seconds with and without Airflow against entities, and the useful share; returns the picture's path."""
    from matplotlib.figure import Figure

    fleets = result["fleets"]
    entities = [f["entities"] for f in fleets]
    figure = Figure(figsize=(7.5, 3.2), layout="constrained", dpi=90)
    left, right = figure.subplots(1, 2)
    left.plot(entities, [f["stack"]["wall_seconds"] for f in fleets], marker="o", color="#2457a6", label="with Airflow")
    without = [sum(f["without"][s]["wall_seconds"] for s in STEPS) for f in fleets]
    left.plot(entities, without, marker="o", color="#3d9970", label="without")
    left.set(xscale="log", yscale="log", xlabel="entities", ylabel="wall seconds")
    left.legend(frameon=False, fontsize=8)
    for key, colour in (("wall", "#2457a6"), ("cpu", "#b8c0cc")):
        right.plot(entities, [useful(f)[key] for f in fleets], marker="o", color=colour, label=key)
    right.axhline(USEFUL, color="#1a1a1a", linestyle=":", linewidth=1, label=f"{USEFUL:.0%}")
    right.set(xscale="log", ylim=(0, 1), xlabel="entities", ylabel="useful share")
    right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / PICTURE, metadata={"Software": None})
    return [folder / PICTURE]
