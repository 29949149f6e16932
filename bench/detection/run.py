"""Does it detect what matters? Methods, aligners and controls on labelled telemetry, judged on time nobody fitted.

``run`` measures, ``tables`` and ``plots`` show. Sets, splits and the wall between choosing and judging:
``bench.labelled``; methods: ``bench.methods`` and ``bench.learned``; aligners: ``bench.decisions``.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from bench.detection import jobs, summary
from bench.detection.jobs import Done, Job, Size
from bench.detection.labelled import find
from bench.detection.report import plots, tables
from bench.machine import machine
from fleetalign.progress import Progress

NAME = "detection.json"

QUICK = Size(
    seeds=(11,), control_networks=0, few=True, epochs=1, windows=10_240, validation_windows=1_000, curve_samples=0
)
FULL = Size(
    seeds=(11, 12, 13),
    control_networks=1,
    few=False,
    epochs=4,
    windows=25_600,
    validation_windows=4_000,
    curve_samples=120_000,
)

__all__ = ["FULL", "QUICK", "Size", "plots", "run", "tables"]


def run(
    data: Path,
    out: Path,
    quick: bool,
    progress: Progress | None = None,
    *,
    size: Size | None = None,
    workers: int = 2,
) -> dict[str, Any]:
    """Measure every labelled set in the folder ``data``, write ``out/detection.json`` and return it: plain JSON values.

    The full run takes about half an hour on two cores, ``quick`` some minutes. ``workers`` processes of one thread each
    (0: in this process). ``progress`` is called with (done, total, what). Raises BadInput when ``data`` has no such set.
    """
    size = size or (QUICK if quick else FULL)
    started = time.perf_counter()
    paths, skipped = find(Path(data))
    first = _first(paths, size)
    total = len(first) + len(_second(first, paths, size))
    finished: list[Done] = []
    for stage in (lambda: first, lambda: _with_models(_second(first, paths, size), finished)):
        for done in _done(stage(), workers):
            finished.append(done)
            if progress:
                progress(len(finished), total, "detection")
    result = {
        "machine": machine(),
        "quick": quick,
        "seeds": list(size.seeds),
        "training_windows": size.epochs * size.windows,
        "skipped_files": skipped,
        "seconds": time.perf_counter() - started,
        **summary.summarise(_sorted(finished), size),
    }
    text = json.dumps(result, indent=1, sort_keys=True) + "\n"
    Path(out).mkdir(parents=True, exist_ok=True)
    (Path(out) / NAME).write_text(text)
    return json.loads(text)


def _first(paths: Sequence[Path], size: Size) -> list[Job]:
    """Every method under every seed."""
    found = []
    for path in paths:
        cost = _cost(path)
        for number, seed in enumerate(size.seeds):
            found += [Job(jobs.SHAREAD, path, seed, size, 3 * cost), Job(jobs.VIEWS, path, seed, size, 2 * cost)]
            found.append(Job(jobs.BASELINES, path, seed, size, 0.1 * cost))
            if number < size.control_networks:
                found.append(Job(jobs.LINEAR, path, seed, size, cost))
    return _dearest_first(found)


def _second(first: Sequence[Job], paths: Sequence[Path], size: Size) -> list[Job]:
    """Curves, with the networks of the first seed; models are filled in later."""
    if not size.curve_samples:
        return []
    seed, found = size.seeds[0], []
    for path in paths:
        cost = _cost(path)
        found += [Job(jobs.MASKED, path, seed, size, 2 * cost), Job(jobs.HISTORY, path, seed, size, 2 * cost)]
        found.append(Job(jobs.OPERATORS, path, seed, size, 3 * cost))
        found += [Job(jobs.TRANSFER, path, seed, size, cost, other=p.stem) for p in paths if p != path]
    return _dearest_first(found)


def _with_models(pending: Sequence[Job], finished: Sequence[Done]) -> list[Job]:
    models = {
        (done.job.path.stem, name): model
        for done in finished
        if done.job.seed == done.job.size.seeds[0]
        for name, model in done.models.items()
    }
    filled = []
    for job in pending:
        mine = {name: model for (owner, name), model in models.items() if owner == job.path.stem}
        if job.other:
            mine[job.other] = models[job.other, jobs.VIEWS]
        filled.append(Job(job.work, job.path, job.seed, job.size, job.cost, mine, job.other))
    return filled


def _done(pending: Sequence[Job], workers: int) -> Iterator[Done]:
    if workers == 0 or len(pending) < 2:
        yield from map(jobs.work, pending)
        return
    # Forking a process that has used torch can hang; and a fresh one holds no telemetry.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        running: set[Future[Done]] = {pool.submit(jobs.work, job) for job in pending}
        try:
            while running:
                ready, running = wait(running, return_when=FIRST_COMPLETED)
                for future in ready:
                    yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _cost(path: Path) -> float:
    file = pq.ParquetFile(path)
    return float(file.metadata.num_rows) * file.metadata.num_columns + 1e7


def _dearest_first(found: Sequence[Job]) -> list[Job]:
    return sorted(found, key=lambda job: (-job.cost, job.path.name, job.work, job.seed, job.other))


def _sorted(finished: Sequence[Done]) -> list[Done]:
    """In an order that does not depend on which job was ready first."""
    return sorted(finished, key=lambda d: (d.job.path.name, d.job.work, d.job.seed, d.job.other))
