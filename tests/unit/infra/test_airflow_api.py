"""The demo's client of Airflow: a busy server is asked again, a refusal is not."""

from __future__ import annotations

import httpx
import pytest
from e2e.local_airflow import module


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch):
    """A client whose server gives these answers one after the other, and the paths that it was asked for."""
    airflow_api = module("airflow_api")
    monkeypatch.setattr(airflow_api.Api._answer.retry, "sleep", lambda _: None)

    def client(*given: int | Exception):
        asked, left = [], list(given)

        def answer(request: httpx.Request) -> httpx.Response:
            asked.append(request.url.path)
            now = left.pop(0)
            if isinstance(now, Exception):
                raise now
            return httpx.Response(now, json={})

        transport = httpx.MockTransport(answer)
        return airflow_api.Api(httpx.Client(base_url="http://airflow", transport=transport)), asked

    return client


def test_a_busy_server_is_asked_again(answers) -> None:
    api, asked = answers(500, httpx.ReadTimeout("slow"), 200)
    api.pause("operator_feedback", paused=False)
    assert asked == ["/dags/operator_feedback"] * 3


def test_a_refusal_is_final(answers) -> None:
    api, asked = answers(404, 200)
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        api.pause("nothing")
    assert len(asked) == 1


def test_patience_ends(answers) -> None:
    api, asked = answers(*[500] * 20)
    with pytest.raises(httpx.HTTPStatusError, match="500"):
        api.pause("operator_feedback")
    assert len(asked) == 6


def test_a_run_that_exists_is_not_started(answers) -> None:
    api, _ = answers(503, 200, 409)
    assert api.trigger("telemetry_ingest", "demo__1")
    assert not api.trigger("telemetry_ingest", "demo__1")
