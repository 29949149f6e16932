"""Shows what ``speed.run`` measured: Markdown tables and one picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

PICTURE = "speed.png"
COLOURS = ("#2457a6", "#c0392b", "#8a8f98", "#f2c14e")
CUDA_PARITY = 1e-5
"""Relative difference of the loss curve that training on CUDA promises (contracts 4.3)."""


def tables(result: Mapping[str, Any]) -> str:
    """One Markdown table per topic. Every ratio says what it divides by; ranges are over rounds."""
    machine = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    sections = [
        f"Measured in turns in one run of {result['seconds']:.0f} s, one thread, on {machine['processor']} "
        f"({machine['cores']} cores); Python {machine['python']}, {versions}. Telemetry: {result['settings']['data']}. "
        "Figures are medians over rounds, in brackets the lowest and the highest. **× side** is that side's seconds "
        "divided by the row's: above 1 the row is faster; in brackets the same ratio, round by round."
        + (" A quick run: it shows the order of things, not the figures." if result["quick"] else "")
    ]
    sections += [_topic(found) for found in result["topics"].values()]
    sections.append(_steps(result["topics"]["build"]["steps"]))
    sections += [_cuda(result["cuda"]), _memory(result), _sizes(result["sizes"])]
    return "\n\n".join(s for s in sections if s) + "\n"


def _topic(found: Mapping[str, Any]) -> str:
    baselines = found["baselines"]
    rounds = len(next(iter(found["sides"].values()))["seconds"])
    rows = []
    for name, side in found["sides"].items():
        ratios = [_bracketed(side["speedup"][b]) if b in side["speedup"] else "1" for b in baselines]
        rows.append([name, _bracketed(side["figure"]), *ratios])
    header = ["side", found["unit"], *(f"× {b}" for b in baselines)]
    plural = "round" if rounds == 1 else "rounds"
    return f"### {found['title']}\n\n{_sentence(found['what'])} {rounds} {plural}.\n\n{_table(header, rows)}"


def _steps(steps: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    names = list(steps)
    rows = [[step, *(_bracketed(steps[n][step]) for n in names)] for step in steps[names[0]]]
    header = ["step", *names]
    return f"Seconds of each step of that build, fixed costs (export, report) included:\n\n{_table(header, rows)}"


def _cuda(cuda: Mapping[str, Any] | None) -> str:
    if cuda is None:
        return "### Training (cuda)\n\nNot measured: torch finds no CUDA device."
    lines = []
    for name, parity in cuda["parity"].items():
        difference = parity["relative_difference"]
        verdict = "within" if difference <= CUDA_PARITY else "NOT within"
        lines.append(
            f"* {name}: the first epoch's loss differs from the CPU's by {difference:.1e} relative, {verdict} "
            f"{CUDA_PARITY:g} (without dropout and hidden metrics, whose draws are each device's own)."
        )
    return f"{_topic(cuda['training'])}\n\nOn {cuda['device']}.\n\n" + "\n".join(lines)


def _memory(result: Mapping[str, Any]) -> str:
    size = result["settings"]
    what = {
        "train": f"train on {size['memory_windows']} windows",
        "align": f"score and align one entity of {size['align_samples']} samples",
    }
    rows = []
    for work, sides in result["memory"].items():
        base = sides["published"]["peak_bytes"]
        for side, found in sides.items():
            ratio = "1" if side == "published" else f"{found['peak_bytes'] / base:.2f}"
            rows.append([what[work], side, _mib(found["peak_bytes"]), _mib(found["imports_bytes"]), ratio])
    header = ["work", "side", "peak MiB", "of which imports", "peak ÷ published's peak"]
    return (
        "### Peak memory\n\nMost resident memory of a fresh process that does one thing; one process each.\n\n"
        + _table(header, rows)
    )


def _sizes(sizes: Mapping[str, Any]) -> str:
    models = sizes["model_bytes"]
    rows = [
        [f"model, {name} " + ("(torch weights only)" if name == "published" else "(ONNX, whole graph)"), f"{n:,} bytes",
         "1" if name == "published" else f"{n / models['published']:.2f}"]
        for name, n in models.items()
    ]  # fmt: skip
    entities = f"{sizes['entities']:,} entities"
    rows += [
        [f"aligner, per entity (Parquet, {entities})", f"{sizes['aligner_bytes_per_entity']:.1f} bytes", ""],
*(
            [f"normalizer of {name}, per metric of an entity (Parquet, {entities})", f"{size:.1f} bytes", ""]
            for name, size in sizes["normalizer_bytes_per_metric"].items()
        ),
        ["published, per entity (C int32, Q float64, no key)", f"{sizes['published_bytes_per_entity']} bytes", ""],
    ]  # fmt: skip
    return f"### Size\n\n{_table(['what', 'size', '÷ published model'], rows)}"


def plots(result: Mapping[str, Any], folder: Path) -> list[Path]:
    """Bars of how many times faster than ``published`` each side is, with ranges; returns the picture's path."""
    from matplotlib.figure import Figure

    found = [t for t in result["topics"].values() if t["title"].split(" ", 1)[0] != "Whole"]
    rows = [
        (f"{_short(t['title'])}: {name}", side["speedup"]["published"], index)
        for index, t in enumerate(found)
        for name, side in t["sides"].items()
        if "published" in side["speedup"] and not name.startswith("published,")
    ]
    figure = Figure(figsize=(7.5, 0.6 + 0.28 * len(rows)), layout="constrained", dpi=75)
    axes = figure.subplots()
    for at, (_, ratio, index) in enumerate(rows):
        reach = [[ratio["median"] - ratio["min"]], [ratio["max"] - ratio["median"]]]
        reach = [[max(0.0, r[0])] for r in reach]
        axes.barh(at, ratio["median"], xerr=reach, color=COLOURS[index % len(COLOURS)], height=0.65, capsize=2)
        axes.text(ratio["max"] * 1.08, at, f"{ratio['median']:.3g}", va="center", fontsize=8)
    axes.axvline(1.0, color="#1a1a1a", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlim(right=axes.get_xlim()[1] * 1.6)
    axes.set_yticks(range(len(rows)), [label for label, _, _ in rows], fontsize=8)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("published's seconds ÷ these seconds (log; whisker: lowest and highest round)", fontsize=8)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PICTURE
    figure.savefig(path, metadata={"Software": None}, pil_kwargs={"optimize": True})
    return [path]


def _short(title: str) -> str:
    if title.startswith("Alignment"):
        return "Score and align" if title.endswith("from raw telemetry") else "Align"
    return title


def _bracketed(values: Mapping[str, float]) -> str:
    return f"{_number(values['median'])} [{_number(values['min'])}, {_number(values['max'])}]"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _mib(size: float) -> str:
    return f"{size / 2**20:.0f}"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
