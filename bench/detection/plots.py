"""Pictures of the detection benchmark, small PNGs for a page (needs ``matplotlib``). No date, no tool in the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.detection.curves import FOLLOWED_DAILY, KEPT
from bench.detection.decisions import ADJUSTED, EVENTS, FOLLOWED, PUBLISHED, SILENT
from bench.detection.methods import ORDER, RANDOM, SHAREAD, UNTRAINED, VIEWS

INK, QUIET, PRODUCT, REFERENCE = "#1a1a1a", "#8a8f98", "#2457a6", "#c0392b"
MARKERS = {PUBLISHED: "s", EVENTS: "o", FOLLOWED: "D", ADJUSTED: "^", SILENT: "x"}
LEAST_PAGES = 0.01
"""Left edge of the page axis: fewer false pages than one in a hundred entity-days are drawn there."""
DPI = 80


def plots(result: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write the pictures that ``result`` has figures for into ``folder``; returns their paths."""
    sets = result["sets"]
    made = {"detection_ranking.png": _panels(sets, _ranking, 3.4), "detection_pages.png": _panels(sets, _pages, 3.8)}
    for name, key, draw in (
        ("masked", "masked_metrics", _masked),
        ("history", "history", _history),
        ("marks", "marks", _marks),
    ):
        with_curve = {n: found for n, found in sets.items() if found.get(key)}
        if with_curve:
            made[f"detection_{name}.png"] = _panels(with_curve, draw, 3.0)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in made.items():
        figure.savefig(folder / name, metadata={"Software": None})
        paths.append(folder / name)
    return paths


def _panels(sets: Mapping[str, Any], draw: Callable[[Any, Mapping[str, Any], bool], None], height: float):
    """One panel per set, three in a row."""
    from matplotlib.figure import Figure

    columns = min(3, len(sets))
    rows = -(-len(sets) // columns)
    figure = Figure(figsize=(3.6 * columns + 1.4, height * rows), layout="constrained", dpi=DPI)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for at, (axes, (name, found)) in enumerate(zip(grid, sets.items(), strict=False)):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        axes.set_title(f"{name} ({found['entities']} entities)", fontsize=9, color=INK)
        draw(axes, found, at % columns == 0)
    for axes in grid[len(sets) :]:
        axes.set_visible(False)
    handles, labels = grid[0].get_legend_handles_labels()
    if labels:
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure


def _colour(method: str) -> str:
    return PRODUCT if method == VIEWS else REFERENCE if method == SHAREAD else QUIET


def _ranking(axes, found: Mapping[str, Any], leftmost: bool) -> None:
    """VUS-PR per method with its interval; lines where the two controls end."""
    rows = [row for row in found["ranking"] if row["vus_pr"]["value"] is not None]
    for at, row in enumerate(rows):
        value, interval = row["vus_pr"]["value"], row["vus_pr"]["interval"]
        reach = None
        if interval["low"] is not None:
            reach = [[max(0.0, value - interval["low"])], [max(0.0, interval["high"] - value)]]
        axes.barh(at, value, xerr=reach, color=_colour(row["method"]), height=0.7, capsize=2)
    for row in rows:
        if row["method"] in (RANDOM, UNTRAINED):
            axes.axvline(row["vus_pr"]["value"], color=INK, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(rows)), [row["method"] for row in rows] if leftmost else [""] * len(rows))
    axes.invert_yaxis()
    axes.set_xlabel("VUS-PR [95 %]; dotted: random, untrained", fontsize=8)


