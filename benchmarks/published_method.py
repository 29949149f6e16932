"""Runs the whole chain on labelled public telemetry and writes docs/benchmarks.md.

    python benchmarks/published_method.py --data FOLDER [--only appservers]

``FOLDER`` holds services.parquet and appservers.parquet. Everything printed comes from the releases' manifests: the
published network (ShareAD) with the default alignment, judged on the last 70 % of each test split, beside its controls.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from labelled import write_inputs

DOCUMENT = Path(__file__).parent.parent / "docs" / "benchmarks.md"
SETS = {"services": "service", "appservers": "appserver"}
OVERRIDES = "registry:\n  enabled: false\nvalidation:\n  data_docs: false\n"
SHOWN = (
    "event_f1",
    "event_f1_mean_over_entities",
    "event_precision",
    "event_recall",
    "false_pages_per_entity_day",
    "median_delay_seconds",
    "point_f1",
    "point_adjusted_f1",
)
INTRODUCTION = """# Benchmarks

Written by `make bench`; do not edit by hand. Every figure stands beside two controls on the same labels: a uniform
random score through the same aligner, and the detector's own alarms moved to random times (20 seeds each). In brackets:
95 % interval, bootstrap over entities.

The network is the published ShareAD with fleetalign's fleet-prior alignment. Feedback is made from the labels of the
first 30 % of each entity's test split; figures are judged on the last 70 %, which nothing was fitted on.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", choices=sorted(SETS))
    options = parser.parse_args()
    sections = [INTRODUCTION]
    for name, kind in SETS.items():
        if options.only in (None, name):
            sections.append(_section(options.data / f"{name}.parquet", name, kind))
    text = "\n".join(sections)
    if options.only is None:
        DOCUMENT.write_text(text)
        print(f"wrote {DOCUMENT}")
    else:
        print(text)
    return 0


def _section(source: Path, name: str, kind: str) -> str:
    with tempfile.TemporaryDirectory() as scratch:
        inputs = write_inputs(source, Path(scratch) / "inputs", kind, overrides=OVERRIDES)
        store = Path(scratch) / "store"
        command = [sys.executable, "-m", "fleetalign.cli", "run", "--telemetry", inputs.telemetry, "--kind", kind]
        command += ["--feedback", inputs.feedback, "--params", inputs.params, "--store", store]
        started = time.monotonic()
        done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode not in (0, 1):
            raise SystemExit(f"{name}: fleetalign run ended with {done.returncode}")
        seconds = time.monotonic() - started
        release_id = done.stdout.split()[-1]
        manifest = json.loads((store / "releases" / release_id / "manifest.json").read_text())
    return _markdown(name, manifest, seconds)


def _markdown(name: str, manifest: dict, seconds: float) -> str:
    evaluation = manifest["evaluation"]
    lines = [
        f"## {name}",
        "",
        f"{evaluation['entities']} entities, {evaluation['incidents']:g} incidents and "
        f"{evaluation['judged_days']:.0f} labelled entity-days judged. Whole chain, telemetry to release: {seconds:.0f} s "
        "on one thread (two cores, other work beside it).",
        "",
        "| figure | detector | random score | own alarms, shifted |",
        "|---|---|---|---|",
    ]
    for figure in evaluation["figures"]:
        if figure["name"] in SHOWN:
            cells = " | ".join(_estimate(figure[side]) for side in ("detector", "random", "shifted"))
            lines.append(f"| {figure['name']} {figure['unit']} | {cells} |")
    lines += ["", "| gate | verdict | value | why |", "|---|---|---|---|"]
    for gate in manifest["gates"]:
        value = "" if gate["value"] is None else f"{gate['value']:.3g}"
        lines.append(f"| {gate['name']} | {gate['verdict'].replace('_', ' ')} | {value} | {gate['why']} |")
    return "\n".join([*lines, ""])


def _estimate(estimate: dict) -> str:
    if estimate["value"] is None:
        return "n/a"
    text = f"{estimate['value']:.3g}"
    return text if estimate["low"] is None else f"{text} [{estimate['low']:.3g}, {estimate['high']:.3g}]"


if __name__ == "__main__":
    sys.exit(main())
