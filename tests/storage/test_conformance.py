"""The conformance suite over every store that ships; S3 is moto's server, spoken to over HTTP."""

from __future__ import annotations

import itertools

import boto3
import pytest
from moto_server import moto_server

from fleetalign.storage.connect import open_store
from fleetalign.storage.file import FileStore
from fleetalign.storage.memory import MemoryStore
from fleetalign.testing.stores import StoreConformance

_names = itertools.count()


class TestMemoryStore(StoreConformance):
    @pytest.fixture
    def store(self):
        return MemoryStore()


class TestFileStore(StoreConformance):
    @pytest.fixture
    def store(self, tmp_path):
        return FileStore(str(tmp_path / "store"))


@pytest.fixture(scope="module")
def s3_endpoint():
    with moto_server() as url:
        yield url


@pytest.fixture
def bucket(s3_endpoint, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    name = f"bucket-{next(_names)}"
    boto3.client("s3").create_bucket(Bucket=name)
    return name


class TestS3Store(StoreConformance):
    @pytest.fixture
    def store(self, bucket):
        return open_store(f"s3://{bucket}/some/prefix")


class TestS3StoreAtTheBucketsRoot(StoreConformance):
    many = 20

    @pytest.fixture
    def store(self, bucket, monkeypatch):
        monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
        return open_store(f"s3://{bucket}")


def test_two_prefixes_of_a_bucket_do_not_see_each_other(bucket) -> None:
    left, right = open_store(f"s3://{bucket}/left"), open_store(f"s3://{bucket}/left-and-right")
    left.put("key", b"left")
    assert list(right.list("")) == []
    assert [info.key for info in left.list("")] == ["key"]


def test_a_missing_bucket_is_a_store_error_that_names_it(bucket) -> None:
    from fleetalign.errors import StoreError

    with pytest.raises(StoreError, match="no-such-bucket"):
        open_store("s3://no-such-bucket/prefix").put("key", b"")
