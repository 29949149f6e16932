"""What a whole run comes to: its exit code and its document."""

from __future__ import annotations

import pytest

from fleetalign.errors import GateRefused, PartitionHeld
from fleetalign.pipeline import Run, warnings_of

RELEASE = {"plan_id": "p1", "release_id": "r1", "gates": []}
HELD, REFUSED = PartitionHeld("web 2026-03-02 is held"), GateRefused("r1 was not promoted")


@pytest.mark.parametrize(
    ("held", "refused", "quarantined", "code"),
    [
        ((), None, "", 0),
        ((), None, "1 infinite (cells)", 3),
        ((), REFUSED, "1 infinite (cells)", 1),
        ((HELD,), REFUSED, "", 3),
    ],
)
def test_the_exit_code_is_that_of_the_first_error_survived(held, refused, quarantined: str, code: int) -> None:
    run = Run(RELEASE, None, refused, held, quarantined)
    assert run.exit_code == code
    assert run.as_json() == {
        "plan_id": "p1",
        "release_id": "r1",
        "release": RELEASE,
        "promotion": None,
        "refused": refused and "r1 was not promoted",
        "held": ["web 2026-03-02 is held"] if held else [],
        "quarantined": quarantined,
    }


def test_what_validation_warns_of_is_said_once_for_all_days() -> None:
    results = [
        {
            "kind": "web",
            "partition": f"telemetry/validated/kind=web/date=2026-03-0{day}/",
            "warnings": ["slow", str(day)],
        }
        for day in range(2, 5)
    ]
    assert warnings_of(results) == [
        "web, 2026-03-02 and 2 more: slow",
        "web, 2026-03-02: 2",
        "web, 2026-03-03: 3",
        "web, 2026-03-04: 4",
    ]
    many = [{**results[0], "warnings": [str(i) for i in range(12)]}]
    assert warnings_of(many)[-1] == "… and 2 more warnings"
