"""Shows what ``growth.run`` measured: Markdown tables and two pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

COLOURS = {
    "plan": "#8a8f98", "pretrain": "#f2c14e", "align": "#2457a6", "reduce": "#3d9970", "release": "#c0392b",
    "score": "#7d4fa6",
}  # fmt: skip
TIME, MEMORY = "growth-time.png", "growth-memory.png"
BYTES = {
    "model": "model, whatever the fleet's size",
    "aligner_per_entity": "aligner table, per entity",
    "normalizer_per_entity": "normalizer table, per entity",
    "shard_tables_per_entity": "shard tables while a plan is built, per entity",
    "telemetry_per_entity": "validated telemetry, per entity",
}
FLAT = 1.25
"""Memory is flat when the largest fleet's peak is at most this many times that of the one before, ten times smaller:
small fleets do not fill what is bounded (row groups of 8,192 rows, blocks of telemetry), and ids must be somewhere."""


def tables(result: Mapping[str, Any]) -> str:
    """Write findings, then seconds, peak memory and bytes of every fleet, as Markdown."""
    machine, settings, sizes = result["machine"], result["settings"], result["sizes"]
    numbers = [f"{s['entities']:,}" for s in sizes]
    names = list(dict.fromkeys(name for s in sizes for name in s["steps"]))
    sections = [
        f"Measured in {result['seconds']:.0f} s on {machine['processor']} ({machine['cores']} cores); every "
        f"step in a process of its own, align and score in {settings['workers']}, one thread each. Network {result['network']}; each entity has {settings['metrics']} metrics and "
        f"{settings['steps']} samples of {settings['step_seconds']} s, feedback on "
        f"{settings['spoken_share']:.0%} of the fleet. Seconds and peaks include loading the step's libraries. Peaks "
        "count mapped files that are resident."
        + (" A quick run: it shows the order of things, not the figures." if result["quick"] else ""),
        *(_findings(result["findings"], what) for what in ("time", "memory")),
        "### Seconds: wall (CPU)\n\n" + _table(["step", *numbers], [
            [name, *(_cell(s, name, lambda f: f"{f['wall_seconds']:.1f} ({f['cpu_seconds']:.1f})") for s in sizes)]
            for name in names
        ]),
        "### CPU milliseconds per entity, fixed costs included\n\n" + _table(["step", *numbers], [
            [name, *(_cell(s, name, lambda f, s=s: f"{1000 * f['cpu_seconds'] / s['entities']:.3g}") for s in sizes)]
            for name in names
        ]),
        "### Peak resident memory, MiB\n\n" + _table(["step", *numbers], [
            [name, *(_cell(s, name, lambda f: f"{f['peak_bytes'] / 2**20:.0f}") for s in sizes)] for name in names
        ]),
        "### Bytes, compressed\n\n" + _table(["what", *numbers], [
            [label, *(f"{s['bytes'][key]:,.0f}" for s in sizes)] for key, label in BYTES.items()
        ]),
    ]  # fmt: skip
    return "\n\n".join(sections) + "\n"


def _findings(found: Sequence[Mapping[str, Any]], what: str) -> str:
    mine = [f for f in found if f["what"] == what]
    bad = [f["step"] for f in mine if f["good"] is False]
    word = {"time": "straight", "memory": "flat"}[what]
    meaning = {
        "time": "",
        "memory": f" Flat: the largest fleet takes at most {FLAT:g} times what one of a tenth takes.",
    }[what]
    verdict = (
        f"{what.capitalize()} is not {word} in: {', '.join(bad)}."
        if bad
        else f"{what.capitalize()} is {word} everywhere."
    )
    if not mine or any(f["good"] is None for f in mine):
        verdict = f"Too few fleets to say whether {what} is {word}."
    return f"**{verdict}**{meaning}\n\n" + "\n".join(f"* {f['step']}: {f['text']}" for f in mine)


def _cell(size: Mapping[str, Any], step: str, show) -> str:
    return show(size["steps"][step]) if step in size["steps"] else ""


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *("---:" for _ in header[1:])], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plots(result: Mapping[str, Any], folder: Path) -> list[Path]:
    """Plot CPU seconds and peak memory against entities and return both paths.

    The CPU plot also shows the straight line through the origin.
    """
    sizes = result["sizes"]
    entities = [s["entities"] for s in sizes]

    def line(step: str, field: str, unit: float) -> list[float]:
        return [s["steps"][step][field] / unit for s in sizes]

    figure, axes = _figure("CPU seconds")
    for step, colour in COLOURS.items():
        axes.plot(entities, line(step, "cpu_seconds", 1.0), color=colour, marker="o", markersize=4, label=step)
    total = [sum(s["steps"][step]["cpu_seconds"] for step in COLOURS) for s in sizes]
    axes.plot(entities, total, color="#1a1a1a", marker="o", markersize=4, linewidth=2, label="all of these")
    straight = [total[-1] * n / entities[-1] for n in entities]
    axes.plot(entities, straight, color="#1a1a1a", linestyle=":", linewidth=1, label="straight line through the origin")
    axes.set_yscale("log")
    paths = [_save(figure, axes, folder / TIME)]
    figure, axes = _figure("peak resident memory, MiB")
    for step, colour in COLOURS.items():
        axes.plot(entities, line(step, "peak_bytes", 2**20), color=colour, marker="o", markersize=4, label=step)
    axes.set_ylim(bottom=0)
    return [*paths, _save(figure, axes, folder / MEMORY)]


def _figure(label: str):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.2), layout="constrained", dpi=90)
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.set_xlabel("entities")
    axes.set_ylabel(label)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure, axes, path: Path) -> Path:
    axes.legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
    return path