def _pages(axes, found: Mapping[str, Any], leftmost: bool) -> None:
    """Plot false pages per entity-day against event F1; the marker is the aligner."""
    for policy, marker in MARKERS.items():
        rows = [r for r in found["decisions"] if r["policy"] == policy]
        rows = [r for r in rows if r["measures"]["event_f1"]["value"] is not None]
        across = [max(r["measures"]["false_pages_per_entity_day"]["value"] or 0.0, LEAST_PAGES) for r in rows]
        up = [r["measures"]["event_f1"]["value"] for r in rows]
        axes.scatter(across, up, marker=marker, s=26, c=[_colour(r["method"]) for r in rows])
        axes.scatter([], [], marker=marker, s=26, color=INK, label=policy)
    for label, colour in (("views", PRODUCT), (SHAREAD, REFERENCE), ("others and controls", QUIET)):
        axes.scatter([], [], marker="o", s=26, color=colour, label=label)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("false pages per entity-day (log)", fontsize=8)
    if leftmost:
        axes.set_ylabel("event F1", fontsize=8)


def _masked(axes, found: Mapping[str, Any], leftmost: bool) -> None:
    """VUS-PR (solid) and event F1 (dashed: thresholds kept, dotted: followed daily) against metrics that are missing."""
    for method in (m for m in ORDER if any(p["method"] == m for p in found["masked_metrics"])):
        for thresholds, dashes in ((KEPT, "--"), (FOLLOWED_DAILY, ":")):
            mine = [p for p in found["masked_metrics"] if (p["method"], p["thresholds"]) == (method, thresholds)]
            across, label = [p["dropped"] for p in mine], f"{method}: event F1, {thresholds}"
            if thresholds == KEPT:
                _line(axes, across, [p["vus_pr"] for p in mine], _colour(method), "-", f"{method}: VUS-PR")
            _line(axes, across, [p["event_f1"] for p in mine], _colour(method), dashes, label)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("metrics missing while scoring", fontsize=8)
    axes.set_title(found["name"], fontsize=9, color=INK)


def _history(axes, found: Mapping[str, Any], leftmost: bool) -> None:
    """Event F1 and false pages per entity-day of newcomers against days of history."""
    points = found["history"]
    across = [p["train_days"] if p["days"] is None else p["days"] for p in points]
    _line(axes, across, [p["event_f1"] for p in points], PRODUCT, "-", "event F1")
    pages = [p["false_pages_per_entity_day"] for p in points]
    _line(axes, across, pages, REFERENCE, "--", "false pages per entity-day")
    axes.set_xscale("log")
    axes.set_xticks(across, [f"{d:.3g}" for d in across])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("days of history", fontsize=8)
    axes.set_title(f"{found['name']} ({points[0]['entities']} newcomers)", fontsize=9, color=INK)


def _marks(axes, found: Mapping[str, Any], leftmost: bool) -> None:
    """Event F1 with its interval and false pages per entity-day against marks per entity, pooled and worst decile."""
    points = found["marks"]["points"]
    across = range(len(points))
    values = {name: [p["measures"][name] for p in points] for name in points[0]["measures"]}
    shown = [(x, m) for x, m in zip(across, values["event_f1"], strict=True) if m["low"] is not None]
    axes.fill_between(
        [x for x, _ in shown], *([m[end] for _, m in shown] for end in ("low", "high")), color=PRODUCT, alpha=0.15
    )
    for name, colour, style, label in (
        ("event_f1", PRODUCT, "-", "event F1 [95 %]"),
        ("worst_event_f1", PRODUCT, "--", "event F1, worst decile"),
        ("false_pages_per_entity_day", REFERENCE, "-", "false pages per entity-day"),
        ("worst_false_pages_per_entity_day", REFERENCE, "--", "false pages, worst decile"),
    ):
        _line(axes, across, [m["value"] for m in values[name]], colour, style, label)
    _line(axes, across, [m["random"] for m in values["event_f1"]], QUIET, ":", "event F1, random score")
    axes.set_xticks(list(across), ["all" if p["marks"] is None else str(p["marks"]) for p in points])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("marks per entity (all: every sample labelled)", fontsize=8)


def _line(axes, across: Sequence[float], up: Sequence[float | None], colour: str, style: str, label: str) -> None:
    known = [(x, y) for x, y in zip(across, up, strict=True) if y is not None]
    axes.plot(
        *zip(*known, strict=True) if known else ([], []), style, color=colour, marker="o", markersize=3, label=label
    )
