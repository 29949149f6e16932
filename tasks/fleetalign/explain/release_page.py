"""The report of a release: a self-contained HTML page of its parts, quality and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from fleetalign.contracts.manifest import Gate
from fleetalign.contracts.tables import STATES
from fleetalign.evaluate.figures import Figure
from fleetalign.explain.plots import EntityTrace, LossCurve, loss_plot, trace_plot
from fleetalign.explain.text import FIGURE_LABELS, PROTOCOLS, estimate_text, number_text


@dataclass(frozen=True, slots=True)
class ExplainedEntity:
    """An explained entity."""

    kind: str
    entity_id: str
    why: str
    """Why it was chosen."""
    lines: Sequence[tuple[str, str]]
    """(label, text) of each line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """The content of the report."""

    release_id: str
    data_version: str
    kinds: Sequence[Mapping[str, str]]
    """Rows of the overview (column name -> text), one per kind."""
    ranges: Mapping[str, Mapping[str, Mapping[str, str] | None]]
    """Kind -> name -> ``{"start", "end"}`` or None, as in the manifest."""
    coverage: Mapping[str, int]
    """Entities per aligner state."""
    gates: Sequence[Gate]
    figures: Sequence[Figure] = ()
    """Empty if nothing was judged."""
    protocol: str = ""
    """Empty if nothing was judged."""
    judged: str = ""
    """How much was judged, as text: entities, incidents, days."""
    unjudged_why: str = ""
    """Why nothing was judged."""
    losses: Mapping[str, LossCurve] = field(default_factory=dict)
    """By kind."""
    traces: Sequence[EntityTrace] = ()
    explained: Sequence[ExplainedEntity] = ()


def render(data: ReportData) -> bytes:
    """Render the report as UTF-8 HTML without external resources.

    The same data gives the same bytes.
    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["estimate"] = estimate_text
    environment.filters["number"] = number_text
    source = (resources.files("fleetalign.explain") / "templates" / "report.html.j2").read_text("utf-8")
    total = sum(data.coverage.values())
    context: dict[str, Any] = {
        "data": data,
        "labels": FIGURE_LABELS,
        "protocol": PROTOCOLS.get(data.protocol, data.protocol),
        "verdict": "failed" if any(gate.verdict == "fail" for gate in data.gates) else "passed",
        "states": [(s, data.coverage.get(s, 0), 100 * data.coverage.get(s, 0) / max(total, 1)) for s in STATES],
        "total": total,
        "losses": [
            (kind, Markup(_own_ids(loss_plot(curve), f"loss{i}")))
            for i, (kind, curve) in enumerate(data.losses.items())
        ],
        "traces": [(trace, Markup(_own_ids(trace_plot(trace), f"trace{i}"))) for i, trace in enumerate(data.traces)],
    }
    return environment.from_string(source).render(context).encode()


def _own_ids(svg: str, prefix: str) -> str:
    """Prefix the element ids of a plot, which matplotlib numbers from 1 in every plot."""
    return svg.replace('id="', f'id="{prefix}-').replace('"#', f'"#{prefix}-').replace("url(#", f"url(#{prefix}-")
