"""Settings of an earlier version: read under the names of today, one line each, or refused by name."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleetalign.config import Config, load
from fleetalign.config.moved import FIXED, MOVED, renamed, renamed_in_plan
from fleetalign.config.run import plain

OLD = Path(__file__).parent / "old-params.yaml"
"""Every setting at its default under the names of plans 1.2, as params.yaml listed them."""


def leaves(section: Any, name: str = "") -> list[tuple[str, Any]]:
    """Every setting of a section by its dotted name."""
    found: list[tuple[str, Any]] = []
    for field in dataclasses.fields(section):
        value, dotted = getattr(section, field.name), f"{name}.{field.name}".lstrip(".")
        found += leaves(value, dotted) if dataclasses.is_dataclass(value) else [(dotted, value)]
    return found


def test_a_file_of_the_old_form_is_the_defaults_with_a_line_per_moved_name(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert load(OLD) == Config()
    lines = [record.getMessage() for record in caplog.records]
    for old, new in MOVED.items():
        assert f"{OLD}: {old} has moved to {new}" in lines
    for old, value in FIXED.items():
        assert f"{OLD}: {old} is no setting any more; it is always {value:g}" in lines
    assert len(lines) == len(MOVED) + len(FIXED)


def test_every_moved_setting_keeps_its_value_and_is_one_of_today(tmp_path: Path) -> None:
    today = dict(leaves(Config()))
    assert set(MOVED.values()) <= set(today)
    for old, new in MOVED.items():
        section, _, name = old.partition(".")
        document, lines = renamed(
            {section: {name: "x"}, "model": {"seed": 1}} if section != "model" else {section: {name: "x"}}, "f"
        )
        _, group, setting = new.split(".")
        assert document[new.partition(".")[0]][group] == {setting: "x"} and len(lines) == 1


def test_what_is_no_mapping_stays_for_the_reader_to_refuse() -> None:
    assert renamed([1], "f") == ([1], [])
    assert renamed({"model": 3, "airflow": None}, "f") == ({"model": 3, "airflow": None}, [])


def test_the_params_of_today_move_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert load(Path(__file__).parents[3] / "params.yaml") == Config()
    assert not caplog.records


@pytest.mark.parametrize("network", ["views", "sharead"])
def test_a_plan_forgets_the_settings_that_its_detector_never_read(network: str) -> None:
    old = yaml.safe_load(OLD.read_text())
    plan = {name: old[name] for name in ("ranges", "model", "training", "align", "gates")}
    plan["model"] = plan["model"] | {"network": network, "blocks": 1, "latent_size": 3}
    plan["align"] = plan["align"] | {"default_condition": 6, "smoothings": [1.0]}
    plan["gates"] = plan["gates"] | {"shift_seeds": 3}
    found = renamed_in_plan(plan)
    own, other = ("views", "sharead") if network == "views" else ("sharead", "views")
    assert other not in found["model"] and found["model"][own]
    assert ("smoothings" in found["align"]["grid"]) == (network == "views")
    assert ("default_condition" in found["align"]["grid"]) == (network == "sharead")
    assert "shift_seeds" not in found["gates"]


def test_there_are_fewer_than_ninety_settings_a_group_counting_once() -> None:
    def counted(section: Any, depth: int = 0) -> int:
        fields = [getattr(section, field.name) for field in dataclasses.fields(section)]
        return sum(counted(value, 1) if dataclasses.is_dataclass(value) and not depth else 1 for value in fields)

    assert counted(Config()) < 90
    assert plain(Config())  # every setting has a plain value, so that params.yaml can list it
