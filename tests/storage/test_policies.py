"""The bucket policies of infra/s3 against a server that enforces them: who must read can, and nobody can do more."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto_server import moto_server

from fleetalign.errors import StoreError
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage import channel as channels
from fleetalign.storage import layout
from fleetalign.storage.connect import open_store
from fleetalign.storage.store import Store
from fleetalign.testing.releases import toy_release, toy_telemetry
from fleetalign.testing.stores import StoreConformance

POLICIES = Path(__file__).parents[2] / "infra" / "s3"
PREFIX = "fleet"
BEFORE_AUTH = 10**6


def policy(name: str, bucket: str) -> dict[str, Any]:
    text = (POLICIES / f"{name}.json").read_text().replace("BUCKET", bucket).replace("PREFIX", PREFIX)
    return json.loads(text)


class Cloud:
    """An S3 and IAM server. ``become`` takes the credentials of a user who has one policy and nothing else."""

    def __init__(self, endpoint: str, patch: pytest.MonkeyPatch) -> None:
        self._endpoint, self._patch = endpoint, patch
        for name, value in {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        }.items():
            patch.setenv(name, value)
        self._keys("test", "test")
        self.enforce(after=BEFORE_AUTH)
        self._tell("reset")

    def user(self, name: str, bucket: str) -> tuple[str, str]:
        iam = boto3.client("iam")
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(policy(f"{name}-policy", bucket)))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return key["AccessKeyId"], key["SecretAccessKey"]

    def become(self, key: tuple[str, str]) -> None:
        self._keys(*key)
        self.enforce(after=0)

    def _keys(self, access: str, secret: str) -> None:
        self._patch.setenv("AWS_ACCESS_KEY_ID", access)
        self._patch.setenv("AWS_SECRET_ACCESS_KEY", secret)
        self._patch.setattr(boto3, "DEFAULT_SESSION", None)  # it remembers the credentials before

    def enforce(self, after: int) -> None:
        self._tell("reset-auth", str(after))

    def _tell(self, what: str, body: str = "") -> None:
        kind = {"Content-Type": "text/plain"}
        request = urllib.request.Request(f"{self._endpoint}/moto-api/{what}", body.encode(), kind)
        with urllib.request.urlopen(request, timeout=10):
            pass


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    with moto_server() as url:
        made = Cloud(url, monkeypatch)
        yield made
        made.enforce(after=BEFORE_AUTH)  # moto keeps it for every server of this process


def made(cloud: Cloud, who: str, bucket: str) -> tuple[Store, str, tuple[str, str]]:
    """A store with a promoted release, its uri, and the keys of ``who``."""
    boto3.client("s3").create_bucket(Bucket=bucket)
    uri = f"s3://{bucket}/{PREFIX}"
    store = open_store(uri)
    release_id = toy_release(store)
    channels.move(store, "champion", release_id, "ops", "test", 48.0, datetime.now(UTC))
    store.put("telemetry/validated/x", b"private")
    return store, uri, cloud.user(who, bucket)


def test_a_scorer_reads_what_its_release_serves_and_nothing_else(cloud: Cloud) -> None:
    _, uri, keys = made(cloud, "scorer", "scorer-bucket")
    cloud.become(keys)
    store = open_store(uri)
    scorer = Scorer.open(store, "champion")
    telemetry = toy_telemetry("service", "a", 40)
    assert scorer.score(telemetry).num_rows == telemetry.num_rows
    report = layout.release(scorer.release_id, "report.html")
    for refused in (
        lambda: store.get("telemetry/validated/x"),
        lambda: store.get(report),
        lambda: store.put(layout.channel("champion"), b"{}"),
        lambda: store.delete(layout.release(scorer.release_id, "manifest.json")),
        lambda: list(store.list("")),
    ):
        with pytest.raises(StoreError, match="AccessDenied"):
            refused()


def test_another_tool_drops_statements_and_reads_nothing(cloud: Cloud) -> None:
    _, uri, keys = made(cloud, "feedback", "feedback-bucket")
    cloud.become(keys)
    store = open_store(uri)
    store.put("inbox/feedback/pager.jsonl", b"{}")
    for refused in (
        lambda: store.get("inbox/feedback/pager.jsonl"),
        lambda: store.put("feedback/date=2026-03-02/x.parquet", b""),
        lambda: store.get(layout.channel("champion")),
    ):
        with pytest.raises(StoreError, match="AccessDenied"):
            refused()


class TestThePipelineHasWhatAStoreNeeds(StoreConformance):
    @pytest.fixture
    def store(self, cloud: Cloud) -> Store:
        _, uri, keys = made(cloud, "pipeline", "pipeline-bucket")
        cloud.become(keys)
        return open_store(uri + "/inner")


def test_the_pipeline_stays_in_its_prefix(cloud: Cloud) -> None:
    _, _, keys = made(cloud, "pipeline", "pipeline-bucket")
    boto3.client("s3").put_object(Bucket="pipeline-bucket", Key="other/x", Body=b"")
    cloud.become(keys)
    with pytest.raises(StoreError, match="AccessDenied"):
        open_store("s3://pipeline-bucket/other").get("x")


def test_lifecycle_rules_are_taken_and_never_touch_what_a_release_needs(cloud: Cloud) -> None:
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="rules")
    s3.put_bucket_lifecycle_configuration(Bucket="rules", LifecycleConfiguration=policy("lifecycle", "rules"))
    taken = s3.get_bucket_lifecycle_configuration(Bucket="rules")["Rules"]
    assert {rule["ID"] for rule in taken} == {rule["ID"] for rule in policy("lifecycle", "rules")["Rules"]}
    needed = ("releases/", "models/", "aligners/", "normalizers/", "channels/", "plans/", "feedback/", "mutes/", "dvc/")
    for rule in taken:
        prefix = rule["Filter"]["Prefix"].removeprefix(f"{PREFIX}/")
        if "Expiration" in rule:
            assert prefix and not any(key.startswith(prefix) or prefix.startswith(key) for key in needed), rule["ID"]
