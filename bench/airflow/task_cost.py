"""What Airflow takes for a task instance that does nothing, by database and executor, measured in one run.

Airflow is started by a program of the repository (``infra/local/overhead.py``) in a process of its own: the package imports
none of it. ``run`` measures, ``tables`` and ``plots`` show.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import programs

PROGRAM = programs.FOLDER / "overhead.py"
TASKS = {False: 20, True: 6}
"""Mapped no-op tasks a run, without and with ``quick``."""
RUNS = {False: 2, True: 1}
TIMEOUT_SECONDS = 1_200
PICTURE = "airflow.png"
BARS = (("wall_per_task", "wall", "#2457a6"), ("cpu_per_task", "CPU", "#b8c0cc"))


def run(folder: Path, quick: bool, progress: Any = None, program: Path = PROGRAM) -> dict[str, Any]:
    """Measure every side, one after the other; plain JSON values. About eight minutes, ``quick`` about four.

    Raises UsageError outside a checkout of the repository, FleetalignError when a server or a run failed.
    """
    arguments = ["--tasks", TASKS[quick], "--runs", RUNS[quick]]
    return programs.measured("airflow", program, arguments, quick, TIMEOUT_SECONDS)


def _mean(side: Mapping[str, Any], figure: str) -> float:
    return statistics.fmean(run[figure] for run in side["runs"])


def _range(side: Mapping[str, Any], figure: str) -> str:
    values = [run[figure] for run in side["runs"]]
    text = f"{statistics.fmean(values):.2f}"
    return text if len(values) == 1 else f"{text} ({min(values):.2f}–{max(values):.2f})"


def tables(result: Mapping[str, Any]) -> str:
    """One row per database and executor, as Markdown."""
    sides = result["sides"]
    first = next(iter(sides.values()))["runs"][0]
    header = [
        "where",
        "wall s / task",
        "CPU s / task",
        "waits queued, s",
        "runs, s",
        "idle CPU, cores",
        "boot, s",
    ]
    rows = [
        [
            name,
            _range(side, "wall_per_task"),
            _range(side, "cpu_per_task"),
            _range(side, "queued_median"),
            _range(side, "running_median"),
            f"{side['idle_cpu_share']:.2f}",
            f"{side['boot_seconds']:.0f}",
        ]
        for name, side in sides.items()
    ]
    words = (
        programs.introduced(result)
        + f"; {first['tasks']} mapped tasks that do nothing, {result['slots']} at a time, {len(next(iter(sides.values()))['runs'])} runs after a warm-up, one Airflow after the other."
        + (" A quick run: it shows the order of things, not the figures." if result["quick"] else "")
    )
    meaning = (
        "*wall*: from the first task queued to the last one ended, by the number of tasks. *CPU*: all processes of that "
        "Airflow, database and queue included, so also what it takes when idle. *waits*, *runs*: median of a task "
        "instance, as Airflow records it: from queued to started, from started to ended. In round brackets the range of "
        "the runs."
    )
    why = (
        "**Why it is more than the work.** When a task's sockets close, Airflow's supervisor asks once whether the process "
        "has ended, and is often a moment too early. It asks again when the next heartbeat is due, after "
        "`workers.min_heartbeat_interval`, and until then the ended process is a zombie and its slot is taken: by Airflow's "
        "default for 5 s, whatever the task did, under either executor. The local Airflows set 1 s, except where the table "
        "says 5; a running task then sends five times as many heartbeats."
    )
    table = "\n".join(
        "| " + " | ".join(line) + " |" for line in [header, ["---", *("---:" for _ in header[1:])], *rows]
    )
    return "\n\n".join([words, table, meaning, why]) + "\n"


def plots(result: Mapping[str, Any], folder: Path) -> list[Path]:
    """Wall and CPU seconds per task instance of every side; returns the picture's path."""
    from matplotlib.figure import Figure

    sides = result["sides"]
    figure = Figure(figsize=(7.5, 0.7 + 0.75 * len(sides)), layout="constrained", dpi=90)
    axes = figure.subplots()
    rows = range(len(sides))
    for offset, (name, label, colour) in zip((-0.19, 0.19), BARS, strict=True):
        values = [_mean(side, name) for side in sides.values()]
        axes.barh([row + offset for row in rows], values, height=0.36, label=label, color=colour)
    axes.set_yticks(list(rows), list(sides))
    axes.invert_yaxis()
    axes.set_xlabel("seconds per task instance that does nothing")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / PICTURE, metadata={"Software": None})
    return [folder / PICTURE]
