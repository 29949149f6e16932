"""Every server of a real Airflow killed with SIGKILL in every step of the chain: what it costs, and that no release changes.

Airflow is started by ``infra/local/kills.py`` in a process of its own. ``run`` measures, ``tables`` and ``plots`` show.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import programs
from bench.tables import table

PROGRAM = programs.FOLDER / "kills.py"
QUICK = ("--server", "worker", "--step", "pretrain", "align_shard")
TIMEOUT_SECONDS = 5_400
PICTURE = "kills.png"


def run(folder: Path, quick: bool, progress: Any = None, program: Path = PROGRAM) -> dict[str, Any]:
    """Kill and measure; plain JSON values. About half an hour, ``quick`` about four minutes.

    Raises UsageError outside a checkout of the repository, FleetalignError when a run went red or a release differs.
    """
    return programs.measured("kills", program, QUICK if quick else (), quick, TIMEOUT_SECONDS)


def tables(result: Mapping[str, Any]) -> str:
    """Seconds from the kill to the end of the step by server and step, as Markdown."""
    cases = result["cases"]
    servers = list(dict.fromkeys(case["server"] for case in cases))
    seconds = {(case["server"], case["step"]): case for case in cases}

    def cell(step: str, server: str) -> str:
        case = seconds.get((server, step))
        return "" if case is None else f"{case['step_seconds']:.0f} s ({case['tries']})"

    columns = [("killed while it runs", lambda step: step)]
    columns += [(server, lambda step, s=server: cell(step, s)) for server in servers]
    words = (
        f"{programs.introduced(result)}; {result['entities']} simulated entities, {result['days']} days, PostgreSQL, Redis and "
        "Celery on that one machine. Each server (*worker*: the one that has the task) is killed once in every step and started "
        "again as a supervisor would. **All "
        f"{len(cases)} runs ended green, with the release id of an undisturbed chain**; the program fails otherwise."
        + (" A quick run: two cases." if result["quick"] else "")
    )
    meaning = (
        "Seconds from the kill to the end of that step, in round brackets which try of its task ended it. A task whose worker "
        "died is missed after `scheduler.task_instance_heartbeat_timeout`, 30 s here (Airflow's default: 300 s). When another "
        "server dies, the task itself goes on and its end is heard of once that server is back; where it could not report for "
        "too long, it is tried again."
    )
    steps = list(dict.fromkeys(case["step"] for case in cases))
    return f"{words}\n\n{table(steps, columns)}\n\n{meaning}\n"


def plots(result: Mapping[str, Any], folder: Path) -> list[Path]:
    """Seconds from a kill to the end of the step, a dot for each case; returns the picture's path."""
    from matplotlib.figure import Figure

    cases = result["cases"]
    servers = list(dict.fromkeys(case["server"] for case in cases))
    figure = Figure(figsize=(7.5, 0.9 + 0.4 * len(servers)), layout="constrained", dpi=90)
    axes = figure.subplots()
    for row, server in enumerate(servers):
        found = [case["step_seconds"] for case in cases if case["server"] == server]
        axes.plot(found, [row] * len(found), "o", color="#2457a6", alpha=0.6)
    axes.set_yticks(range(len(servers)), servers)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds from the kill to the end of the step")
    axes.spines[["top", "right"]].set_visible(False)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / PICTURE, metadata={"Software": None})
    return [folder / PICTURE]
