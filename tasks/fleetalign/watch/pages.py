"""The pages about a fleet as HTML: what ``fleet_view`` and ``entity_pages`` found, for a browser.

Everything is escaped, and no page asks for anything but its own style sheet and script (``asset``).
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
"""``url("release/ID", page=2)``: where a page is; parameters that are empty are left out."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where the pages are served: ``url`` of one of them, ``airflow`` of a path of Airflow's own; ``may_act``: whether
    to offer what changes something; ``now`` is what ages are counted from."""

    url: Url
    airflow: Callable[[str], str]
    may_act: bool
    now: datetime


def asset(name: str) -> tuple[bytes, str]:
    """Bytes and media type of the style sheet or the script. Raises NotFound."""
    if name not in ASSETS:
        raise NotFound(f"there is no {name[:100]!r}")
    return _templates().joinpath(name).read_bytes(), ASSETS[name]


def fleet(site: Site, name: str, view: FleetView, entities: EntityPage | None, query: Query) -> str:
    """The Fleet page of channel ``name``; ``entities`` is None where nothing was promoted to it."""
    return _render("fleet", site, name=name, view=view, entities=entities, query=query, chart=chart(view.days))


def release(site: Site, found: Release, provenance: Mapping[str, Any], channels: Sequence[str]) -> str:
    """One release: what it is, how good beside its controls, its verdicts; ``channels`` that point to it."""
    return _render("release", site, release=found, provenance=provenance, channels=channels)


def entity(site: Site, release_id: str, name: str, lines: Sequence[tuple[str, str]]) -> str:
    """What ``fleetalign explain`` says of one entity."""
    return _render("entity", site, release_id=release_id, name=name, lines=lines)


def validation(site: Site, key: str, result: Mapping[str, Any], docs: Sequence[str]) -> str:
    """The findings about one partition, from the object ``key``; ``docs`` are keys of its Data Docs."""
    return _render("validation", site, key=key, result=result, docs=docs)


def links(site: Site, title: str, found: Mapping[str, str]) -> str:
    """What a run left to read: title of each page to its address."""
    return _render("links", site, title=title, links=found)


def sentence(site: Site, title: str, text: str) -> str:
    """An error, readable."""
    return _render("sentence", site, title=title, text=text)


@dataclass(frozen=True, slots=True)
class Bar:
    """One day of the chart, in units of its view box. ``top`` and ``height`` of the bar, ``budget`` of its line or None."""

    day: CheckedDay
    left: float
    top: float
    height: float
    budget: float | None


@dataclass(frozen=True, slots=True)
class Chart:
    """Pages per day against the budget: bars of ``bar_width`` in a view box of ``width`` and ``height``; ``base`` is its
    zero line, ``ticks`` are (height, number) of the axis."""

    bars: Sequence[Bar]
    width: float
    height: float
    base: float
    bar_width: float
    ticks: Sequence[tuple[float, str]]


def chart(days: Sequence[CheckedDay], width: float = 720.0, height: float = 190.0) -> Chart:
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
    """A length of time in the largest unit that it holds twice: ``47 h``, ``3 d``."""
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
    """How an entity's threshold moved, in words."""
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
    return template.render(site=site, url=site.url, ago=lambda when: _ago(site.now, when), **context)
