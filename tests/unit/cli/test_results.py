"""``--output json`` prints one document with the documented keys, and the text stays for people."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fleetalign.cli import main
from fleetalign.cli.parser import current_name, parser
from fleetalign.cli.results import RESULTS
from fleetalign.interval import Interval
from fleetalign.storage import channel, lake, layout
from fleetalign.storage.connect import open_store
from fleetalign.storage.store import Store
from fleetalign.testing.releases import toy_release, toy_telemetry

DAY = Interval.parse("2026-03-09", "2026-03-10")


class Served:
    """A store with two releases, the older on the channel, and one day of telemetry of two entities."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        self.uri = str(folder / "store")
        self.store: Store = open_store(self.uri)
        self.first, self.second = (toy_release(self.store, threshold=t) for t in (1.0, 2.0))
        channel.move(self.store, "champion", self.first, "ana", "the first", 48.0, datetime.now(UTC))
        self.telemetry = folder / "telemetry.parquet"
        pq.write_table(toy_telemetry("service", "a", 60), self.telemetry)

    def json(self, *arguments: object, code: int = 0) -> dict[str, Any]:
        """The document of a command, whose keys are the documented ones."""
        texts = [*map(str, arguments), "--output", "json"]
        command = parser().parse_args(current_name(texts)).command
        assert main(texts) == code, self.capsys.readouterr().err
        found = json.loads(self.capsys.readouterr().out)
        assert set(found) == set(RESULTS[command]), command
        return found

    def text(self, *arguments: object, code: int = 0) -> str:
        assert main([str(a) for a in arguments]) == code, self.capsys.readouterr().err
        return self.capsys.readouterr().out


@pytest.fixture
def served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Served:
    return Served(tmp_path, capsys)


def test_releases_are_listed_shown_and_verified(served: Served) -> None:
    store = ["--store", served.uri]
    listed = served.json("release", "list", *store)
    assert {r["release_id"]: r["channels"] for r in listed["releases"]} == {
        served.first: ["champion"],
        served.second: [],
    }
    assert [p["why"] for p in listed["history"]] == ["the first"]
    printed = served.text("releases", *store)
    assert f"{served.first}  " in printed and "<- champion" in printed
    assert f"champion    1  {served.first}" in printed
    shown = served.json("release", "show", *store)
    assert (shown["release_id"], shown["channels"]) == (served.first, ["champion"])
    assert shown["manifest"]["release_id"] == served.first
    printed = served.text("release", "show", "--release", served.second, *store)
    assert printed.startswith(f"release {served.second}\nchannels none\n")
    assert "kind service: toy" in printed
    assert served.json("release", "verify", *store)["problems"] == []
    assert served.text("verify", *store).startswith(f"release {served.first} verifies")
    (served.folder / "store" / shown["manifest"]["aligner"]).write_bytes(b"altered")
    assert len(served.json("release", "verify", *store, code=1)["problems"]) == 1


def test_an_empty_store_lists_nothing(served: Served) -> None:
    assert served.text("release", "list", "--store", served.folder / "empty") == ""
    assert main(["release", "show", "--store", str(served.folder / "empty")]) == 4
    assert "points nowhere" in served.capsys.readouterr().err
    assert main(["explain", "--store", str(served.folder / "empty")]) == 2
    assert "there is no release yet" in served.capsys.readouterr().err


def test_a_channel_is_promoted_and_rolled_back(served: Served) -> None:
    store = ["--store", served.uri]
    moved = served.json("promote", served.second, "--channel", "canary", "--why", "newer", *store)
    assert (moved["moved"], moved["champion_before"]) == (True, None)
    channel.move(served.store, "champion", served.second, "ana", "newer", 48.0, datetime.now(UTC))
    back = served.json("release", "rollback", "--why", "too many pages", *store)
    assert (back["release_id"], back["sequence"]) == (served.first, 3)
    out = served.folder / "report.html"
    served.store.put(layout.release(served.first, "report.html"), b"<p>gates</p>")
    assert served.json("release", "report", "--out", out, *store) == {"release_id": served.first, "file": str(out)}
    assert served.text("report", "--out", out, *store) == f"{out}\n"
    assert out.read_bytes() == b"<p>gates</p>"
    assert served.json("gc", *store)["dry_run"] is True


