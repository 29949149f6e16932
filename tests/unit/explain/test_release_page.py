from __future__ import annotations

import re

import numpy as np
import pytest

from fleetalign.contracts.manifest import Gate
from fleetalign.evaluate.bootstrap import Estimate
from fleetalign.evaluate.figures import Figure
from fleetalign.explain.plots import MAX_POINTS, EntityTrace, LossCurve, trace_plot
from fleetalign.explain.release_page import ExplainedEntity, ReportData, render
from fleetalign.explain.text import FIGURE_LABELS, estimate_text, number_text


def trace(steps: int = 600, entity_id: str = "checkout", role: str = "best", seed: int = 1) -> EntityTrace:
    random = np.random.default_rng(seed)
    score = random.gamma(2.0, 0.1, steps).astype(np.float32)
    score[steps // 2 : steps // 2 + 12] += 6
    margin = score - 1.2
    score[:9] = margin[:9] = np.nan
    middle = steps // 2
    return EntityTrace(
        role=role,
        kind="service",
        entity_id=entity_id,
        summary="aligned, C = 21, threshold 1.2: 1 incident hit, 1 false page",
        times=np.datetime64("2026-03-06") + np.arange(steps) * np.timedelta64(300, "s"),
        score=score,
        margin=margin,
        pages=np.array([[middle, middle + 12], [80, 83]]),
        incidents=np.array([[middle - 10, middle + 15]]),
    )


def data(**changes) -> ReportData:
    low, high = Estimate(0.61, 0.5, 0.72), Estimate(0.1, 0.05, 0.17)
    settings = {
        "release_id": "28e1334f771859b6",
        "data_version": "a9c22ba102cd59f1",
        "kinds": [
            {"kind": "service", "entities": "18", "metrics": "8", "window": "100 steps of 300 s", "network": "sharead"}
        ],
        "ranges": {
            "service": {"train": {"start": "2026-03-02T00:00:00Z", "end": "2026-03-06T00:00:00Z"}, "judge": None}
        },
        "coverage": {"aligned": 10, "shared": 7, "default": 1},
        "gates": [
            Gate("coverage", 0.94, 0.9, "pass", "18 entities, 1 default"),
            Gate("pages_per_entity_day", 4.2, 2.0, "fail", "pages, true or false"),
            Gate("beats_random", None, 0.0, "not_applicable", "no incident was judged"),
        ],
        "figures": [
            Figure("event_f1", "", low, high, high, Estimate(0.4, 0.3, 0.5)),
            Figure("median_delay_seconds", "s", Estimate(600), high, high),
        ],
        "protocol": "leave_one_incident_out",
        "judged": "18 entities, 21 incidents, 36 entity-days",
        "losses": {kind: LossCurve([0.09, 0.07, 0.06], [0.1, 0.08, 0.085], 1) for kind in ("database", "service")},
        "traces": [trace(), trace(entity_id="cart", role="median", seed=2), trace(5_000, "search", "worst", 3)],
    }
    return ReportData(**{**settings, **changes})


@pytest.fixture(scope="module")
def page() -> str:
    return render(data()).decode()


def test_the_page_asks_the_network_for_nothing(page: str) -> None:
    without_namespaces = re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)
    assert not re.search(r"<script|<link|@import|<img|<iframe", without_namespaces)
    assert not re.search(r'(src|href)="(?!#)', without_namespaces)
    assert "url(http" not in page


def test_every_figure_stands_beside_its_controls(page: str) -> None:
    row = page[page.index(FIGURE_LABELS["event_f1"]) :]
    cells = re.findall(r"<td[^>]*>(.*?)</td>", row)[:4]
    assert cells == ["0.61 [0.5, 0.72]", "0.1 [0.05, 0.17]", "0.1 [0.05, 0.17]", "0.4 [0.3, 0.5]"]
    assert re.findall(r"<th>(.*?)</th>", page[: page.index(FIGURE_LABELS["event_f1"])])[-5:] == [
        "figure", "detector", "random", "shifted", "untrained"
    ]  # fmt: skip
    row = page[page.index(FIGURE_LABELS["median_delay_seconds"]) :]
    assert re.findall(r"<td[^>]*>(.*?)</td>", row)[3] == "–", "the untrained network was not run"
    assert "leave-one-incident-out" in page


def test_point_adjustment_is_explained_where_it_is_shown(page: str) -> None:
    said = "random scores do well on it"
    assert said not in page
    shown = Figure("point_adjusted_f1", "", Estimate(0.9), Estimate(0.9), Estimate(0.9))
    assert said in render(data(figures=[shown])).decode()


def test_gates_states_losses_and_entities_are_there(page: str) -> None:
    for text in (
        "pages_per_entity_day",
        "not applicable",
        "quarantined",
        "epoch",
        "best: <code>service/checkout",
        "worst",
    ):
        assert text in page
    assert 'gates\n<span class="fail">failed</span>' in page
    assert page.count("<svg") == 5


def test_ids_of_pictures_do_not_clash(page: str) -> None:
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_text_from_outside_is_escaped() -> None:
    hostile = '<script>alert("x")</script>'
    page = render(data(traces=[trace(entity_id=hostile)], judged=hostile)).decode()
    assert hostile not in page and "&lt;script&gt;" in page


def test_equal_data_gives_equal_bytes() -> None:
    assert render(data()) == render(data())


def test_nothing_judged_is_said() -> None:
    page = render(data(figures=[], unjudged_why="no feedback yet", losses={}, traces=[])).decode()
    assert "Nothing was judged: no feedback yet." in page and "<svg" not in page


@pytest.mark.parametrize("steps", [1, 2])
def test_a_trace_of_almost_nothing_is_drawn(steps: int) -> None:
    nothing = np.full(steps, np.nan)
    times = np.datetime64("2026-03-06") + np.arange(steps) * np.timedelta64(300, "s")
    none = np.empty((0, 2), dtype=int)
    assert trace_plot(EntityTrace("only", "k", "e", "", times, nothing, nothing, none, none)).startswith("<svg")


def test_a_long_trace_keeps_its_peak() -> None:
    from fleetalign.explain.plots import _bins, _peaks

    values = np.zeros(10 * MAX_POINTS)
    values[12_345] = 7.0
    peaks = _peaks(values, _bins(len(values)))
    assert len(peaks) == MAX_POINTS and peaks.max() == 7.0


def test_numbers_read_well() -> None:
    assert [number_text(v) for v in (None, 0.0, 0.12345, 12_345.6)] == ["–", "0", "0.123", "12,346"]
    assert estimate_text(Estimate(None)) == "–" and estimate_text(Estimate(0.5)) == "0.5"


def test_entities_are_explained_line_by_line_and_nothing_is_said_without_any(page: str) -> None:
    assert "Entities explained" not in page
    lines = [("state", "aligned"), (" 45%", "cpu <busy>: 7, usually 1")]
    told = render(data(explained=[ExplainedEntity("service", "cart", "pages: 4", lines)])).decode()
    section = told[told.index("Entities explained") :].split("<h2>")[0]
    assert "<code>service/cart</code>" in section and "pages: 4" in section
    assert re.findall(r"<tr><th>(.*?)</th><td>(.*?)</td>", section) == [
        ("state", "aligned"),
        (" 45%", "cpu &lt;busy&gt;: 7, usually 1"),
    ]
