"""Speed and size beside the published way of doing the same, measured in turns on one machine, one thread, in one run.

``run`` measures, ``tables`` and ``plots`` show. Every ratio divides times taken in the same run: two runs on two
machines can be compared by their ratios, not by their seconds.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench import published
from bench.machine import machine
from bench.speed import alignment, memory, product, sizes, synthetic, whole_build
from bench.speed.interleave import interleave, spread, topic
from bench.speed.product import Exported
from bench.speed.report import plots, tables
from bench.speed.synthetic import STEPS_PER_DAY, Telemetry
from fleetalign.config import ModelConfig
from fleetalign.progress import Progress

SEED = 1
PUBLISHED, NO_GRADIENTS = "published", "published, no gradients"

__all__ = ["FULL", "QUICK", "Size", "plots", "run", "tables"]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured. Windows and samples are per call, rounds per side."""

    rounds: int
    training_windows: int
    scoring_windows: int
    """Per call and batch size; a batch size of 1 takes a quarter of them."""
    batch_sizes: tuple[int, ...]
    align_rounds: int
    align_samples: int
    fleet: int
    """Entities that share one choice of (C, p)."""
    memory_windows: int
    """Trained on in the process whose memory is measured."""
    build_rounds: int
    build_entities: int
    build_days: int


QUICK = Size(3, 512, 256, (1, 64, 1024), 1, 1_000, 10, 256, 1, 2, 2)
FULL = Size(7, 5_120, 1_024, (1, 64, 1024), 5, 7_200, 50, 1_280, 2, 6, 5)


def run(
    out: Path, quick: bool, progress: Progress | None = None, data: Path | None = None, size: Size | None = None
) -> dict[str, Any]:
    """Measure everything, write ``out/speed.json`` and return it: plain JSON values.

    ``quick`` takes about a minute, builds with the default network only and shows the order of things; the full run
    takes some minutes. ``data`` is a folder
    with services.parquet (default: telemetry made from a seed). ``progress`` is called with (done, total, what).
    """
    import torch

    size = size or (QUICK if quick else FULL)
    started = time.perf_counter()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        result = _Bench(size, data, progress).measure(quick)
    finally:
        torch.set_num_threads(threads)
    result |= {"quick": quick, "seconds": time.perf_counter() - started}
    text = json.dumps(result, indent=1) + "\n"
    out.mkdir(parents=True, exist_ok=True)
    (out / "speed.json").write_text(text)
    return json.loads(text)