def test_scores_are_sent_and_backtested(served: Served) -> None:
    store, out = ["--store", served.uri], served.folder / "scores.parquet"
    scored = served.json("score", "--telemetry", served.telemetry, "--out", out, *store)
    assert (scored["release_id"], scored["samples"]) == (served.first, 60)
    assert scored["targets"] == [{"name": "parquet", "where": str(out)}]
    assert sum(scored["without_score"].values()) + scored["alarms"] <= 60
    pages = served.json("feedback", "pages", "--scores", out)["pages"]
    assert [p["page_id"] for p in pages] == [page for i in scored["incidents"] for page in i["pages"]]
    printed = served.text("score", "--telemetry", served.telemetry, "--out", out, *store).splitlines()
    assert printed[0].startswith(
        f"60 samples scored by release {served.first}: {scored['alarms']} alarms; without a score: "
    )
    assert printed[1] == f"{len(pages)} pages in {len(scored['incidents'])} incidents"
    assert printed[-1] == str(out)
    table = toy_telemetry("service", "a", 60)
    lake.write_partition(served.store, "validated", "service", DAY, "day", table, 60, {})
    span = ["--from", "2026-03-09", "--to", "2026-03-10"]
    found = served.json("backtest", *span, "--against", served.second, "--out", served.folder / "b", *store)
    assert [side["name"] for side in found["sides"]] == [served.first, served.second]
    assert json.loads((served.folder / "b" / "backtest.json").read_text()) == found
    assert served.text("backtest", *span, "--budget", 0, *store).splitlines()[3].split()[3] == "0"
    assert main(["backtest", *span, "--budget", "-1", *store]) == 2
    served.capsys.readouterr()
    assert main(["backtest", *span, "--against", served.first, *store]) == 0
    assert f"warning: both sides are release {served.first}" in served.capsys.readouterr().err


def test_operators_speak_and_are_listed(served: Served) -> None:
    store = ["--store", served.uri]
    ingested = served.json("ingest", "--telemetry", served.telemetry, *store)
    assert ingested["rows"]["kept"] == 60
    about = ["--entity", "a", "--from", "2026-03-09T00:10", "--to", "2026-03-09T00:20"]
    said = served.json("feedback", "add", *about, "--verdict", "false_alarm", "--by", "ana", *store)
    retracted = served.json("feedback", "retract", said["feedback_id"], "--why", "typo", *store)
    assert retracted["retracts"] == said["feedback_id"]
    first, second = served.json("feedback", "list", *store)["statements"]
    assert (first["feedback_id"], first["verdict"], first["retracted"]) == (said["feedback_id"], "normal", True)
    assert (second["retracts"], second["start"]) == (said["feedback_id"], "2026-03-09T00:10:00Z")
    printed = served.text("feedback", "list", "--entity", "service/a", *store).splitlines()
    assert printed[0].startswith(said["feedback_id"]) and "normal  (retracted)  ana" in printed[0]
    assert f"retracts {said['feedback_id']}" in printed[1]
    file = served.folder / "feedback.csv"
    file.write_text("entity_id,start,end,verdict\na,2026-03-09T00:30:00Z,2026-03-09T00:40:00Z,anomaly\n")
    assert served.json("feedback", "import", file, "--kind", "service", *store)["new"] == 1
    assert served.json("feedback", "collect", *store)["objects"] == 0
    muted = served.json("mute", "add", "--kind", "service", "--metric", "cpu", "--why", "noisy", *store)["mute_id"]
    lifted = served.json("mute", "lift", muted[:6], "--why", "fixed", "--at", "2026-03-10", *store)
    assert lifted == {"mute_id": muted, "until": "2026-03-10T00:00:00Z"}
    (listed,) = served.json("mute", "list", *store)["mutes"]
    assert (listed["mute_id"], listed["from"], listed["lifts"][0]["at"]) == (muted, None, "2026-03-10T00:00:00Z")
    assert "; lifted at 2026-03-10T00:00:00Z by " in served.text("mute", "list", *store)


def test_files_are_inspected_and_simulated(served: Served) -> None:
    found = served.json("inspect", served.telemetry)
    assert (found["rows"], found["entities"], found["step_seconds"]) == (60, ["a"], 60)
    written = served.json("simulate", "--out", served.folder / "fleet", "--days", 1, "--entities", 2)["files"]
    assert written and all(Path(path).is_file() for path in written)
