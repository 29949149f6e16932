from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fleetalign.contracts.hashing import data_version
from fleetalign.contracts.schema import validate
from fleetalign.errors import BadInput, Corrupt, NotFound, NotReproducible
from fleetalign.release.publish import publish
from fleetalign.release.verify import verify
from fleetalign.storage import layout
from fleetalign.storage.file import FileStore
from fleetalign.storage.manifest import read_manifest, release_id_of
from fleetalign.storage.memory import MemoryStore
from fleetalign.testing.releases import toy_release


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def test_the_manifest_is_written_last_and_only_once(store: MemoryStore, monkeypatch) -> None:
    written = []
    plain = MemoryStore.put_if_absent
    monkeypatch.setattr(
        MemoryStore, "put_if_absent", lambda self, key, data: (written.append(key), plain(self, key, data))[1]
    )
    release_id = toy_release(store)
    assert written[-1] == layout.release(release_id, "manifest.json")
    before = {info.key: (store.get(info.key), info.modified_at) for info in store.list("")}
    assert toy_release(store) == release_id
    assert {info.key: (store.get(info.key), info.modified_at) for info in store.list("")} == before


def test_the_id_depends_on_content_alone(store: MemoryStore, tmp_path) -> None:
    release_id = toy_release(store)
    assert toy_release(FileStore(str(tmp_path))) == release_id
    assert toy_release(store, threshold=1.5) != release_id
    manifest = read_manifest(store, release_id)
    turned = replace(manifest, files=manifest.files[::-1])
    assert publish(store, turned, {"host": "elsewhere", "at": "another day"}) == release_id
    changed = replace(manifest, coverage=replace(manifest.coverage, own_rows=1))
    assert publish(store, changed, {}) != release_id


def test_provenance_and_report_are_beside_and_not_hashed(store: MemoryStore) -> None:
    manifest = replace(read_manifest(store, toy_release(store)), data_version=data_version(["b", "a"]))
    release_id = publish(store, manifest, {"plan_id": "p"}, b"<html>")
    assert publish(store, manifest, {"plan_id": "q"}, b"<html>other") == release_id
    assert store.get_json(layout.release(release_id, "provenance.json")) == {"plan_id": "p"}
    assert store.get(layout.release(release_id, "report.html")) == b"<html>"
    assert manifest.data_version == data_version(["a", "b"])


def test_a_file_that_is_not_there_or_differs_stops_the_release(store: MemoryStore) -> None:
    manifest = replace(read_manifest(store, toy_release(store)), data_version="0" * 16)
    for change, error in (
        ({"key": "models/none/x"}, NotFound),
        ({"sha256": "0" * 64}, Corrupt),
        ({"bytes": 1}, Corrupt),
    ):
        first, *others = manifest.files
        broken = replace(manifest, files=(replace(first, **change), *others))
        listed = {info.key for info in store.list(layout.RELEASES)}
        with pytest.raises(error):
            publish(store, broken, {})
        assert {info.key for info in store.list(layout.RELEASES)} == listed


def test_a_manifest_that_breaks_its_schema_is_refused_by_path(store: MemoryStore) -> None:
    manifest = read_manifest(store, toy_release(store))
    kinds = {"service": replace(manifest.kinds["service"], window_steps="eight")}
    with pytest.raises(BadInput, match=r"\$\.kinds\.service\.window_steps"):
        publish(store, replace(manifest, kinds=kinds), {})


def test_other_bytes_under_the_same_id_are_a_bug(store: MemoryStore) -> None:
    release_id = toy_release(store)
    key = layout.release(release_id, "manifest.json")
    store.put(key, store.get(key) + b" ")
    with pytest.raises(NotReproducible):
        toy_release(store)


def test_the_published_manifest_follows_its_schema(store: MemoryStore) -> None:
    manifest = read_manifest(store, toy_release(store))
    validate("manifest", manifest.as_document())
    assert release_id_of(manifest.as_document()) == manifest.release_id
    with pytest.raises(Corrupt, match="does not list it"):
        manifest.file("models/none/x")


def test_a_whole_release_verifies(store: MemoryStore) -> None:
    assert verify(store, toy_release(store)) == []
    with pytest.raises(NotFound):
        verify(store, "0" * 16)


def test_verify_names_every_file_that_is_wrong(store: MemoryStore) -> None:
    release_id = toy_release(store)
    files = read_manifest(store, release_id).files
    store.put(files[0].key, b"altered")
    store.delete(files[1].key)
    problems = verify(store, release_id)
    assert len(problems) == 2
    assert files[0].key in problems[0] and "sha256" in problems[0]
    assert files[1].key in problems[1] and "does not exist" in problems[1]


def test_verify_sees_an_altered_manifest(store: MemoryStore) -> None:
    release_id = toy_release(store)
    key = layout.release(release_id, "manifest.json")
    document = store.get_json(key)
    document["aligner_id"] = "0" * 16
    store.put(key, json.dumps(document).encode())
    assert "its content has id" in verify(store, release_id)[0]


def test_verify_sees_a_graph_that_does_not_repeat_its_golden_vectors(store: MemoryStore) -> None:
    import numpy as np

    from fleetalign.contracts.golden import cases, to_table
    from fleetalign.contracts.tables import from_parquet, to_parquet
    from fleetalign.release.publish import file_entry

    manifest = read_manifest(store, toy_release(store))
    entry = manifest.kinds["service"]
    key, other = entry.golden, "models/other/golden.parquet"
    found = cases(from_parquet(store.get(key), key))
    found[0]["outputs"]["score"][0] += np.float32(0.01)
    data = to_parquet(to_table(found))
    store.put(other, data)
    files = (*(f for f in manifest.files if f.key != key), file_entry(other, data, "golden"))
    changed = replace(manifest, kinds={"service": replace(entry, golden=other)}, files=files)
    release_id = publish(store, changed, {})
    (problem,) = verify(store, release_id)
    assert "golden vectors" in problem