class _Bench:
    def __init__(self, size: Size, data: Path | None, progress: Progress | None) -> None:
        self.size, self.data, self.progress = size, data, progress
        self.names = product.names()

    def measure(self, quick: bool) -> dict[str, Any]:
        size = self.size
        series = self._telemetry(2, max(size.align_samples + published.WINDOW_STEPS - 1, 2 * STEPS_PER_DAY))
        trained = self._fit(series, "cpu").network
        exported = {n: product.export(n, series, size.training_windows) for n in self.names}
        topics = {
            "training": self._training(series, "cpu"),
            **{f"history_{b}": self._history(series, trained, exported, b) for b in size.batch_sizes},
            **{f"scoring_{b}": self._scoring(series, trained, exported, b) for b in size.batch_sizes},
            **alignment.topics(
                series, trained, exported, size.align_samples, size.fleet, lambda *a: self._turns(*a, size.align_rounds)
            ),
            # A build exports its networks, which takes as long whatever else is small.
            "build": self._build([ModelConfig().network] if quick else self.names),
        }
        return {
            "machine": machine(),
            "settings": {**asdict(size), "data": self.data.name if self.data else f"simulated, seed {SEED}"},
            "networks": list(self.names),
            "topics": topics,
            "cuda": self._cuda(series),
            "memory": self._memory(exported),
            "sizes": sizes.sizes(series, trained, exported),
        }

    def _telemetry(self, entities: int, steps: int) -> Telemetry:
        return synthetic.read(self.data, entities, steps) if self.data else synthetic.simulated(entities, steps, SEED)

    def _turns(self, what: str, sides: dict[str, Callable[[], object]], rounds: int, **options: Any):
        told = (lambda done, total: self.progress(done, total, what)) if self.progress else None
        return interleave(sides, rounds, after_call=told, **options)

    def _fit(self, series: Telemetry, device: str) -> published.Fitted:
        return published.fit(
            published.windows_of(series),
            epochs=1,
            max_windows=self.size.training_windows,
            validation_share=0,
            device=device,
        )

    def _training(self, series: Telemetry, device: str) -> dict[str, Any]:
        windows = self.size.training_windows
        sides: dict[str, Callable[[], object]] = {PUBLISHED: lambda: self._fit(series, device)}
        sides |= {n: (lambda n=n: product.train(n, series, windows, device)) for n in self.names}
        return topic(
            f"Training ({device})",
            f"{windows} windows of {series.panel.values.shape[2]} metrics in each network's own batches, from raw "
            "telemetry in memory to a trained network; no validation pass",
            self._turns(f"speed: train {device}", sides, self.size.rounds),
            unit="windows/s",
            work=windows,
        )

    def _history(
        self, series: Telemetry, network: published.PublishedShareAD, exported: dict[str, Exported], batch: int
    ) -> dict[str, Any]:
        windows = max(batch, self.size.scoring_windows // (4 if batch == 1 else 1))
        first = series.panel.values.shape[1] - windows - published.WINDOW_STEPS + 1
        positions = np.arange(series.panel.values.shape[1] - windows, series.panel.values.shape[1])

        def published_way(gradients: bool) -> None:
            dataset = published.windows_of(series, 0, max(first, 0))
            published.decided(
                published.squared_errors(network, dataset, gradients=gradients, batch_size=batch), 11, 0.0
            )

        scorers = {name: product.scorer_of(side, series) for name, side in exported.items()}
        sides: dict[str, Callable[[], object]] = {
            PUBLISHED: lambda: published_way(True),
            NO_GRADIENTS: lambda: published_way(False),
        }
        values, times = series.panel.values[0], series.panel.times
        for name, scorer in scorers.items():
            sides[name] = lambda s=scorer: s.score(series.panel.entity_ids[0], values, times, 0, positions, batch)
        return topic(
            f"Scoring history, batch {batch}",
            f"{windows} samples of one entity, from raw telemetry in memory to score and margin. published: a Dataset with "
            "one item a window, full decoding, the whole error array kept; the others: the reference scorer, which "
            "gathers windows and earlier periods, fills gaps, weighs metrics, keeps the state and returns contributions",
            self._turns(f"speed: history, batch {batch}", sides, self.size.rounds),
            unit="windows/s",
            work=windows,
            baselines=(PUBLISHED, NO_GRADIENTS),
        )

    def _scoring(
        self, series: Telemetry, network: published.PublishedShareAD, exported: dict[str, Exported], batch: int
    ) -> dict[str, Any]:
        calls = max(1, self.size.scoring_windows // batch // (4 if batch == 1 else 1))
        windows = series.windows(0, batch, published.WINDOW_STEPS)
        location, scale = series.location[0], series.scale[0]

        def decide(gradients: bool) -> None:
            for _ in range(calls):
                published.decide(network, windows, location, scale, 11, 0.0, gradients=gradients)

        def score(side: Exported, feeds: dict[str, np.ndarray]) -> None:
            for _ in range(calls):
                side.graph.run(feeds)

        sides: dict[str, Callable[[], object]] = {
            PUBLISHED: lambda: decide(True),
            NO_GRADIENTS: lambda: decide(False),
        }
        for name, side in exported.items():
            feeds = side.feeds(series, 0, batch)
            sides[name] = lambda side=side, feeds=feeds: score(side, feeds)
        return topic(
            f"Scoring, batch {batch}",
            "raw float64 windows in, score and margin out. published: torch, whole window decoded, standardised and "
            "averaged in numpy; the others: the exported graph in ONNX Runtime, which also fills missing samples, "
            "weighs metrics and returns contributions",
            self._turns(f"speed: score, batch {batch}", sides, self.size.rounds),
            unit="windows/s",
            work=calls * batch,
            baselines=(PUBLISHED, NO_GRADIENTS),
        )

    def _build(self, names: Sequence[str]) -> dict[str, Any]:
        size = self.size
        series = self._telemetry(size.build_entities, size.build_days * STEPS_PER_DAY)
        parts: dict[str, list[dict[str, float]]] = {n: [] for n in names}
        with tempfile.TemporaryDirectory() as scratch:
            stores = iter(range(10_000))
            uri = ""

            def fresh_store(side: str) -> None:
                nonlocal uri
                if side != PUBLISHED:
                    uri = f"file://{scratch}/store{next(stores)}"
                    whole_build.fill_store(uri, series)

            sides: dict[str, Callable[[], object]] = {PUBLISHED: lambda: whole_build.published_build(series)}
            sides |= {n: (lambda n=n: parts[n].append(whole_build.build(n, uri))) for n in names}
            seconds = self._turns("speed: whole build", sides, size.build_rounds, warm_up=False, before=fresh_store)
        days = size.build_entities * size.build_days
        found = topic(
            f"Whole build, {size.build_entities} entities, {size.build_days} days of {STEPS_PER_DAY} samples",
            "the others: plan, pre-train, align and release in a file:// store, with two exports, golden vectors, an "
            "untrained network aligned beside as a control, figures, gates and report, under the defaults. published: "
            "training (5 epochs at most), scoring and alignment in memory, under its own defaults; no store, export or "
            "release. Time per entity and day",
            seconds,
            unit="ms/entity-day",
            work=days,
        )
        steps = {n: {step: spread([p[step] for p in mine]) for step in mine[0]} for n, mine in parts.items()}
        return found | {"steps": steps}

    def _cuda(self, series: Telemetry) -> dict[str, Any] | None:
        import torch

        if not torch.cuda.is_available():
            return None
        return {
            "device": torch.cuda.get_device_name(),
            "training": self._training(series, "cuda"),
            "parity": {n: curve_difference(n, series, self.size.training_windows, "cuda") for n in self.names},
        }

    def _memory(self, exported: dict[str, Exported]) -> dict[str, Any]:
        """Two processes at a time: they share cores, not memory."""
        size = self.size
        jobs = [(side, "train") for side in (PUBLISHED, *self.names)]
        jobs += [(side, "align") for side in (PUBLISHED, NO_GRADIENTS, *self.names)]
        found: dict[str, Any] = {"train": {}, "align": {}}
        with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(2) as pool:
            for name, side in exported.items():
                (Path(scratch) / name).write_bytes(side.model)
                (Path(scratch) / f"{name}.json").write_text(json.dumps(side.card))

            def measured(job: tuple[str, str]) -> dict[str, int]:
                side, work = job
                amount = (4, 2 * STEPS_PER_DAY) if work == "train" else (1, size.align_samples)
                model = Path(scratch) / side if side in exported and work == "align" else None
                return memory.peak(side, work, *amount, size.memory_windows, model)

            for done, ((side, work), peak) in enumerate(zip(jobs, pool.map(measured, jobs), strict=True), start=1):
                found[work][side] = peak
                if self.progress:
                    self.progress(done, len(jobs), "speed: memory")
        return found


def curve_difference(name: str, series: Telemetry, windows: int, device: str) -> dict[str, float]:
    """Relative difference of the epoch's training loss on ``device`` from the CPU's.

    Without dropout and hidden metrics: their random draws come from each device's own generator.
    """
    losses = [product.train(name, series, windows, d, drawless=True).curve[0]["train_loss"] for d in ("cpu", device)]
    return {"cpu_loss": losses[0], "loss": losses[1], "relative_difference": abs(losses[1] - losses[0]) / losses[0]}
