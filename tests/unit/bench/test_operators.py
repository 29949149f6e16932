"""Marks, mutes and grouping on a toy network: what is drawn, who is noisy, and what the figures say of planted truths."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given as cases
from hypothesis import strategies as st
from unit.bench.toy import toy

from bench import example
from bench.detection import grouped, jobs, learned, marks, muting, operators_report, paging
from bench.detection.decisions import EVENTS, decide
from bench.detection.figures import faults_of
from bench.detection.labelled import Truth, read
from bench.detection.run import FULL
from fleetalign.config import AlignConfig
from fleetalign.contracts.feedback import ANOMALY, NORMAL, UNLABELLED

CONFIG = AlignConfig(min_history_steps=50)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return example.write(tmp_path_factory.mktemp("sets") / "pumps.parquet")


@pytest.fixture(scope="module")
def made(path):
    given, truth = read(path)
    network = toy(given)
    return given, truth, network, learned.method_of("views", network, given, CONFIG)


def test_marks_are_nested_true_and_silent_elsewhere(made):
    given, _, _, method = made
    possible = marks.possible(method, given, CONFIG)
    assert sum(map(len, possible)) > 4
    before = marks.marked(given, possible, 0, 1)
    assert all((said == UNLABELLED).all() for said in before.feedback)
    for number in (1, 2, 5, 10):
        after = marks.marked(given, possible, number, 1)
        for fewer, more, known in zip(before.feedback, after.feedback, given.feedback, strict=True):
            heard = fewer != UNLABELLED
            np.testing.assert_array_equal(more[heard], fewer[heard])
            assert not ((more == NORMAL) & (known == ANOMALY)).any(), "a page in an incident was marked false"
        before = after
    every = sum(int((said != UNLABELLED).sum()) for said in before.feedback)
    assert 0 < every < sum(map(len, given.feedback)) / 2


def test_every_incident_can_be_marked_by_a_page_or_as_missed(made):
    given, _, _, method = made
    for e, possible in enumerate(marks.possible(method, given, CONFIG)):
        for a, b in given.incidents(e):
            assert any(m.verdict == ANOMALY and m.start < b and a < m.end for m in possible)
        assert sorted(possible, key=lambda m: (m.end, m.start)) == sorted(set(possible), key=lambda m: (m.end, m.start))


def test_the_curve_of_marks_knows_the_judged_labels_only_as_figures(made):
    given, truth, _, method = made
    found = marks.curve(method, given, truth, CONFIG, 1, 50)
    assert [p["marks"] for p in found["points"]] == [0, 1, 2, 5, 10, None]
    assert [p["given"] for p in found["points"]][:2] == [0.0, 1.0]
    whole = found["points"][-1]["measures"]
    assert whole["event_f1"]["value"] > whole["event_f1"]["random"]
    assert whole["worst_event_f1"]["value"] <= whole["event_f1"]["value"]
    opposite = Truth(tuple(1 - labels for labels in truth.labels), truth.judged)
    other = marks.curve(method, given, opposite, CONFIG, 1, 50)
    assert [p["given"] for p in other["points"]] == [p["given"] for p in found["points"]]
    assert other["points"][-1]["measures"] != found["points"][-1]["measures"]


@cases(st.lists(st.tuples(st.floats(-5, 5), st.integers(0, 3)), min_size=1, max_size=30))
def test_the_worst_tenth_is_the_mean_of_the_lowest(pairs):
    values, times = np.array([v for v, _ in pairs]), np.array([t for _, t in pairs])
    repeated = np.sort(np.repeat(values, 10 * times))
    lowest = repeated[: len(repeated) // 10]
    found = marks.lower_tail(values, times[None].astype(float))[0]
    assert found == pytest.approx(lowest.mean(), abs=1e-9) if len(lowest) else np.isnan(found)


def noisy(given):
    """The same with spikes of one metric of one entity at quiet samples of its feedback part."""
    values = given.panel.values.copy()
    quiet = np.flatnonzero(given.feedback[1] == NORMAL)[5::23]
    values[1, given.start + quiet, 2] += 40.0
    return replace(given, panel=replace(given.panel, values=values))


def test_the_noisiest_metric_of_the_noisiest_entity_is_found_and_muted(made):
    given, _, network, _ = made
    loud = noisy(given)
    method = learned.method_of("views", network, loud, CONFIG)
    noise = muting.noisiest(network, method, loud, CONFIG)
    assert next(iter(noise)) == 1 and noise[1][0] == given.panel.metrics[2]
    quieter = muting.muted(network, method, loud, {1: noise[1][:1]}, CONFIG)
    spikes = np.flatnonzero(given.feedback[1] == NORMAL)[5::23]
    assert quieter.margins[1][0][spikes].max() < method.margins[1][0][spikes].min()
    np.testing.assert_array_equal(quieter.margins[0], method.margins[0])


def test_a_metric_that_shows_incidents_is_not_noisy():
    false = [{"disk": 0.6, "net": 0.4}, {"disk": 0.5, "cpu": 0.3}]
    true = [{"disk": 0.9}, {"net": 0.3}]
    assert muting._noisy_metrics(false, []) == ["disk", "net", "cpu"]
    assert muting._noisy_metrics(false, true) == ["cpu", "disk", "net"]
    assert muting._noisy_metrics(false, [{"disk": 0.9}]) == ["net", "cpu"]


def test_muting_is_set_beside_random_mutes(made):
    given, truth, network, _ = made
    loud = noisy(given)
    method = learned.method_of("views", network, loud, CONFIG)
    found = muting.experiment(network, method, loud, truth, CONFIG, 1, 50)
    kept, followed, *after = found["rows"]
    assert [(r["muted"], r["thresholds"]) for r in found["rows"]] == [
        (0, "kept"), (0, "followed daily"),
        (1, "kept"), (1, "aligned anew"), (1, "followed daily"),
        (3, "kept"), (3, "aligned anew"), (3, "followed daily"),
    ]  # fmt: skip
    for row in after:
        before = followed if row["thresholds"] == "followed daily" else kept
        for name, entry in row["measures"].items():
            if entry["value"] is not None:
                gained = before["measures"][name]["value"] + entry["gain"]["value"]
                assert entry["value"] == pytest.approx(gained, abs=1e-6)
                assert entry["value"] == pytest.approx(entry["random"] + entry["over_random"]["value"], abs=1e-6)


def test_the_published_experiment_mutes_the_published_score_under_its_own_aligner(made):
    given, truth, network, _ = made
    loud = noisy(given)
    method = learned.sharead(network, loud, CONFIG)[0]
    found = muting.published(network, method, loud, truth, CONFIG, 1, 50)
    assert [(r["muted"], r["thresholds"]) for r in found["rows"]] == [(n, "aligned anew") for n in (0, 1, 3)]
    before, _, after = (row["measures"] for row in found["rows"])
    assert after["vus_pr_noisy"]["value"] != before["vus_pr_noisy"]["value"]
    quieter = muting.muted(network, method, loud, {1: loud.panel.metrics[2:3]}, CONFIG)
    spikes = np.flatnonzero(given.feedback[1] == NORMAL)[5::23]
    assert quieter.scores[1][spikes].max() < method.scores[1][spikes].min()
    np.testing.assert_array_equal(quieter.profiles[0], method.profiles[0])


def test_pages_of_the_products_scorer_are_the_benchmarks(made):
    given, _, network, method = made
    decision = decide(method, given, CONFIG, (EVENTS,))[0]
    parts = [(100, given.test_steps(e)) for e in range(given.entities)]
    pages = paging.pages_between(network, method, decision, given, parts, CONFIG)
    assert pages and all(page.metrics for page in pages)
    for page in pages:
        e = given.panel.entity_ids.index(page.entity_id)
        begin, end = (paging.position(given, at) for at in (page.start, page.end))
        assert begin >= 100 and decision.alarms[e][begin] and decision.alarms[e][end - 1]


def test_incidents_that_overlap_are_one_fault():
    labels = np.zeros((3, 60), dtype=np.int8)
    labels[0, 10:20] = labels[1, 15:30] = labels[2, 30:35] = labels[0, 50:55] = 1
    truth = Truth(tuple(labels), tuple(np.ones((3, 60), dtype=bool)))
    pages = [(0, 12, 14), (1, 14, 16), (2, 33, 40), (0, 54, 56), (2, 50, 55), (1, 0, 5)]
    assert faults_of(pages, truth) == [0, 0, 1, 2, -1, -1]
    nothing = Truth(tuple(labels), tuple(np.zeros((3, 60), dtype=bool)))
    assert faults_of(pages, nothing) == [-1] * 6


def test_grouping_is_set_beside_its_controls(made):
    given, truth, network, method = made
    found = grouped.experiment(network, method, given, truth, CONFIG, 1)
    every, first = found["rows"]
    assert every["count"] >= first["count"] >= first["faults"] > 0
    assert every["groups"] <= every["count"]
    assert found == grouped.experiment(network, method, given, truth, CONFIG, 1)


def apart(value: float, low: float, high: float) -> dict[str, float]:
    return {"value": value, "low": low, "high": high}


def test_the_sentences_follow_from_the_numbers():
    assert operators_report.verdict(apart(0.1, 0.01, 0.2)) == "better"
    assert operators_report.verdict(apart(0.1, 0.01, 0.2), -1) == "worse"
    assert operators_report.verdict(apart(0.1, -0.01, 0.2)) == "no difference shown"
    still = {name: {"step": apart(0, 0, 0), "gain": apart(0, 0, 0)} for name in operators_report.BETTER}
    points = [{"marks": n, "measures": json.loads(json.dumps(still))} for n in (0, 1, 2)]
    assert operators_report.worse(points) == []
    points[2]["measures"]["event_f1"]["step"] = apart(-0.2, -0.3, -0.1)
    points[2]["measures"]["false_pages_per_entity_day"]["gain"] = apart(0.2, 0.1, 0.3)
    assert operators_report.worse(points) == [
        "event F1, 2 against 1: -0.200 [-0.300, -0.100]",
        "false pages per entity-day, 2 against 0: +0.200 [+0.100, +0.300]",
    ]


def test_one_job_measures_all_and_the_page_shows_them(path, monkeypatch):
    monkeypatch.setattr(jobs, "AlignConfig", lambda: CONFIG)
    network = toy(read(path)[0])
    size = replace(FULL, bootstrap_samples=20)
    done = jobs.work(jobs.Job(jobs.OPERATORS, path, 1, size, 1.0, {jobs.VIEWS: network, jobs.SHAREAD: network}))
    shown = operators_report.sections(json.loads(json.dumps(done.curve)))
    assert [text.split("**")[1] for text in shown] == [
        "A few marks",
        "Mutes",
        "Mutes, the published experiment",
        "Pages made incidents",
    ]
    assert operators_report.sections({}) == []
