"""``make demo``: runs a simulated fleet through the real DAGs on a local Airflow.

It ends with a release that a scorer has used.

``make stack`` does the same on PostgreSQL, Redis and Celery workers. Safe to run again: runs have fixed ids, so a second
demo starts nothing and shows the same release. The UI stays up until ``make down``. State lives in .demo/, which
``make clean`` deletes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from airflow_api import Api, StandaloneError
from airflow_home import REPOSITORY, USERS, AirflowHome, Say
from stack import Stack
from standalone import Standalone

from fleetalign.config import Config, load
from fleetalign.contracts.manifest import Coverage
from fleetalign.errors import FleetalignError
from fleetalign.interval import Interval, parse_time, partition_key, split

DEMO = REPOSITORY / ".demo"
PARAMS = Path(__file__).parent / "demo.params.yaml"
CHAIN_SECONDS = 900.0
SCORE_SECONDS = 120.0
PROGRESS_SECONDS = 5.0
CONTROLS = ("random", "shifted", "untrained")
FIGURES = ("event_f1", "event_precision", "event_recall", "false_pages_per_entity_day")
CHAIN = (
    "telemetry_ingest",
    "telemetry_validate",
    "pretrain_due",
    "shared_pretrain",
    "entity_align",
    "release_promote",
)
CRON_DAGS = (
    "telemetry_ingest",
    "shared_pretrain",
    "entity_align",
    "operator_feedback",
    "drift_check",
    "fleet_health",
    "storage_gc",
)
DAGS = {*CHAIN, *CRON_DAGS, "release_rollback", "fleet_scoring"}


def partition_keys(config: Config) -> list[str]:
    """List the partition keys of every day of the simulated fleet."""
    fleet = config.source.simulator
    start = parse_time(fleet.start)
    days = split(Interval(start, start + timedelta(days=fleet.days)), config.partition)
    return [partition_key(day, config.partition) for day in days]


def bring_up(airflow: AirflowHome, say: Say) -> Api:
    """Return a healthy Airflow with its DAGs and pools: the running one, or a new one."""
    if airflow.healthy():
        say(f"Airflow is already up at {airflow.url}")
    else:
        if not airflow.processes():
            say("starting Airflow (first start: about a minute) …")
        airflow.start(say)
        airflow.wait_healthy()
    api = airflow.api()
    api.wait_for_dags(DAGS)
    say(f"Airflow is up: {len(DAGS)} DAGs at {airflow.url}")
    return api


def run_chain(api: Api, keys: list[str], say: Say) -> None:
    """Start one keyed ingest run per day and wait for the release that follows.

    Runs that exist are not started again.

    Raises:
        StandaloneError: A run failed.
    """
    earlier = len(api.events("release"))
    started = [key for key in keys if api.trigger("telemetry_ingest", f"demo__{key}", key)]
    if started:
        for dag_id in CRON_DAGS:
            api.pause(dag_id, paused=False)
        say(f"started {len(started)} keyed ingest runs, {started[0]} to {started[-1]}")
    shown, shown_at = "", 0.0

    def watch(runs: list[dict[str, Any]]) -> None:
        nonlocal shown, shown_at
        failed = [run for run in runs if run["state"] == "failed" and run["dag_id"] in CHAIN]
        if failed:
            raise StandaloneError(f"{failed[0]['dag_id']} failed: {reason(api, failed[0])}")
        text = progress(runs)
        if text != shown and time.monotonic() - shown_at > PROGRESS_SECONDS:
            say(text)
            shown, shown_at = text, time.monotonic()

    # Between a late task and the run that it wakes Airflow may look idle: the release event decides.
    deadline = time.monotonic() + CHAIN_SECONDS
    quiet_looks = 0
    while quiet_looks < 3:
        api.wait_idle(max(deadline - time.monotonic(), 1.0), watch)
        if len(api.events("release")) > (earlier if started else 0):
            return
        quiet_looks += 1
        time.sleep(3.0)
    raise StandaloneError("no run is left and there is no release; start over with: make clean demo")


def progress(runs: list[dict[str, Any]]) -> str:
    done = Counter(run["dag_id"] for run in runs if run["state"] == "success")
    total = Counter(run["dag_id"] for run in runs)
    return " · ".join(f"{dag_id} {done[dag_id]}/{total[dag_id]}" for dag_id in CHAIN if total[dag_id])


def reason(api: Api, run: dict[str, Any]) -> str:
    """Return the last error line of a run's first failed task, or where to look."""
    for task in api.task_instances(run["dag_id"], run["dag_run_id"]):
        if task["state"] == "failed":
            lines = api.error_lines(task)
            return f"{task['task_id']}: {lines[-1] if lines else 'see its log in the UI'}"
    return f"see run {run['dag_run_id']} in the UI"


