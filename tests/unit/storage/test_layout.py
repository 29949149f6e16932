from __future__ import annotations

import pytest

from fleetalign.errors import UsageError
from fleetalign.interval import Interval
from fleetalign.storage import layout

DAY = Interval.parse("2026-03-09", "2026-03-10")
HOUR = Interval.parse("2026-03-09T06:00:00Z", "2026-03-09T07:00:00Z")


def test_keys_are_those_of_the_design() -> None:
    assert layout.partition_prefix("raw", "service", DAY, "day") == "telemetry/raw/kind=service/date=2026-03-09/"
    assert layout.partition_prefix("raw", "a", HOUR, "hour") == "telemetry/raw/kind=a/date=2026-03-09/hour=06/"
    assert layout.promotion("r", None) == "promotions/r-vs-none.json"
    assert layout.channel_history("champion", 7) == "channels/history/champion/00000007.json"


@pytest.mark.parametrize("kind", ["", "Service", "a/b", "..", "a b", "ü", "a" * 65])
def test_a_kind_cannot_leave_its_folder(kind: str) -> None:
    with pytest.raises(UsageError, match="kind"):
        layout.partition_prefix("raw", kind, DAY, "day")


@pytest.mark.parametrize("name", ["", "history", "a/b", "..", "Champion"])
def test_a_channel_cannot_leave_its_folder(name: str) -> None:
    with pytest.raises(UsageError, match="channel"):
        layout.channel(name)


@pytest.mark.parametrize("check", [layout.checked_kind, layout.checked_channel])
def test_a_trailing_newline_is_no_part_of_a_name(check) -> None:
    with pytest.raises(UsageError):
        check("name\n")
