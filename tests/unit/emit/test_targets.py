"""Targets are read, and refused, before any work begins; files are replaced whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetalign.emit.targets import Target, parse_all, write
from fleetalign.errors import StoreError, UsageError


@pytest.mark.parametrize(
    "text",
    [
        "parquet",
        "parquet=",
        "kafka=broker:9092",
        "alertmanager=localhost:9093",
        "openmetrics=s3://bucket/scores.prom",
        "parquet=s3://bucket",
        "parquet=/nowhere/at/all",
    ],
)
def test_what_cannot_work_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError):
        Target.parse(text)


def test_alertmanager_comes_last(tmp_path: Path) -> None:
    texts = ["alertmanager=http://127.0.0.1:9093", f"openmetrics={tmp_path}/a", f"parquet={tmp_path}/b"]
    assert [t.name for t in parse_all(texts)] == ["openmetrics", "parquet", "alertmanager"]


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    for data in (b"one", b"two"):
        write(str(tmp_path / "scores"), data)
    assert (tmp_path / "scores").read_bytes() == b"two"
    assert [path.name for path in tmp_path.iterdir()] == ["scores"]


def test_a_failure_leaves_the_old_file_alone(tmp_path: Path) -> None:
    (tmp_path / "scores").mkdir()
    with pytest.raises(StoreError, match="scores"):
        write(str(tmp_path / "scores"), b"one")
    assert [path.name for path in tmp_path.iterdir()] == ["scores"]


def test_a_folder_that_went_away_is_an_error_of_the_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="gone"):
        write(str(tmp_path / "gone" / "scores"), b"one")


def test_an_object_goes_to_its_bucket(moto_s3) -> None:
    import boto3

    write("s3://fleet/scores/day.parquet", b"bytes")
    assert boto3.client("s3").get_object(Bucket="fleet", Key="scores/day.parquet")["Body"].read() == b"bytes"