def score_elsewhere(store: str, telemetry: Path, out: Path) -> str:
    """Score a file in another process with the champion, as a consumer would."""
    command = [str(Path(sys.executable).parent / "fleetalign"), "score", "--store", store, "--channel", "champion"]
    done = subprocess.run(
        [*command, "--telemetry", str(telemetry), "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
        timeout=SCORE_SECONDS,
    )
    if done.returncode:
        raise StandaloneError(f"the scorer failed: {done.stderr.strip()}")
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    scores = pq.read_table(out, columns=["score", "alarm"])
    alarms = pc.sum(pc.cast(pc.fill_null(scores["alarm"], False), "int64")).as_py()
    scored = len(scores) - scores["score"].null_count
    return f"another process scored {scored} samples with the release, {alarms} alarms: {out}"


def summary(store_uri: str) -> list[str]:
    """Return the release id and the figures with controls from the champion's manifest."""
    from fleetalign.storage import channel
    from fleetalign.storage.connect import open_store
    from fleetalign.storage.manifest import read_manifest

    store = open_store(store_uri)
    pointer = channel.read(store, "champion")
    if pointer is None:
        raise StandaloneError(
            "no release was promoted to champion; see `fleetalign explain`, or start over: make clean demo"
        )
    manifest = read_manifest(store, pointer.release_id)
    lines = [f"release {manifest.release_id}", f"  coverage: {coverage_text(manifest.coverage)}"]
    evaluation = manifest.evaluation
    if evaluation:
        lines.append(f"  judged: {evaluation['protocol']}, {evaluation['incidents']:g} incidents")
        lines.append(f"  {'figure':32} {'detector [95 %]':>22} {'random':>9} {'shifted':>9} {'untrained':>9}")
        for figure in (f for f in evaluation["figures"] if f["name"] in FIGURES):
            cells = [estimate_text(figure["detector"]), *(number((figure[c] or {}).get("value")) for c in CONTROLS)]
            lines.append("  {:32} {:>22} {:>9} {:>9} {:>9}".format(figure["name"], *cells))
    return lines


def coverage_text(coverage: Coverage) -> str:
    states = ", ".join(f"{state} {count}" for state, count in coverage.by_state.items() if count)
    return f"{coverage.own_rows} of {coverage.entities} entities have a row of their own ({states})"


def estimate_text(estimate: dict[str, Any]) -> str:
    return f"{number(estimate['value'])} [{number(estimate['low'])}, {number(estimate['high'])}]"


def number(value: Any) -> str:
    return "-" if value is None else f"{value:.3g}" if isinstance(value, int | float) else str(value)


def demo(airflow: AirflowHome, say: Say) -> None:
    config = load(airflow.params)
    api = bring_up(airflow, say)
    keys = partition_keys(config)
    run_chain(api, keys, say)
    for dag_id in CRON_DAGS:
        api.pause(dag_id)
    store = Path(airflow.store.removeprefix("file://"))
    telemetry = store / "telemetry" / "validated"
    say(score_elsewhere(airflow.store, telemetry, airflow.home.parent / "scores.parquet"))
    lines = summary(airflow.store)
    release_id = lines[0].split()[-1]
    for line in (*lines, f"report   {store / 'releases' / release_id / 'report.html'}"):
        say(line)
    logins = " or ".join(f"{name} / {name}" for name in USERS)
    say(f"UI       {airflow.url}  (login {logins}); it stays up: make down ends it")


def airflow_of(home: Path, port: int, stack: bool) -> AirflowHome:
    """Return the Airflow and the store of ``make demo``, or of ``make stack`` in its own folder."""
    kind, home = (Stack, home / "stack") if stack else (Standalone, home)
    return kind(home / "airflow", f"file://{home / 'store'}", PARAMS, port)


def main() -> int:
    parser = argparse.ArgumentParser(description="The whole chain on a local Airflow.")
    parser.add_argument("--port", type=int, default=8080, help="port of Airflow's UI; the two after it are used too")
    parser.add_argument("--home", type=Path, default=DEMO, help="where the demo keeps everything")
    parser.add_argument("--stack", action="store_true", help="on PostgreSQL, Redis and Celery workers")
    parser.add_argument("--down", action="store_true", help="stop either Airflow of the home")
    options = parser.parse_args()
    name = "stack" if options.stack else "demo"
    airflow = airflow_of(options.home.absolute(), options.port, options.stack)
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"[{time.monotonic() - began:4.0f} s] {line}", flush=True)

    if options.down:
        either = [airflow_of(options.home.absolute(), options.port, stack) for stack in (False, True)]
        say(f"ended {sum(one.stop() for one in either)} processes")
        return 0
    try:
        demo(airflow, say)
    except (StandaloneError, FleetalignError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except httpx.HTTPError as error:
        answer = f"Airflow at {airflow.url} does not answer: {error}; run make down, then make {name}"
        print(f"{name}: {answer}", file=sys.stderr)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
