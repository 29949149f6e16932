"""Figures, gates and coverage as text for a terminal. No figure is printed without its controls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fleetalign.contracts.manifest import Gate, Manifest
from fleetalign.contracts.receipts import ReleaseReceipt
from fleetalign.evaluate.figures import SIDES, Figure

COLUMNS = ("figure", "detector [95 %]", "random score", "own alarms, shifted", "untrained network")
PROTOCOLS = {
    "judge_range": "judged on the judge range",
    "leave_one_incident_out": "no judge range: incidents of the calibrate range, each held out in turn",
}


def figures_text(figures: Sequence[Figure]) -> str:
    """One line per figure: the detector with its interval, then its controls."""
    rows = [COLUMNS]
    for figure in figures:
        cells = [_estimate(getattr(figure, side), side == "detector") for side in SIDES]
        rows.append((f"{figure.name} {figure.unit}".rstrip(), *cells))
    return _aligned(rows)


def _estimate(estimate: Any, interval: bool) -> str:
    if estimate is None or estimate.value is None:
        return "n/a"
    text = f"{estimate.value:.3g}"
    if interval and estimate.low is not None:
        text += f" [{estimate.low:.3g}, {estimate.high:.3g}]"
    return text


def gates_text(gates: Sequence[Gate]) -> str:
    """One line per gate: verdict, value, limit, why."""
    rows = [("gate", "verdict", "value", "limit", "why")]
    for gate in gates:
        value, limit = ("" if number is None else f"{number:.3g}" for number in (gate.value, gate.limit))
        rows.append((gate.name, gate.verdict.replace("_", " "), value, limit, gate.why))
    return _aligned(rows)


def release_text(release: Manifest | ReleaseReceipt) -> str:
    """Coverage, figures beside their controls, and gates of a release."""
    coverage = release.coverage
    states = ", ".join(f"{count} {state}" for state, count in coverage.by_state.items())
    parts = [f"entities {coverage.entities}, with a row of their own {coverage.own_rows} ({states})"]
    evaluation = release.evaluation
    if evaluation is None:
        parts.append("quality: nobody said anything to judge by; thresholds follow the page budget")
    else:
        parts.append(
            f"quality: {PROTOCOLS[evaluation['protocol']]} "
            f"({evaluation['entities']} entities, {evaluation['incidents']:g} incidents, {evaluation['judged_days']:.1f} labelled entity-days)"
        )
        parts.append(figures_text([Figure.from_json(f) for f in evaluation["figures"]]))
    parts.append(gates_text(release.gates))
    return "\n".join(parts)


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    lines = []
    for row in rows:
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)]
        lines.append("  " + "  ".join([*cells, row[-1]]).rstrip())
    return "\n".join(lines)
