"""Data sets are folders of the store with the id of their content as version."""

from __future__ import annotations

import pytest

from fleetalign.versioning.lineage import lineage, name_in


def test_names_are_those_of_the_place_and_not_of_the_run() -> None:
    assert name_in("s3://bucket/fleet", "models") == ("s3://bucket", "fleet/models")
    assert name_in("s3://bucket", "models") == ("s3://bucket", "models")
    assert name_in("file:///srv/fleet/", "telemetry/raw/kind=web") == ("file", "/srv/fleet/telemetry/raw/kind=web")


def test_versions_are_hashes_of_what_was_made_and_read() -> None:
    raw = "telemetry/raw/kind=web/date=2026-03-02"
    valid = raw.replace("raw", "validated")
    assert lineage("telemetry_raw", {"versions": {raw: "a1"}}).outputs == {raw: "a1"}
    found = lineage("telemetry_validated", {"partitions": [{"partition": f"{valid}/", "sha256": "b2"}]})
    assert (found.outputs, found.inputs) == ({valid: "b2"}, {raw: None})
    trained = {"models": {"web": "m3"}, "normalizer_id": "n4", "data_version": "d5"}
    found = lineage("shared_model", trained)
    assert found.outputs == {"models/kind=web": "m3", "normalizers": "n4"}
    assert found.inputs == {"telemetry/validated": "d5"}
    found = lineage("aligner_table", {"aligner_id": "a6", "normalizer_id": "n7", "data_version": "d5"})
    assert found.outputs == {"aligners": "a6", "normalizers": "n7"}
    assert lineage("release", {"release_id": "r8", "aligner_id": "a6"}).inputs["aligners"] == "a6"
    with pytest.raises(KeyError):
        lineage("weather", {})
