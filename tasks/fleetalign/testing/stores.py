"""Conformance suite of stores: a pytest class to subclass with a fixture ``store``.

::

    class TestMyStore(StoreConformance):
        @pytest.fixture
        def store(self, tmp_path):
            return MyStore(tmp_path)
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest

from fleetalign.contracts.hashing import sha256
from fleetalign.errors import Conflict, Corrupt, NotFound, NotReproducible
from fleetalign.storage.store import Store

RACERS = 16
LARGE_BYTES = 20 * 2**20
ODD_KEYS = ("a.b", "a/b=c", "a/b c", "a/ü", "a/%41", "a-b/c", "aa", "a/b/c/d/e.json", "a/+&?#'()~!*,;@$")


T = TypeVar("T")


def race(calls: int, act: Callable[[int], T]) -> list[T]:
    """Run ``act(0) ..

    Act(calls - 1)`` in threads that start together; return the results in order.
    """
    barrier = threading.Barrier(calls)

    def started(index: int) -> T:
        barrier.wait()
        return act(index)

    with ThreadPoolExecutor(calls) as pool:
        return list(pool.map(started, range(calls)))


class StoreConformance:
    """Tests contracts 5.3 and 5.4 on single keys.

    No key lies below another one (``a`` and ``a/b``), because files cannot do that.
    """

    large_bytes = LARGE_BYTES
    """Size of the large object."""
    many = 1_050
    """Objects to list: more than one page of S3's."""

    def test_bytes_come_back_exactly(self, store: Store) -> None:
        for data in (b"", b"\x00\xff\r\n\x1a", bytes(range(256)) * 7):
            store.put("exact", data)
            assert store.get("exact") == data
            assert store.get_checked("exact", sha256(data)) == data

    def test_a_large_object_comes_back_exactly(self, store: Store) -> None:
        data = bytes(range(251)) * (self.large_bytes // 251)
        store.put("large", data)
        assert sha256(store.get("large")) == sha256(data)

    def test_what_is_not_there_is_not_found(self, store: Store) -> None:
        store.put("folder/object", b"x")
        for key in ("missing", "folder", "folder/objec", "folder/object-and-more"):
            with pytest.raises(NotFound) as caught:
                store.get(key)
            assert key in str(caught.value)
            assert not store.exists(key)
        assert store.exists("folder/object")

    def test_put_replaces(self, store: Store) -> None:
        store.put("key", b"a long first value")
        store.put("key", b"short")
        assert store.get("key") == b"short"

    def test_create_if_absent_writes_once(self, store: Store) -> None:
        assert store.put_if_absent("key", b"first")
        assert not store.put_if_absent("key", b"second")
        assert store.get("key") == b"first"

    def test_exactly_one_racer_creates(self, store: Store) -> None:
        for turn in range(3):

            def create(index: int, turn: int = turn) -> bool:
                return store.put_if_absent(f"race/{turn}", str(index).encode())

            won = race(RACERS, create)
            assert sum(won) == 1
            assert store.get(f"race/{turn}") == str(won.index(True)).encode()

    def test_an_immutable_key_keeps_its_bytes(self, store: Store) -> None:
        store.put_immutable("key", b"same")
        store.put_immutable("key", b"same")
        with pytest.raises(NotReproducible):
            store.put_immutable("key", b"other")
        assert store.get("key") == b"same"

    def test_swap_needs_the_current_version(self, store: Store) -> None:
        store.swap("key", b"one", None)
        first = store.get_versioned("key")
        store.swap("key", b"two", first.version)
        for stale in (first.version, None):
            with pytest.raises(Conflict):
                store.swap("key", b"three", stale)
        assert store.get("key") == b"two"

    def test_swap_of_a_deleted_key_conflicts(self, store: Store) -> None:
        store.put("key", b"one")
        version = store.get_versioned("key").version
        store.delete("key")
        with pytest.raises(Conflict):
            store.swap("key", b"two", version)
        assert not store.exists("key")

    def test_exactly_one_racer_swaps_each_round(self, store: Store) -> None:
        store.put("key", b"start")
        for turn in range(3):
            version = store.get_versioned("key").version

            def swap(index: int, version: str = version, turn: int = turn) -> bool:
                try:
                    store.swap("key", f"{turn}/{index}".encode(), version)
                except Conflict:
                    return False
                return True

            won = race(RACERS, swap)
            assert sum(won) == 1
            assert store.get("key") == f"{turn}/{won.index(True)}".encode()

    def test_no_increment_is_lost(self, store: Store) -> None:
        store.put("counter", b"0")

        def increment(_: int) -> None:
            while True:
                seen = store.get_versioned("counter")
                try:
                    store.swap("counter", str(int(seen.data) + 1).encode(), seen.version)
                except Conflict:
                    continue
                return

        race(8, increment)
        assert store.get("counter") == b"8"

    def test_readers_never_see_a_mixture(self, store: Store) -> None:
        values = [bytes([letter]) * 400_000 for letter in b"abcd"]
        store.put("key", values[0])
        done = threading.Event()

        def act(index: int) -> set[bytes]:
            seen: set[bytes] = set()
            if index == 0:
                for turn in range(24):
                    store.put("key", values[turn % len(values)])
                done.set()
            while index and not done.is_set():
                data = store.get("key")
                seen.add(data if data not in values else b"whole")
            return seen

        assert frozenset[bytes]().union(*race(4, act)) <= {b"whole"}

    def test_list_is_sorted_and_by_prefix(self, store: Store) -> None:
        before = datetime.now(UTC) - timedelta(minutes=5)
        for key in reversed(ODD_KEYS):
            store.put(key, key.encode())
        assert [info.key for info in store.list("")] == sorted(ODD_KEYS)
        assert [info.key for info in store.list("a/b")] == sorted(k for k in ODD_KEYS if k.startswith("a/b"))
        assert list(store.list("nothing/here/")) == []
        for info in store.list(""):
            assert store.get(info.key) == info.key.encode()
            assert info.bytes == len(info.key.encode())
            assert before < info.modified_at < datetime.now(UTC) + timedelta(minutes=5)

    def test_list_has_every_object_of_many(self, store: Store) -> None:
        keys = [f"many/{index:04d}" for index in range(self.many)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: store.put(key, b""), keys))
        assert [info.key for info in store.list("many/")] == keys

    def test_delete_is_idempotent(self, store: Store) -> None:
        store.put("key", b"x")
        store.delete("key")
        store.delete("key")
        assert not store.exists("key")
        assert list(store.list("")) == []

    def test_altered_bytes_are_corrupt(self, store: Store) -> None:
        store.put("key", b"altered")
        with pytest.raises(Corrupt):
            store.get_checked("key", sha256(b"original"))
        store.put("document.json", b"{half")
        with pytest.raises(Corrupt):
            store.get_json("document.json")
