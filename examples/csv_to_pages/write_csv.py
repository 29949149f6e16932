"""Write telemetry of six hosts, one CSV file a day for six days: ``write_csv.py FOLDER``."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

START = datetime(2026, 3, 2)
SAMPLES_PER_DAY = 288
DAYS = 6
HOSTS = 6
FAULTY_HOST = "web-3"
FAULT = slice(5 * SAMPLES_PER_DAY + 120, 5 * SAMPLES_PER_DAY + 150)
"""From 10:00 to 12:30 of the last day."""


def number(value: float) -> str:
    return f"{value:.2f}".replace(".", ",")


def lines() -> list[list[str]]:
    """Write the lines of each day, without a header."""
    generator = np.random.default_rng(7)
    times = [START + timedelta(minutes=5 * i) for i in range(DAYS * SAMPLES_PER_DAY)]
    phase = 2 * np.pi * np.arange(len(times)) / SAMPLES_PER_DAY
    days: list[list[str]] = [[] for _ in range(DAYS)]
    for index in range(HOSTS):
        host = f"web-{index}"
        load = 50 - 20 * np.cos(phase - index / 10) + generator.normal(0, 2, len(times))
        latency = 80 + 0.8 * load + generator.normal(0, 3, len(times))
        errors = np.abs(generator.normal(1, 0.3, len(times)))
        if host == FAULTY_HOST:
            latency[FAULT] *= 3
            errors[FAULT] += 10
        for i, (time, *values) in enumerate(zip(times, load, latency, errors, strict=True)):
            days[i // SAMPLES_PER_DAY].append(";".join([host, f"{time:%Y-%m-%d %H:%M}", *map(number, values)]))
    return days


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, day in enumerate(lines()):
        header = "Server;Collected;cpu;latency;errors"
        (folder / f"{START + timedelta(days=i):%Y-%m-%d}.csv").write_text("\n".join([header, *day]) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
