"""The release step: collects what a plan built, judges it, applies gates, publishes."""

from __future__ import annotations

import dataclasses
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from fleetalign.config import Config
from fleetalign.contracts.golden import MAX_PARITY
from fleetalign.contracts.graph import versions
from fleetalign.contracts.hashing import ID_LENGTH, data_version, readable_json
from fleetalign.contracts.manifest import MANIFEST_VERSION, Gate, KindManifest, Manifest, ReleaseFile
from fleetalign.contracts.plan import KindPlan, Plan
from fleetalign.contracts.receipts import AlignReceipt, PretrainReceipt, ReleaseReceipt
from fleetalign.detectors.registry import detector
from fleetalign.errors import NotFound
from fleetalign.evaluate import gates
from fleetalign.evaluate.figures import Figures
from fleetalign.interval import format_time
from fleetalign.plan import receipts
from fleetalign.plan.document import plan_config, read_plan
from fleetalign.progress import Progress
from fleetalign.release import publish, untrained
from fleetalign.release.figures import figures
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage import layout
from fleetalign.storage.store import Store

LIBRARIES = (
    "torch",
    "onnxruntime",
    "onnx",
    "numpy",
    "pyarrow",
    "optuna",
    "great-expectations",
    "dvc",
    "apache-airflow",
)


@dataclass(frozen=True, slots=True)
class Built:
    """What the earlier steps of a plan left in the store."""

    plan_id: str
    plan: Plan
    trained: PretrainReceipt
    aligned: AlignReceipt


def collect(store: Store, plan_id: str) -> Built:
    """Read the plan and its receipts. Raises NotFound naming the step that is missing."""
    plan = read_plan(store, plan_id)
    step = "pretrain"
    try:
        trained = receipts.read_pretrain(store, plan.reuse.plan_id if plan.reuse else plan_id)
        step = "align_reduce"
        aligned = receipts.read_align(store, plan_id)
    except NotFound:
        raise NotFound(f"{store.uri}: plan {plan_id} has no result of {step} yet; run that step first") from None
    return Built(plan_id, plan, trained, aligned)


def build_release(store: Store, plan_id: str, config: Config, progress: Progress | None = None) -> ReleaseReceipt:
    """Judge what a finished plan built and publish its release; returns the stored receipt.

    A gate that fails does not stop the release: it is recorded, and promotion refuses it.
    """
    built = collect(store, plan_id)
    settings = plan_config(built.plan)
    draft = _draft(store, built)
    scorer = Scorer(store, draft)
    _report(progress, 0)
    judged = figures(store, built.plan, scorer, built.aligned, settings, untrained.untrained(store, plan_id, draft))
    verdicts = tuple(_gates(built, scorer, judged, settings))
    evaluation = judged.as_json() if judged is not None else None
    manifest = publish.complete(dataclasses.replace(draft, gates=verdicts, evaluation=evaluation))
    _report(progress, 1)
    from fleetalign.release.report import render_report

    page = render_report(store, built.plan, scorer, manifest, judged, built.aligned, settings)
    publish.publish(store, manifest, _provenance(store, built), page)
    receipt = ReleaseReceipt.of(plan_id, manifest)
    store.put_immutable(layout.receipt(plan_id, "release"), readable_json(receipt.as_document()))
    return receipt


def _report(progress: Progress | None, done: int) -> None:
    if progress is not None:
        progress(done, 1, "judge")


def _files(store: Store, built: Built) -> tuple[ReleaseFile, ...]:
    entries = []
    for model_id in built.trained.models.values():
        for name, role in (("model.onnx", "model"), ("golden.parquet", "golden"), ("card.json", "card")):
            entries.append((layout.model(model_id, name), role))
    entries.append((layout.normalizer(built.aligned.normalizer_id), "normalizer"))
    entries.append((layout.aligner(built.aligned.aligner_id), "aligner"))
    entries.append((layout.plan_input(built.plan.mutes.sha256), "mutes"))
    if built.plan.phases is not None:
        entries.append((layout.plan_input(built.plan.phases.sha256), "phases"))
    return tuple(publish.file_entry(key, store.get(key), role) for key, role in entries)


def _draft(store: Store, built: Built) -> Manifest:
    """Return the manifest before the release is judged: without gates, evaluation and id."""
    plan, aligned = built.plan, built.aligned
    phases = {}
    if plan.phases is not None:
        phases = {"schema_version": MANIFEST_VERSION, "phases": layout.plan_input(plan.phases.sha256)}
    return Manifest(
        **phases,
        release_id="draft",
        files=_files(store, built),
        kinds={kind: _kind(store, built.trained.models[kind], entry) for kind, entry in plan.kinds.items()},
        normalizer=layout.normalizer(aligned.normalizer_id),
        normalizer_id=aligned.normalizer_id,
        aligner=layout.aligner(aligned.aligner_id),
        aligner_id=aligned.aligner_id,
        mutes=layout.plan_input(plan.mutes.sha256),
        data_version=data_version(entry.sha256 for entry in plan.partitions),
        ranges={kind: entry.ranges for kind, entry in plan.kinds.items()},
        gates=(),
        coverage=aligned.coverage,
        evaluation=None,
    )


def _kind(store: Store, model_id: str, entry: KindPlan) -> KindManifest:
    card = receipts.card(store, model_id)
    ir_version, opset = versions(store.get(layout.model(model_id, "model.onnx")))
    return KindManifest(
        model_id=model_id,
        model=layout.model(model_id, "model.onnx"),
        golden=layout.model(model_id, "golden.parquet"),
        network=card.network,
        window_steps=card.window_steps,
        step_seconds=entry.step_seconds,
        metrics=entry.metrics,
        inputs=card.inputs,
        condition_used=card.condition_used,
        ir_version=ir_version,
        opset=opset,
        seasonal_lags_steps=card.seasonal_lags_steps,
        statistics_columns=card.statistics_columns,
        state_size=card.state_size,
        state_chains=card.state_size is not None,
        state_settle_steps=detector(card.network).settle_steps,
    )


def _gates(built: Built, scorer: Scorer, judged: Figures | None, settings: Config) -> list[Gate]:
    limits = settings.gates
    quality = [
        gates.beats_random(judged),
        gates.beats_shifted(judged),
        gates.beats_untrained(judged, limits.must_beat_untrained),
    ]
    if judged is None and settings.align.method == "published_tpe" and built.plan.feedback.rows:
        why = "published_tpe holds no incident out; give a judge range, so that it can be judged"
        quality = [Gate(gate.name, None, 0.0, "fail", why) for gate in quality]
    return [
        gates.coverage(built.aligned.coverage.by_state, limits.min_coverage),
        gates.golden_parity(scorer.verify(), MAX_PARITY),
        gates.pages_per_entity_day(built.aligned.pages_per_entity_day, limits.max_pages_per_entity_day),
        *quality,
    ]


def _provenance(store: Store, built: Built) -> dict[str, Any]:
    """Return what may differ between two builds of the same release; it is never hashed."""
    recorded = receipts.read_snapshot(store, built.plan_id)
    return {
        "plan_id": built.plan_id,
        "data_revision": recorded.revision,
        "data_registry": recorded.remote,
        "code_revision": _code_revision(),
        "built_at": format_time(datetime.now(UTC)),
        "host": platform.node(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in LIBRARIES},
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _code_revision() -> str | None:
    """Return the git revision of the checkout; None for an installed package."""
    try:
        out = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    except OSError:
        return None
    revision = out.stdout.strip()
    return revision if out.returncode == 0 and len(revision) >= ID_LENGTH else None
