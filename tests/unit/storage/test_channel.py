from __future__ import annotations

import itertools
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from fleetalign.contracts.schema import validate
from fleetalign.errors import BadInput, Conflict, Corrupt, NotFound, UsageError
from fleetalign.storage import channel as channels
from fleetalign.storage import layout
from fleetalign.storage.file import FileStore
from fleetalign.storage.manifest import read_manifest
from fleetalign.storage.memory import MemoryStore
from fleetalign.testing.releases import toy_release
from fleetalign.testing.stores import race

NOW = datetime(2026, 3, 9, 6, tzinfo=UTC)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def releases(store, count: int) -> list[str]:
    return [toy_release(store, threshold=1.0 + index) for index in range(count)]


def move(store, release_id: str, **changes) -> channels.Pointer:
    settings = {"by": "ops", "why": "test", "expires_after_hours": 48.0, "now": NOW}
    return channels.move(store, "champion", release_id, **{**settings, **changes})


def test_the_first_move_creates_the_channel(store: MemoryStore) -> None:
    (release,) = releases(store, 1)
    assert channels.read(store, "champion") is None
    pointer = move(store, release)
    assert channels.read(store, "champion") == pointer
    assert (pointer.sequence, pointer.previous, pointer.previous_sha256) == (1, None, None)
    assert pointer.manifest_sha256 == read_manifest(store, release).digest
    assert (pointer.moved_at, pointer.expires_at) == ("2026-03-09T06:00:00Z", "2026-03-11T06:00:00Z")
    validate("pointer", store.get_json(layout.channel("champion")))


def test_each_move_remembers_where_it_came_from(store: MemoryStore) -> None:
    first, second, third = releases(store, 3)
    pointers = [move(store, release) for release in (first, second, third)]
    assert [p.sequence for p in pointers] == [1, 2, 3]
    assert [p.previous for p in pointers] == [None, first, second]
    assert pointers[2].previous_sha256 == pointers[1].manifest_sha256
    assert channels.history(store, "champion") == pointers
    assert store.get(layout.channel_history("champion", 3)) == store.get(layout.channel("champion"))


def test_moving_to_the_same_release_renews_and_keeps_previous(store: MemoryStore) -> None:
    first, second = releases(store, 2)
    move(store, first)
    move(store, second)
    renewed = move(store, second, now=NOW + timedelta(days=1))
    assert (renewed.previous, renewed.expires_at, renewed.sequence) == (first, "2026-03-12T06:00:00Z", 3)


def test_expiry_includes_its_instant(store: MemoryStore) -> None:
    pointer = move(store, *releases(store, 1))
    assert not pointer.expired(NOW + timedelta(hours=47, minutes=59))
    assert pointer.expired(NOW + timedelta(hours=48))


def test_a_release_that_is_not_there_cannot_be_pointed_to(store: MemoryStore) -> None:
    with pytest.raises(NotFound, match="no such release"):
        move(store, "0" * 16)
    assert channels.read(store, "champion") is None


@pytest.mark.parametrize("missing", ["by", "why"])
def test_a_move_says_who_and_why(store: MemoryStore, missing: str) -> None:
    with pytest.raises(UsageError, match=f"--{missing}"):
        move(store, *releases(store, 1), **{missing: "  "})


@pytest.mark.parametrize("name", ["history", "Champion", "a/b", ""])
def test_channel_names_are_checked(store: MemoryStore, name: str) -> None:
    with pytest.raises(UsageError):
        channels.read(store, name)


def test_names_lists_channels_and_no_history(store: MemoryStore) -> None:
    (release,) = releases(store, 1)
    move(store, release)
    channels.move(store, "challenger", release, "ops", "test", 1.0, NOW)
    assert channels.names(store) == ["challenger", "champion"]


@pytest.mark.parametrize("data", [b"{half", b"[]", b'{"schema_version": "1.0"}'])
def test_a_pointer_that_is_none_is_corrupt(store: MemoryStore, data: bytes) -> None:
    store.put(layout.channel("champion"), data)
    with pytest.raises(Corrupt, match=r"channels/champion.json"):
        channels.read(store, "champion")


def test_a_pointer_of_another_major_version_is_refused(store: MemoryStore) -> None:
    move(store, *releases(store, 1))
    written = store.get(layout.channel("champion"))
    document = written.replace(b'"schema_version": "1.0"', b'"schema_version": "2.0"')
    assert document != written
    store.put(layout.channel("champion"), document)
    with pytest.raises(BadInput, match=r"2\.0"):
        channels.read(store, "champion")


def test_a_decision_based_on_an_old_pointer_conflicts(store: MemoryStore) -> None:
    first, second = releases(store, 2)
    with pytest.raises(Conflict):
        move(store, second, expected=move(store, first, expected=None) and None)
    seen = channels.read(store, "champion")
    move(store, second, expected=seen)
    with pytest.raises(Conflict, match="meanwhile"):
        move(store, first, expected=seen)
    assert len(channels.history(store, "champion")) == 2


@pytest.mark.parametrize("kind_of_store", ["memory", "file"])
def test_exactly_one_racer_wins_each_round_and_history_is_whole(kind_of_store: str, tmp_path) -> None:
    store = MemoryStore() if kind_of_store == "memory" else FileStore(str(tmp_path))
    candidates = releases(store, 2)
    for turn in range(6):
        seen = channels.read(store, "champion")

        def attempt(index: int, seen: channels.Pointer | None = seen) -> bool:
            try:
                move(store, candidates[index], by=f"racer {index}", expected=seen)
            except Conflict:
                return False
            return True

        won = race(2, attempt)
        assert sum(won) == 1
        pointer = channels.read(store, "champion")
        assert (pointer.sequence, pointer.by) == (turn + 1, f"racer {won.index(True)}")
    past = channels.history(store, "champion")
    assert [p.sequence for p in past] == [1, 2, 3, 4, 5, 6]
    assert all(later.previous in (earlier.release_id, earlier.previous) for earlier, later in itertools.pairwise(past))


KILLED_BETWEEN = """
import os, signal, sys
from datetime import UTC, datetime
from fleetalign.storage import channel
from fleetalign.storage.file import FileStore

class Dies(FileStore):
    def put_if_absent(self, key, data):
        if key == "channels/history/champion/00000002.json":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().put_if_absent(key, data)

channel.move(Dies(sys.argv[1]), "champion", sys.argv[2], "victim", "killed between", 48.0, datetime.now(UTC))
"""


def test_a_kill_between_pointer_and_history_loses_nothing(tmp_path) -> None:
    store = FileStore(str(tmp_path))
    first, second, third = releases(store, 3)
    move(store, first)
    victim = subprocess.run([sys.executable, "-c", KILLED_BETWEEN, str(tmp_path), second], check=False)
    assert victim.returncode == -signal.SIGKILL
    assert not store.exists(layout.channel_history("champion", 2)), "the kill came too late to test anything"

    assert channels.read(store, "champion").release_id == second
    assert [p.release_id for p in channels.history(store, "champion")] == [first, second]
    move(store, third)
    assert store.exists(layout.channel_history("champion", 2))
    past = channels.history(store, "champion")
    assert [(p.sequence, p.release_id) for p in past] == [(1, first), (2, second), (3, third)]
    assert past[1].by == "victim"
