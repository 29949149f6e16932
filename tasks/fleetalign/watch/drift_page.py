"""A drift report as text for a terminal and as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import numpy as np

from fleetalign.explain.plots import ALARM, DETECTOR, INK, QUIET, WIDTH_INCHES, shortened, stacked_axes, svg_text
from fleetalign.explain.text import number_text
from fleetalign.watch.measures import limit_share

MOST_PLOTTED = 40
MEANINGS = {
    "shifted_share": "share of entities whose mean lies more than {shift_scales:g} scales from their usual level",
    "spread_ratio": "how much the metric varies, in the scales of the release; median entity",
    "clipped_share": "share of values that are clipped before the network sees them",
    "score_ratio": "95 % quantile of scores against that of the control days, up or down; median entity",
    "new_share": "share of the day's entities that the release does not know",
    "silent_share": "share of the release's entities that sent nothing",
    "pages_per_entity_day": "pages that the release sends, per entity and day, against the limit of its own gate",
}


def by_urgency(measures: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Sort findings first, then by distance to the limit; a measure without a value comes last."""

    def key(measure: Mapping[str, Any]) -> tuple[bool, float]:
        near = -1.0 if measure["value"] is None else limit_share(measure, measure["value"])
        return not measure["drifted"], -near

    return sorted(measures, key=key)


def text(report: Mapping[str, Any]) -> str:
    """Write the findings with control days and worst entities, the alarm rate and the coverage."""
    found = [m for m in by_urgency(report["measures"]) if m["drifted"]]
    head = f"{report['day']} against release {report['release_id']}: "
    lines = [head + (f"{len(found)} of {len(report['measures'])} measures drifted" if found else "no drift")]
    for measure in found:
        lines.append(f"  {in_words(measure)}")
        lines.append(f"    {meaning(report, measure)}; control days {control_text(measure)}")
        if measure["worst"]:
            lines.append(f"    worst: {worst_text(measure)}")
    rate = report["alarm_rate"]
    lines.append(
        f"pages per entity-day: {number_text(rate['value'])}, limit {number_text(rate['limit'])} ({rate['verdict']}); "
        f"when aligned {number_text(rate['when_aligned'])}"
    )
    for kind, one in report["kinds"].items():
        days = ", ".join(one["control_days"]) or "none"
        lines.append(f"{kind}: {one['seen']} entities, {one['new']} new, {one['silent']} silent; control days {days}")
    return "\n".join(lines)


def in_words(measure: Mapping[str, Any]) -> str:
    """Write a measure with its value and its limit."""
    name = " ".join(filter(None, (measure["kind"], measure["name"], measure["metric"])))
    return f"{name}: {number_text(measure['value'])}, limit {number_text(measure['limit'])}"


def meaning(report: Mapping[str, Any], measure: Mapping[str, Any]) -> str:
    """Explain what a measure means."""
    return MEANINGS[measure["name"]].format(**report["limits"])


def control_text(measure: Mapping[str, Any]) -> str:
    """List the values of the control days."""
    return ", ".join(map(number_text, measure["control"])) or "none"


def worst_text(measure: Mapping[str, Any]) -> str:
    """List the worst entities with their values."""
    return ", ".join(
        w["entity_id"] + ("" if w["value"] is None else f" {number_text(w['value'])}") for w in measure["worst"]
    )


def render(report: Mapping[str, Any]) -> bytes:
    """Render the page as UTF-8 HTML without external resources.

    The same report gives the same bytes.
    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = number_text
    source = (resources.files("fleetalign.watch") / "templates" / "drift.html.j2").read_text("utf-8")
    measures = by_urgency(report["measures"])
    context = {
        "report": report,
        "findings": sum(m["drifted"] for m in measures),
        "rows": [(m, meaning(report, m), control_text(m), worst_text(m)) for m in measures],
        "picture": Markup(drift_plot(measures[:MOST_PLOTTED])),
        "plotted": min(len(measures), MOST_PLOTTED),
    }
    return environment.from_string(source).render(context).encode()


def drift_plot(measures: Sequence[Mapping[str, Any]]) -> str:
    """Draw each measure as a share of its limit, the day as a dot, control days as ticks."""
    figure, (axes,) = stacked_axes(1, WIDTH_INCHES, 0.6 + 0.24 * len(measures))
    for row, one in enumerate(measures):
        shares = [limit_share(one, value) for value in one["control"] if value is not None]
        axes.plot(shares, [row] * len(shares), "|", color=QUIET, markersize=9)
        if one["value"] is not None:
            color = ALARM if one["drifted"] else DETECTOR
            axes.plot(limit_share(one, one["value"]), row, "o", color=color, markersize=5)
    axes.axvline(1.0, color=INK, linewidth=0.8, linestyle=":")
    labels = [" ".join(filter(None, (m["kind"], m["name"], m["metric"]))) for m in measures]
    axes.set_yticks(np.arange(len(labels)), [shortened(label, 48) for label in labels], fontsize=8)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xscale("symlog", linthresh=1.0)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlim(left=-0.05)
    axes.set_xlabel("share of the limit")
    return svg_text(figure)
