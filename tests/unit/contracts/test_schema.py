from __future__ import annotations

import copy
import subprocess
import sys

import pytest

from fleetalign.contracts.schema import NAMES, schema, validate
from fleetalign.errors import BadInput

GATE = {"name": "coverage", "value": 0.9, "limit": 0.9, "verdict": "pass", "why": "10 entities"}
SHA = "0" * 64
POINTER = {
    "schema_version": "1.0",
    "channel": "champion",
    "sequence": 1,
    "release_id": "0" * 16,
    "manifest_sha256": SHA,
    "previous": None,
    "previous_sha256": None,
    "moved_at": "2026-03-09T06:00:00Z",
    "expires_at": "2026-03-11T06:00:00.250000Z",
    "by": "ops",
    "why": "test",
}


@pytest.mark.parametrize("name", NAMES)
def test_every_schema_is_a_valid_schema(name: str) -> None:
    from jsonschema import Draft202012Validator

    Draft202012Validator.check_schema(schema(name))
    with pytest.raises(BadInput, match=rf"{name} document, at \$"):
        validate(name, {})


def test_valid_documents_pass_and_unknown_fields_are_ignored() -> None:
    validate("gate", GATE)
    validate("pointer", {**POINTER, "field_of_the_future": {}})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("schema_version", "2.0"),
        ("schema_version", 1.0),
        ("sequence", 0),
        ("release_id", "release"),
        ("manifest_sha256", "0" * 63),
        ("moved_at", "2026-03-09T06:00:00+01:00"),
        ("by", ""),
        ("channel", "Champion"),
    ],
)
def test_a_wrong_field_is_named(field: str, value: object) -> None:
    with pytest.raises(BadInput, match=rf"pointer document, at \$\.{field}"):
        validate("pointer", {**POINTER, field: value})


def test_a_gate_inside_a_promotion_is_checked_by_its_own_schema() -> None:
    document = {
        "schema_version": "1.0",
        "release_id": "0" * 16,
        "champion_id": None,
        "absolute_gates": [GATE],
        "comparison_gates": [],
        "verdict": "pass",
    }
    validate("promotion", document)
    broken = copy.deepcopy(document)
    broken["absolute_gates"][0]["verdict"] = "maybe"
    with pytest.raises(BadInput, match=r"\$\.absolute_gates\[0\]\.verdict"):
        validate("promotion", broken)


def test_a_figure_without_its_controls_is_invalid() -> None:
    estimate = {"value": 0.5, "low": None, "high": None}
    evaluation = schema("manifest")["properties"]["evaluation"]["anyOf"][0]
    from jsonschema import Draft202012Validator

    check = Draft202012Validator(evaluation).is_valid
    document = {
        "protocol": "judge_range",
        "entities": 1,
        "incidents": 1,
        "judged_days": 1.0,
        "figures": [{"name": "event_f1", "unit": "", "detector": estimate, "random": estimate, "shifted": estimate}],
    }
    assert check(document)
    for control in ("random", "shifted"):
        figure = {name: value for name, value in document["figures"][0].items() if name != control}
        assert not check({**document, "figures": [figure]})


def test_the_module_is_light() -> None:
    program = "import sys, fleetalign.contracts.schema; print('jsonschema' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "False\n"
