"""Rows, mutes and the roles that only some networks have."""

from __future__ import annotations

import dataclasses
from datetime import UTC

import numpy as np
import onnx
import pyarrow as pa
import pytest

from fleetalign.contracts.fleet_table import FleetTable
from fleetalign.contracts.mutes import Mutes
from fleetalign.contracts.tables import ALIGNER, MUTES, NORMALIZER
from fleetalign.detectors.views.roles import STATISTICS
from fleetalign.errors import BadInput
from fleetalign.scoring.entity_parameters import EntityRows
from fleetalign.scoring.kind_scorer import KindScorer, Scores, Series
from fleetalign.scoring.score_table import grids
from fleetalign.testing.releases import toy_kind_manifest

METRICS = ("cpu", "errors")
START = np.datetime64("2026-03-09T00:00:00", "us")


def normalizer(*rows: tuple, statistics: dict[str, list[float]] | None = None) -> FleetTable:
    names = ("entity_id", "metric", "location", "scale")
    table = pa.Table.from_pylist(
        [{"kind": "service", **dict(zip(names, row, strict=True))} for row in rows], schema=NORMALIZER.schema
    )
    for name, values in (statistics or {}).items():
        table = table.append_column(name, pa.array(values, pa.float32()))
    return FleetTable.of(NORMALIZER, table)


def aligner(*rows: tuple) -> FleetTable:
    found = [{"kind": "service", "entity_id": e, "condition": c, "threshold": q} for e, c, q in rows]
    return FleetTable.of(ALIGNER, pa.Table.from_pylist(found, schema=ALIGNER.schema))


NORMALIZER_ROWS = (("__default__", "cpu", 1.0, 2.0), ("__default__", "errors", 3.0, 4.0), ("a", "cpu", 5.0, 6.0))
ALIGNER_ROWS = (("__default__", 4, 1.0), ("a", 2, 0.5), ("broken", None, None))


def rows(**changes) -> EntityRows:
    settings = {"normalizer": normalizer(*NORMALIZER_ROWS), "aligner": aligner(*ALIGNER_ROWS), **changes}
    return EntityRows("service", METRICS, (), **settings)


def test_a_metric_without_a_row_of_its_own_uses_the_defaults() -> None:
    found = rows().of("a")
    assert found.location.tolist() == [5.0, 3.0] and found.scale.tolist() == [6.0, 4.0]
    assert (found.condition, found.threshold) == (2, 0.5)


def test_an_unknown_entity_is_the_default() -> None:
    found = rows().of("stranger")
    assert found.location.tolist() == [1.0, 3.0] and (found.condition, found.threshold) == (4, 1.0)


def test_an_aligner_row_without_numbers_is_the_default() -> None:
    assert rows().of("broken").threshold == 1.0


def test_a_metric_nobody_normalized_is_not_usable() -> None:
    found = rows(normalizer=normalizer(*NORMALIZER_ROWS[::2])).of("a")
    assert found.usable.tolist() == [True, False] and np.isfinite(found.scale).all()


def test_rows_of_other_kinds_do_not_exist() -> None:
    with pytest.raises(BadInput, match="'database' has no '__default__' row"):
        EntityRows("database", METRICS, (), normalizer(*NORMALIZER_ROWS), aligner(*ALIGNER_ROWS))


def test_statistics_come_in_the_manifests_order() -> None:
    table = normalizer(*NORMALIZER_ROWS, statistics={"low": [1, 2, 3], "high": [4, 5, 6]})
    found = EntityRows("service", METRICS, ("high", "low"), table, aligner(*ALIGNER_ROWS)).of("a")
    assert found.statistics.dtype == np.float32
    assert found.statistics.tolist() == [[6.0, 3.0], [5.0, 2.0]]
    with pytest.raises(BadInput, match="'median'"):
        EntityRows("service", METRICS, ("median",), table, aligner(*ALIGNER_ROWS))


def mutes(*mutings: tuple) -> Mutes:
    names = ("kind", "entity_id", "metric", "from", "until")
    return Mutes(
        "service",
        pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in mutings], schema=MUTES.schema),
    )


def minute(index: int):
    return (START + np.timedelta64(index, "m")).astype("datetime64[us]").item().replace(tzinfo=UTC)


TIMES = START + np.arange(6) * np.timedelta64(1, "m")


def test_a_mute_is_half_open_and_only_its_own_metric() -> None:
    weight, maintenance = mutes(("service", "a", "cpu", minute(1), minute(3))).weights("a", METRICS, TIMES)
    assert weight[:, 0].tolist() == [1, 0, 0, 1, 1, 1] and weight[:, 1].tolist() == [1] * 6
    assert not maintenance.any()


def test_mutes_of_others_change_nothing() -> None:
    found = mutes(
        ("service", "b", "*", minute(0), minute(6)),
        ("database", "a", "*", minute(0), minute(6)),
        ("service", "a", "disk", minute(0), minute(6)),
    )
    weight, maintenance = found.weights("a", METRICS, TIMES)
    assert (weight == 1).all() and not maintenance.any()


