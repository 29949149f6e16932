"""Attributes as labels of alerts and gauges."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from fleetalign.contracts.attributes import Attributes
from fleetalign.contracts.hashing import readable_json
from fleetalign.contracts.pages import Page
from fleetalign.contracts.tables import ATTRIBUTES
from fleetalign.emit.alertmanager import as_json
from fleetalign.emit.firing import Alert, Firing, read_firing, write_firing
from fleetalign.emit.incidents import group_pages
from fleetalign.emit.labels import RESERVED, as_labels
from fleetalign.emit.send import labelled
from fleetalign.storage.memory import MemoryStore

NOW = datetime(2026, 3, 9, tzinfo=UTC)


def test_names_become_labels_of_prometheus() -> None:
    attributes = {
        "team": "x",
        "k8s.io/zone": "eu",
        "k8s.io.zone": "us",
        "kind": "blue",
        "2nd": "y",
        "__name__": "z",
        "ö": "o",
    }
    assert as_labels(attributes) == {
        "team": "x", "k8s_io_zone": "us", "k8s_io_zone_2": "eu", "attribute_kind": "blue", "attribute_2nd": "y",
        "attribute___name__": "z", "attribute__": "o",
    }  # fmt: skip


@given(st.dictionaries(st.text(min_size=1), st.text(min_size=1), max_size=6))
def test_no_attribute_is_lost_and_no_label_reserved(attributes: dict[str, str]) -> None:
    labels = as_labels(attributes)
    assert sorted(labels.values()) == sorted(attributes.values())
    assert not RESERVED & set(labels)
    assert all(name.isascii() and name.isidentifier() and not name.startswith("__") for name in labels)


def test_labels_are_part_of_an_alert_and_survive_the_store() -> None:
    page = Page("web", "a", NOW - timedelta(hours=1), NOW, 1.0, (("cpu", 1.0),))
    (incident,) = group_pages([page], timedelta(minutes=5), 0.5)
    alert = Alert(incident, False, labels={"team": "x"})
    sent = as_json(alert, "0" * 16, NOW)["labels"]
    assert sent == {
        "team": "x", "alertname": "FleetalignIncident", "kind": "web", "entity_id": "a", "incident": incident.incident_id,
    }  # fmt: skip
    store = MemoryStore()
    write_firing(store, "champion", Firing((page,), NOW, labels={incident.incident_id: alert.labels}))
    assert read_firing(store, "champion").labels == {incident.incident_id: {"team": "x"}}


def test_alerts_of_before_attributes_keep_their_identity() -> None:
    page = Page("web", "a", NOW - timedelta(hours=1), NOW, 1.0, (("cpu", 1.0),))
    (incident,) = group_pages([page], timedelta(minutes=5), 0.5)
    store = MemoryStore()
    write_firing(store, "champion", Firing((page,), NOW))
    document = store.get_json("emit/champion/firing.json")
    assert document.pop("labels") == {}
    store.put("emit/champion/firing.json", readable_json({**document, "schema_version": "1.1"}))
    team = Attributes(pa.table([["web"], ["a"], ["team"], ["x"], [None]], schema=ATTRIBUTES.schema))
    before = read_firing(store, "champion").labels
    assert [alert.labels for alert in labelled([Alert(incident, False)], before, team)] == [{}]
    assert [alert.labels for alert in labelled([Alert(incident, False)], {}, team)] == [{"team": "x"}]
