"""Text of figures, gates and coverage, for terminals and HTML pages.

Every figure is shown with its controls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fleetalign.contracts.manifest import Gate, Manifest
from fleetalign.contracts.receipts import ReleaseReceipt
from fleetalign.evaluate.bootstrap import Estimate
from fleetalign.evaluate.figures import SIDES, Figure

COLUMNS = ("figure", "detector [95 %]", "random score", "own alarms, shifted", "untrained network")
FIGURE_LABELS = {
    "event_f1": "Event F1 (pooled)",
    "event_f1_mean_over_entities": "Event F1 (mean over entities)",
    "event_precision": "Event precision",
    "event_recall": "Event recall",
    "false_pages_per_entity_day": "False pages per entity-day",
    "median_delay_seconds": "Median delay of a hit",
    "point_f1": "Point F1",
    "point_adjusted_f1": "Point-adjusted F1 ¹",
    "hits": "Incidents hit",
    "missed": "Incidents missed",
    "false_pages": "False pages",
}
PROTOCOLS = {
    "judge_range": "judged on the judge range, which nothing was fitted on",
    "leave_one_incident_out": "leave-one-incident-out on the calibrate range, because there is no judge range",
}


def number_text(value: float | None) -> str:
    """Write a number with three significant digits, or a dash for None."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def estimate_text(estimate: Estimate | None) -> str:
    """Write an estimate with its interval, or a dash for None."""
    if estimate is None or estimate.value is None:
        return "–"
    if estimate.low is None or estimate.high is None:
        return number_text(estimate.value)
    return f"{number_text(estimate.value)} [{number_text(estimate.low)}, {number_text(estimate.high)}]"


def figures_text(figures: Sequence[Figure]) -> str:
    """Write one line per figure: the detector with its interval, then its controls."""
    lines: list[tuple[str, ...]] = [COLUMNS]
    for figure in figures:
        cells = [_estimate(getattr(figure, side), side == "detector") for side in SIDES]
        lines.append((f"{figure.name} {figure.unit}".rstrip(), *cells))
    return _aligned(lines)


def _estimate(estimate: Any, interval: bool) -> str:
    if estimate is None or estimate.value is None:
        return "n/a"
    text = f"{estimate.value:.3g}"
    if interval and estimate.low is not None:
        text += f" [{estimate.low:.3g}, {estimate.high:.3g}]"
    return text


def gates_text(gates: Sequence[Gate]) -> str:
    """Write one line per gate: verdict, value, limit, why."""
    lines = [("gate", "verdict", "value", "limit", "why")]
    for gate in gates:
        value, limit = ("" if number is None else f"{number:.3g}" for number in (gate.value, gate.limit))
        lines.append((gate.name, gate.verdict.replace("_", " "), value, limit, gate.why))
    return _aligned(lines)


def release_text(release: Manifest | ReleaseReceipt) -> str:
    """Write the coverage, figures and gates of a release."""
    coverage = release.coverage
    states = ", ".join(f"{count} {state}" for state, count in coverage.by_state.items())
    parts = [f"entities {coverage.entities}, with a row of their own {coverage.own_rows} ({states})"]
    evaluation = release.evaluation
    if evaluation is None:
        parts.append("quality: not judged, there is no feedback; thresholds follow the page budget")
    else:
        parts.append(
            f"quality: {PROTOCOLS[evaluation['protocol']]} "
            f"({evaluation['entities']} entities, {evaluation['incidents']:g} incidents, {evaluation['judged_days']:.1f} labelled entity-days)"
        )
        parts.append(figures_text([Figure.from_json(f) for f in evaluation["figures"]]))
    parts.append(gates_text(release.gates))
    return "\n".join(parts)


def _aligned(table: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]) - 1)]
    lines = []
    for line in table:
        cells = [f"{cell:<{width}}" for cell, width in zip(line, widths, strict=False)]
        lines.append("  " + "  ".join([*cells, line[-1]]).rstrip())
    return "\n".join(lines)
