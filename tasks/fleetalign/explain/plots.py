"""Plots of reports as deterministic SVG text, without a date and with fixed element ids.

It needs ``matplotlib``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_INCHES = 11.0
INK, QUIET, DETECTOR, ALARM, INCIDENT = "#1a1a1a", "#8a8f98", "#2457a6", "#c0392b", "#f2c14e"
MAX_POINTS = 2_000
"""Columns per line: a wider trace is drawn as the largest value of each bin, so that no peak disappears."""


@dataclass(frozen=True, slots=True)
class LossCurve:
    """Mean loss per epoch."""

    train: Sequence[float]
    validation: Sequence[float | None]
    """None for an epoch without validation windows."""
    best_epoch: int
    """Counted from 0."""


@dataclass(frozen=True, slots=True)
class EntityTrace:
    """One entity over time, on its grid."""

    role: str
    """Why it is shown, such as best, median or worst."""
    kind: str
    entity_id: str
    summary: str
    """One sentence: event F1, hits, false pages."""
    times: np.ndarray
    """datetime64 [t]"""
    score: np.ndarray
    """float [t]; NaN without a score."""
    margin: np.ndarray
    """float [t]; NaN without a score."""
    pages: np.ndarray
    """int [n, 2]: half-open index pairs."""
    incidents: np.ndarray
    """int [n, 2]: half-open index pairs."""


def loss_plot(curve: LossCurve) -> str:
    """Plot training and validation loss over epochs, and mark the chosen epoch."""
    figure, (axes,) = stacked_axes(1, WIDTH_INCHES / 2, 2.6)
    epochs = np.arange(1, len(curve.train) + 1)
    axes.plot(epochs, curve.train, color=QUIET, marker="o", markersize=3, label="train")
    axes.plot(
        epochs,
        np.array(curve.validation, dtype=np.float64),
        color=DETECTOR,
        marker="o",
        markersize=3,
        label="validation",
    )
    axes.axvline(curve.best_epoch + 1, color=INK, linewidth=0.8, linestyle=":", label="chosen")
    axes.set_xticks(epochs)
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss (smooth L1)")
    axes.legend(frameon=False, fontsize=8)
    return svg_text(figure)


def trace_plot(trace: EntityTrace) -> str:
    """Plot score and margin over time, with incidents shaded and pages as bars between the two."""
    figure, (above, middle, below) = stacked_axes(3, WIDTH_INCHES, 3.6, heights=(4, 1, 4))
    times = trace.times.astype("datetime64[ms]").astype("O")
    step = trace.times[1] - trace.times[0] if len(trace.times) > 1 else np.timedelta64(60, "s")
    ends = np.append(trace.times, trace.times[-1:] + step).astype("datetime64[ms]").astype("O")
    for axes in (above, middle, below):
        for start, end in trace.incidents:
            axes.axvspan(ends[start], ends[end], color=INCIDENT, alpha=0.45, linewidth=0)
    bins = _bins(len(times))
    above.plot([times[b] for b in bins[:-1]], _peaks(trace.score, bins), color=INK, linewidth=0.7)
    above.set_ylabel("score")
    above.set_yscale("symlog", linthresh=max(float(np.nanmedian(trace.score)), 1e-3) if _any(trace.score) else 1.0)
    for start, end in trace.pages:
        middle.axvspan(ends[start], ends[end], color=ALARM, linewidth=1.2)
    middle.set_yticks([])
    middle.set_ylabel("pages", rotation=0, ha="right", va="center")
    margin = _peaks(trace.margin, bins)
    below.plot([times[b] for b in bins[:-1]], margin, color=DETECTOR, linewidth=0.7)
    below.axhline(0.0, color=ALARM, linewidth=0.8)
    below.set_yscale("symlog", linthresh=max(float(np.nanmedian(np.abs(margin))), 1e-3) if _any(margin) else 1.0)
    below.set_ylabel("margin")
    if len(times):
        below.set_xlim(ends[0], ends[-1])
    return svg_text(figure)


def backtest_plot(sides: Sequence[Mapping[str, Any]], changes: Sequence[tuple[str, int, int]]) -> str:
    """Plot the pages of two configurations by day, by hour (UTC), and by entity.

    ``sides`` comes from ``release.backtest.document``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCHES, 5.6 if changes else 4.0), layout="constrained")
    days = sorted({day for side in sides for day in side["by_day"]})
    charts: list[tuple[str, Sequence[str], list[list[int]]]] = [
        ("pages by day", [day[5:] for day in days], [[side["by_day"].get(d, 0) for d in days] for side in sides]),
        ("pages by hour, UTC", [str(hour) for hour in range(24)], [side["by_hour"] for side in sides]),
    ]
    if changes:
        names, first, second = zip(*changes, strict=True)
        charts.append(("pages of the entities that changed most", [shortened(n) for n in names], [[*first], [*second]]))
    for axes, (label, ticks, heights) in zip(figure.subplots(len(charts), 1, squeeze=False)[:, 0], charts, strict=True):
        at = np.arange(len(ticks))
        for offset, side, height, color in zip((-0.2, 0.2), sides, heights, (QUIET, DETECTOR), strict=True):
            axes.bar(at + offset, height, width=0.4, color=color, label=side["name"])
        axes.set_xticks(at, ticks, fontsize=7)
        axes.set_ylabel(label, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.yaxis.get_major_locator().set_params(integer=True)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False, fontsize=8)
    return svg_text(figure)


def shortened(name: str, most: int = 18) -> str:
    """Cut the beginning of a name longer than ``most`` characters."""
    return name if len(name) <= most else "…" + name[1 - most :]


def _any(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).any())


def _bins(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count, min(count, MAX_POINTS) + 1).astype(int))


def _peaks(values: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """Take the largest value of each bin; NaN for a bin without any."""
    if len(values) == 0:
        return np.empty(0)
    filled = np.where(np.isfinite(values), values, -np.inf).astype(np.float64)
    peaks = np.maximum.reduceat(filled, bins[:-1])
    return np.where(np.isfinite(peaks), peaks, np.nan)


def stacked_axes(
    count: int, width: float, height: float, heights: Sequence[float] = (1,)
) -> tuple[Figure, Sequence[Axes]]:
    """Create a figure with ``count`` axes below each other that share the x axis.

    Sizes are in inches.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes: list[Axes] = [*figure.subplots(count, 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]]
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.tick_params(labelsize=8)
        one.yaxis.label.set_fontsize(9)
        one.xaxis.label.set_fontsize(9)
    return figure, axes


def svg_text(figure: Figure) -> str:
    """Write the figure as an ``<svg>`` element without XML header, date or random ids."""
    import matplotlib

    sink = StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "fleetalign", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(sink, format="svg", metadata={"Date": None, "Creator": None})
    text = sink.getvalue()
    return text[text.index("<svg") :]
