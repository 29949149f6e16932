"""The verdict of a promotion as Markdown, for the person who approves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fleetalign.contracts.manifest import Gate
from fleetalign.release.promote import Assessment

FIGURES = ("event_f1", "event_precision", "event_recall", "false_pages_per_entity_day")
CONTROLS = ("random", "shifted", "untrained")


def markdown(found: Assessment) -> str:
    """Write what would move, every gate, and the figures beside their controls."""
    coverage = found.manifest.coverage
    return "\n\n".join(
        [
            f"**`{found.manifest.release_id}` to `{found.channel}`.** {_instead_of(found)}",
            _gates(found.gates),
            _figures(found.manifest.evaluation),
            f"{coverage.own_rows} of {coverage.entities} entities have a row of their own.",
            f"Rejected, or without an answer in time, `{found.channel}` stays as it is.",
        ]
    )


def _instead_of(found: Assessment) -> str:
    if found.current is None:
        return "The channel points nowhere yet."
    return f"It now points to `{found.current.release_id}`, since {found.current.moved_at}."


def _gates(gates: Sequence[Gate]) -> str:
    rows = [[g.name, f"**{g.verdict}**", _number(g.value), _number(g.limit), _cell(g.why)] for g in gates]
    return _table(["gate", "verdict", "value", "limit", "why"], rows)


def _figures(evaluation: Mapping[str, Any] | None) -> str:
    if not evaluation:
        return "There is no feedback about its time, so there are no figures of quality."
    rows = []
    for figure in (f for f in evaluation["figures"] if f["name"] in FIGURES):
        detector = figure["detector"]
        interval = f"{_number(detector['value'])} [{_number(detector['low'])}, {_number(detector['high'])}]"
        rows.append([figure["name"], interval, *(_number((figure[c] or {}).get("value")) for c in CONTROLS)])
    judged = f"Judged: {evaluation['protocol']}, {evaluation['incidents']:g} incidents."
    return f"{judged}\n\n{_table(['figure', 'detector [95 %]', *CONTROLS], rows)}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, ["---"] * len(header), *rows])


def _number(value: Any) -> str:
    return "–" if value is None else f"{value:.3g}" if isinstance(value, int | float) else _cell(str(value))


def _cell(text: str) -> str:
    """Text that stays in its cell."""
    return text.replace("|", "\\|").replace("\n", " ")
