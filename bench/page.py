"""Assembles ``benchmarks.md`` from whatever of the benchmarks has been run."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

FOLDER = "benchmarks"
PAGE = "benchmarks.md"
TITLES = {
    "detection": "Detection: labelled telemetry",
    "speed": "Speed and size: compared with the published way",
    "growth": "Growth: the whole chain on large fleets",
    "airflow": "Airflow: what a task instance costs",
    "scale": "Scale: plan, align and release on a real Airflow",
    "kills": "Kills: every server in every step",
}
"""The benchmarks in the page's order."""
MODULES = {
    "detection": "bench.detection.run",
    "speed": "bench.speed.run",
    "growth": "bench.growth.run",
    "airflow": "bench.airflow.task_cost",
    "scale": "bench.airflow.scale",
    "kills": "bench.airflow.kills",
}
"""Each has ``run(...)``, ``tables(result)`` and ``plots(result, folder)``."""

INTRODUCTION = """# Benchmarks

Written by `fleetalign bench`; do not edit by hand. Every figure comes from a run, whose numbers are stored
in `benchmarks/*.json`; to repeat it:

```
fleetalign bench detection --data FOLDER     # any folder of labelled Parquet: see below
fleetalign bench speed
fleetalign bench growth
fleetalign bench airflow                     # in a checkout, with PostgreSQL and Redis installed
fleetalign bench scale                       # the same
fleetalign bench kills                       # the same
```

`--quick` shows orders of magnitude in a few minutes.

**How figures were obtained.** A labelled set is a Parquet file with the columns `entity_id`, `timestamp`, `split`
(`train` or `test`), `label` (1 = anomaly; empty in train) and metrics. Each entity's test part is cut in time: on the
first 30 % there is feedback, the last 70 % is judged, with a gap of 100 samples between, and an incident that straddles a
cut belongs to neither side. Networks and statistics come from the train part, thresholds and all other
choices from feedback. The code that trains, scores and aligns gets no label of judged time. Training, export,
scoring and alignment are the product's own functions.

**What the controls mean.** A *random score* through the same aligner shows what a figure is worth: point-adjusted F1, for
example, is high for a random score. The detector's own alarms *shifted* to random times keep their number and length, so
their figures are due to chance. The *untrained* network, the *near-linear* one and two methods without a network show what
training and depth are worth. A difference is significant if its interval does not contain 0.

**What the figures do not show.** Public sets are small, many of their entities resemble each other, and labels are late,
early or missing; another fleet may order methods differently. Measure your own: the folder is the only argument.
"""


def write(out: Path) -> Path:
    """Write ``out/benchmarks.md`` and its pictures from the results in ``out/benchmarks``.

    The section of a benchmark without results has only its title and its command.

    Returns:
        The path of ``benchmarks.md``.
    """
    out = Path(out)
    sections = [INTRODUCTION]
    for name, title in TITLES.items():
        source = out / FOLDER / f"{name}.json"
        if not source.exists():
            sections.append(f"## {title}\n\nNot run here: `fleetalign bench {name}`.\n")
            continue
        result = json.loads(source.read_text())
        module = importlib.import_module(MODULES[name])
        pictures = "\n".join(f"![{p.stem}]({FOLDER}/{p.name})\n" for p in module.plots(result, out / FOLDER))
        sections.append(f"## {title}\n\n{pictures}\n{module.tables(result)}")
    page = out / PAGE
    out.mkdir(parents=True, exist_ok=True)
    page.write_text("\n".join(sections))
    return page