def test_a_metric_may_be_muted_for_every_entity() -> None:
    weight, maintenance = mutes(("service", "*", "errors", minute(0), minute(6))).weights("a", METRICS, TIMES)
    assert (weight[:, 1] == 0).all() and (weight[:, 0] == 1).all() and not maintenance.any()


def test_a_mute_without_an_end_stays_and_without_a_start_always_was() -> None:
    found = mutes(("service", "a", "cpu", minute(4), None), ("service", "a", "errors", None, minute(1)))
    weight, _ = found.weights("a", METRICS, TIMES)
    assert weight[:, 0].tolist() == [1, 1, 1, 1, 0, 0] and weight[:, 1].tolist() == [0, 1, 1, 1, 1, 1]


ALL_ROLES = """<ir_version: 8, opset_import: ["" : 18]>
all (double[batch,metric,window] values, double[batch,metric] location, double[batch,metric] scale,
     float[batch,metric] weight, int32[batch] condition, float[batch] threshold, double[batch,metric,lag] seasonal,
     float[batch,metric,statistic] statistics, float[batch,one] state)
 => (float[batch] score, float[batch] margin, float[batch,metric] contribution, float[batch,one] next_state)
<int64[2] inner = {1, 2}, int64[1] axis1 = {1}, float one_more = {1.0}>
{
  lagged = ReduceSum<keepdims = 0>(seasonal, inner)
  lagged_float = Cast<to = 1>(lagged)
  described = ReduceSum<keepdims = 0>(statistics, inner)
  score = Add(lagged_float, described)
  seen = Squeeze(state, axis1)
  margin = Sub(seen, threshold)
  contribution = Identity(weight)
  next_state = Add(state, one_more)
}
"""


def all_roles_scorer() -> KindScorer:
    """A graph of every role: score = sum of lagged samples and statistics, margin = windows seen before - threshold."""
    model = onnx.parser.parse_model(ALL_ROLES)
    entry = toy_kind_manifest(
        window_steps=4,
        step_seconds=60,
        metrics=tuple(METRICS),
        inputs=tuple(i.name for i in model.graph.input),
        seasonal_lags_steps=(5, 9),
        statistics_columns=("high",),
        state_size=1,
    )
    table = normalizer(*NORMALIZER_ROWS, statistics={"high": [10, 20, 30]})
    return KindScorer("service", entry, model.SerializeToString(), table, aligner(*ALIGNER_ROWS), MUTES.empty())


def test_optional_roles_are_fed_when_the_manifest_lists_them() -> None:
    scorer = all_roles_scorer()
    values = np.stack([np.arange(20.0), 100.0 + np.arange(20.0)], axis=1)
    times = START + np.arange(20) * np.timedelta64(1, "m")
    found = scorer.score("a", values, times, 0, np.arange(9, 15), batch=64)
    expected = [sum(2 * (p - lag) + 100 for lag in (5, 9)) + 30 + 20 for p in range(9, 15)]
    assert found.score.tolist() == expected
    assert scorer.context_steps == 9 and scorer.stateful


def test_a_lag_before_the_entitys_history_is_missing() -> None:
    found = all_roles_scorer().score(
        "a", np.ones((20, 2)), START + np.arange(20) * np.timedelta64(1, "m"), 0, np.array([8, 9]), batch=64
    )
    assert np.isnan(found.score[0]) and np.isfinite(found.score[1])


def test_state_is_zero_at_first_and_then_what_the_graph_returned() -> None:
    found = all_roles_scorer().score(
        "a", np.ones((20, 2)), START + np.arange(20) * np.timedelta64(1, "m"), 0, np.arange(9, 15), batch=64
    )
    assert found.margin.tolist() == [windows - 0.5 for windows in range(6)]


VIEWS_WINDOW, LENGTH, ENTITIES = 16, 260, ("a", "b", "broken", "stranger")


@pytest.fixture(scope="module", params=[None, 24], ids=["views", "views with a period"])
def views_scorer(request, views_kind) -> KindScorer:
    """Entities differ in threshold, location and statistics."""
    own = {name: [0.5, 0.6, 0.7] for name in STATISTICS[:4]}
    fleet = dict(zip(STATISTICS[4:], ([1.0] * 3, [1.0] * 3, [0.5] * 3, [0.5] * 3, [0.2] * 3), strict=True))
    return views_kind(
        "service",
        METRICS,
        normalizer(*NORMALIZER_ROWS, statistics=own | fleet),
        aligner(*ALIGNER_ROWS),
        window_steps=VIEWS_WINDOW,
        step_seconds=60,
        period_steps=request.param,
    )


