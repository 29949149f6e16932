"""Peak memory of one side doing one piece of work, in a fresh process that does nothing else.

``python -m bench.speed.memory SIDE WORK ENTITIES STEPS WINDOWS [MODEL]`` prints one JSON line; ``peak`` runs it.
WORK is ``train`` (WINDOWS windows) or ``align`` (score and align one entity of STEPS samples, with the ONNX file MODEL
and its card MODEL.json).
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

SEED = 5


def peak(side: str, work: str, entities: int, steps: int, windows: int, model: Path | None = None) -> dict[str, int]:
    """``{"peak_bytes", "imports_bytes"}``: the most that was resident, and how much the imports alone take."""
    command = [sys.executable, "-m", "bench.speed.memory", side, work, *map(str, (entities, steps, windows))]
    command += [str(model)] if model else []
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def highest_resident_bytes() -> int:
    """Return the peak resident memory of this process.

    Linux keeps the parent's peak in ru_maxrss when a process is spawned; VmHWM belongs to this program alone.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found if sys.platform == "darwin" else found * 1024


def main(arguments: list[str]) -> None:
    side, work, *numbers = arguments[:5]
    entities, steps, windows = map(int, numbers)
    do = _published(work) if side.startswith("published") else _fleetalign(side, work, arguments[5:])
    imports = highest_resident_bytes()
    from bench.speed.synthetic import simulated

    do(simulated(entities, steps, SEED), windows, side)
    print(json.dumps({"peak_bytes": highest_resident_bytes(), "imports_bytes": imports}))


def _published(work: str):
    from bench import published, published_align

    def train(telemetry, windows, side):
        published.fit(published.windows_of(telemetry), epochs=1, validation_share=0, max_windows=windows)

    def align(telemetry, windows, side):
        network = published.PublishedShareAD(published.WINDOW_STEPS)
        errors = published.squared_errors(network, published.windows_of(telemetry), gradients=side == "published")
        published_align.align(errors, telemetry.labels[0, published.WINDOW_STEPS - 1 :])

    return {"train": train, "align": align}[work]


def _fleetalign(name: str, work: str, rest: list[str]):
    if work == "train":
        import fleetalign.model.train  # noqa: F401 - its imports count as imports
        from bench.speed import product

        return lambda telemetry, windows, side: product.train(name, telemetry, windows)
    import onnxruntime  # noqa: F401 - its imports count as imports

    from bench.speed import alignment

    def align(telemetry, windows, side):
        card = json.loads(Path(rest[0] + ".json").read_text())
        signal, grid = alignment.margins_of(card, Path(rest[0]).read_bytes())
        series = alignment.own_series(card, telemetry, 0)
        d = signal.margins(series, 0, len(series.values))
        alignment.tables(d, alignment.calibration(telemetry, 0, 0), signal, grid)

    return align


if __name__ == "__main__":
    main(sys.argv[1:])
