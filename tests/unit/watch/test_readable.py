"""What of a store a browser may see."""

from __future__ import annotations

import pytest

from fleetalign.errors import NotFound
from fleetalign.interval import Interval
from fleetalign.storage import layout
from fleetalign.watch.readable import HTML, JSON, media_type

ID, DAY = "0123456789abcdef", Interval.parse("2026-03-02", "2026-03-03")
RESULT = layout.validation_result("web", DAY, "hour")


@pytest.mark.parametrize(
    ("key", "found"),
    [
        (layout.release(ID, "report.html"), HTML),
        (layout.release(ID, "manifest.json"), JSON),
        (layout.release(ID, "provenance.json"), JSON),
        (layout.promotion(ID, None), JSON),
        (layout.promotion(ID, ID), JSON),
        (layout.drift(ID, "2026-03-02", "report.html"), HTML),
        (layout.drift(ID, "2026-03-02"), JSON),
        (RESULT, JSON),
        (f"{layout.data_docs_of(RESULT)}telemetry/web_2026-03-02T00/20260302T000000.000000Z/fleetalign.html", HTML),
    ],
)
def test_what_was_written_for_people(key: str, found: str) -> None:
    assert media_type(key) == found


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "../secret",
        f"releases/{ID}/../../plans/{ID}.json",
        f"releases/{ID}/report.html/",
        f"releases/{ID}/report.html\n",
        f"releases/{ID.upper()}/report.html",
        f"releases/{ID}/",
        "validation/data_docs/kind=web/date=2026-03-02/../../../channels/champion.html",
        "validation/data_docs/kind=web/date=2026-03-02/.hidden.html",
        "validation/data_docs/kind=web/date=2026-03-02/page.js",
        "validation/data_docs/index.html",
        layout.plan(ID),
        layout.aligner(ID),
        layout.model(ID, "model.onnx"),
        layout.partition_prefix("validated", "web", DAY, "day") + "_partition.json",
        layout.feedback_part("2026-03-02", ID),
        layout.channel("champion"),
        layout.REGISTRY_BUNDLE,
        ".fleetalign/locks/x",
        "releases\\..\\x",
    ],
)
def test_nothing_else(key: str) -> None:
    with pytest.raises(NotFound):
        media_type(key)