def series_of(entity_id: str, length: int = LENGTH, first: int = 0, missing: float = 0.1) -> Series:
    random = np.random.default_rng(sum(entity_id.encode()))
    values = 3 + 4 * np.sin(np.arange(length)[:, None] / 5 + random.uniform(0, 6, 2)) + random.normal(size=(length, 2))
    values[random.random(values.shape) < missing] = np.nan
    values[:first] = np.nan
    return Series(
        entity_id, values, START + np.arange(length) * np.timedelta64(1, "m"), first, np.arange(first, length)
    )


def assert_same_scores(given: Scores, expected: Scores) -> None:
    np.testing.assert_array_equal(given.reason, expected.reason)
    for name in ("score", "margin", "contribution", "state"):
        np.testing.assert_allclose(getattr(given, name), getattr(expected, name), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 7, 64, 1000])
def test_entities_that_share_chained_batches_score_as_alone(views_scorer, batch: int) -> None:
    fleet = [series_of(e, LENGTH - 30 * i, first=10 * i) for i, e in enumerate(ENTITIES)]
    together = list(views_scorer.score_all(iter(fleet), batch))
    assert [one.entity_id for one, _ in together] == list(ENTITIES)
    for (_, given), one in zip(together, fleet, strict=True):
        alone = views_scorer.score(one.entity_id, one.values, one.times, one.first, one.positions, 10**6)
        assert (alone.reason == 0).sum() > 100 and (alone.reason != 0).any()
        assert_same_scores(given, alone)


def test_a_chained_batch_is_the_graph_sample_by_sample(views_scorer) -> None:
    one = series_of("a")
    bulk = views_scorer.score("a", one.values, one.times, 0, one.positions, 256)
    state = None
    for position in one.positions:
        step = next(views_scorer.score_all([dataclasses.replace(one, positions=np.array([position]), state=state)], 1))[
            1
        ]
        state = step.state
        np.testing.assert_allclose(step.score[0], bulk.score[position], rtol=1e-5)
    np.testing.assert_allclose(state, bulk.state, rtol=1e-5)


def test_one_new_sample_each_goes_on_from_its_state(views_scorer) -> None:
    """A live fleet: everybody's newest sample in one batch, each after its own state."""
    fleet = [series_of(e) for e in ENTITIES]
    before = [dataclasses.replace(one, positions=one.positions[:-1]) for one in fleet]
    states = [found.state for _, found in views_scorer.score_all(before, 64)]
    newest = [
        dataclasses.replace(one, positions=one.positions[-1:], state=state)
        for one, state in zip(fleet, states, strict=True)
    ]
    for (_, given), (_, whole) in zip(
        views_scorer.score_all(newest, 64), views_scorer.score_all(fleet, 64), strict=True
    ):
        np.testing.assert_allclose(given.score, whole.score[-1:], rtol=1e-5)
        np.testing.assert_allclose(given.state, whole.state, rtol=1e-5)


@pytest.mark.parametrize("start", [0, 5, 90, 200, LENGTH - 1])
def test_from_a_start_on_scores_are_those_of_the_whole_history(views_scorer, start: int) -> None:
    columns = {"kind": ["service"] * LENGTH}
    parts = []
    for entity_id in ENTITIES:
        one = series_of(entity_id, missing=0.02)
        table = pa.table(
            {
                **columns,
                "entity_id": [entity_id] * LENGTH,
                "timestamp": pa.array(one.times).cast(pa.timestamp("us", "UTC")),
                **{name: one.values[:, m] for m, name in enumerate(METRICS)},
            }
        )
        parts.append(table.take(np.flatnonzero(np.arange(LENGTH) % 50 != 13)))  # and rows that never came
    rows = pa.concat_tables(parts).combine_chunks()
    whole = list(views_scorer.score_all(grids(views_scorer, rows), 256))
    since = START + np.timedelta64(start, "m")
    late = list(views_scorer.score_all(grids(views_scorer, rows, since), 256))
    for (_, every), (one, given) in zip(whole, late, strict=True):
        wanted = one.times[one.positions] >= since
        assert wanted.any() and wanted.sum() >= len(wanted) - views_scorer.settle_steps
        every_wanted = slice(len(every.score) - int(wanted.sum()), None)
        np.testing.assert_array_equal(given.reason[wanted], every.reason[every_wanted])
        np.testing.assert_allclose(given.score[wanted], every.score[every_wanted], rtol=1e-5, atol=1e-5)


def test_what_history_is_needed_is_said(views_scorer) -> None:
    lags = views_scorer.context_steps
    assert lags == max(2 * VIEWS_WINDOW - 2, 0 if "seasonal" not in views_scorer.graph.inputs else 3 * 24 + 8)
    assert views_scorer.history_steps == lags + 64
    one = series_of("a", 400, missing=0.0)
    positions = np.arange(300, 400)
    whole = views_scorer.score("a", one.values, one.times, 0, one.positions, 256)
    origin = 300 - views_scorer.history_steps
    cut = views_scorer.score("a", one.values[origin:], one.times[origin:], 0, np.arange(300 - 64, 400) - origin, 256)
    np.testing.assert_allclose(cut.score[64:], whole.score[positions], rtol=1e-5)
