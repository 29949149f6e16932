"""The HTML pages about a fleet, from the data of ``watch.fleet`` and ``watch.entity_list``.

All values are escaped, and a page loads only its own style sheet and script (``asset``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from importlib import resources
from typing import Any

from fleetalign.errors import NotFound
from fleetalign.explain.explain import STATES
from fleetalign.explain.text import FIGURE_LABELS, PROTOCOLS, estimate_text, number_text
from fleetalign.interval import parse_time
from fleetalign.watch.entity_list import EntityPage, Query
from fleetalign.watch.fleet import CheckedDay, FleetView, Release

ASSETS = {"page.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8"}
FIGURES = ("event_f1", "event_precision", "event_recall", "false_pages_per_entity_day")
UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))

Url = Callable[..., str]
"""``url("release/ID", page=2)`` is the address of an HTML page; empty parameters are left out."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where and to whom the HTML pages are served."""

    url: Url
    airflow: Callable[[str], str]
    """Address of a path of Airflow itself."""
    may_act: bool
    """Whether to offer actions that change the store."""
    now: datetime
    """Ages are counted up to this time."""


def asset(name: str) -> tuple[bytes, str]:
    """Return bytes and media type of the style sheet or the script.

    Raises:
        NotFound: There is no such file.
    """
    if name not in ASSETS:
        raise NotFound(f"there is no {name[:100]!r}")
    return _templates().joinpath(name).read_bytes(), ASSETS[name]


def fleet(site: Site, name: str, view: FleetView, entities: EntityPage | None, query: Query) -> str:
    """Render the Fleet page of the channel ``name``.

    ``entities`` is None if it points to no release.
    """
    return _render("fleet", site, name=name, view=view, entities=entities, query=query, chart=chart(view.days))


def release(site: Site, found: Release, provenance: Mapping[str, Any], channels: Sequence[str]) -> str:
    """Render a release: its parts, its quality, its verdicts, and the channels that point to it."""
    return _render("release", site, release=found, provenance=provenance, channels=channels)


def entity(site: Site, release_id: str, name: str, lines: Sequence[tuple[str, str]]) -> str:
    """Render the explanation of one entity, as ``fleetalign explain`` gives it."""
    return _render("entity", site, release_id=release_id, name=name, lines=lines)


def validation(site: Site, key: str, result: Mapping[str, Any], docs: Sequence[str]) -> str:
    """Render the validation of one partition from the object ``key``.

    ``docs`` are keys of its Data Docs.
    """
    return _render("validation", site, key=key, result=result, docs=docs)


def links(site: Site, title: str, found: Mapping[str, str]) -> str:
    """Render links to the artifacts of a run, title -> address."""
    return _render("links", site, title=title, links=found)


def sentence(site: Site, title: str, text: str) -> str:
    """Render an error as one sentence."""
    return _render("sentence", site, title=title, text=text)


@dataclass(frozen=True, slots=True)
class Bar:
    """One day of the chart, in units of its view box."""

    day: CheckedDay
    left: float
    top: float
    height: float
    budget: float | None
    """Height of the budget's line; None without a budget."""


@dataclass(frozen=True, slots=True)
class Chart:
    """The chart of pages per day against the budget."""

    bars: Sequence[Bar]
    width: float
    """Of the view box."""
    height: float
    """Of the view box."""
    base: float
    """Height of the zero line."""
    bar_width: float
    ticks: Sequence[tuple[float, str]]
    """(height, number) on the axis."""


def chart(days: Sequence[CheckedDay], width: float = 720.0, height: float = 190.0) -> Chart:
    """Lay out the chart of pages per day."""
    left, top, base = 48.0, 12.0, height - 24.0
    most = max([d.pages for d in days] + [d.budget for d in days if d.budget is not None], default=0.0) or 1.0

    def at(pages: float) -> float:
        return base - (base - top) * pages / most

    slot = (width - left) / max(len(days), 7)
    bars = [
        Bar(d, left + slot * (i + 0.15), at(d.pages), base - at(d.pages), None if d.budget is None else at(d.budget))
        for i, d in enumerate(days)
    ]
    ticks = [(at(most * share), number_text(most * share)) for share in (0.0, 0.5, 1.0)]
    return Chart(bars, width, height, base, slot * 0.7, ticks)


def span_text(span: timedelta) -> str:
    """Write a length of time in the largest unit that it holds twice: ``47 h``, ``3 d``."""
    seconds = abs(span.total_seconds())
    for length, unit in UNITS:
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _ago(now: datetime, when: datetime | str) -> str:
    span = now - (parse_time(when) if isinstance(when, str) else when)
    return f"{span_text(span)} ago" if span >= timedelta(0) else f"in {span_text(span)}"


def _when(when: datetime | str) -> str:
    return f"{parse_time(when) if isinstance(when, str) else when:%Y-%m-%d %H:%M} UTC"


def _factor(row: Mapping[str, Any]) -> str:
    """Describe how an entity's threshold moved."""
    if row["before"] is None:
        return "new"
    if row["factor"] is None or row["factor"] == 1:
        return "–"
    return f"{'▲' if row['factor'] > 1 else '▼'} × {row['factor']:.3g}"


def _templates() -> Any:
    return resources.files("fleetalign.watch") / "templates"


@cache
def _environment() -> Any:
    import jinja2

    loader = jinja2.FunctionLoader(lambda name: _templates().joinpath(f"{name}.html.j2").read_text("utf-8"))
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"estimate": estimate_text, "number": number_text, "when": _when, "factor": _factor}
    environment.globals |= {"labels": FIGURE_LABELS, "protocols": PROTOCOLS, "states": STATES, "shown": FIGURES}
    return environment


def _render(_name: str, site: Site, **context: Any) -> str:
    template = _environment().get_template(_name)
    html: str = template.render(site=site, url=site.url, ago=lambda when: _ago(site.now, when), **context)
    return html
