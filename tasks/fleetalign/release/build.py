"""The release step: collects what a plan built, judges it beside its controls, applies the gates, publishes."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from fleetalign.config import Config
from fleetalign.contracts.hashing import ID_LENGTH, readable_json
from fleetalign.detectors.views.roles import SETTLE_STEPS
from fleetalign.errors import NotFound
from fleetalign.evaluate import gates
from fleetalign.evaluate.figures import Figures
from fleetalign.interval import format_time
from fleetalign.plan.document import plan_config, read_plan
from fleetalign.progress import Progress
from fleetalign.release import publish, untrained
from fleetalign.release.figures import figures
from fleetalign.release.origin import of_release
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage import layout
from fleetalign.storage.manifest import Manifest
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
    plan: Mapping[str, Any]
    trained: Mapping[str, Any]
    aligned: Mapping[str, Any]

    @property
    def by_state(self) -> dict[str, int]:
        """Entities per aligner state."""
        return self.aligned["coverage"]["by_state"]


def collect(store: Store, plan_id: str) -> Built:
    """The plan and its receipts. Raises NotFound naming the step that is missing."""
    plan = read_plan(store, plan_id)
    base = plan["reuse"]["plan_id"] if plan["reuse"] else plan_id
    receipts = {}
    for step, owner in (("pretrain", base), ("align_reduce", plan_id)):
        try:
            receipts[step] = store.get_json(layout.receipt(owner, step))
        except NotFound:
            raise NotFound(f"{store.uri}: plan {plan_id} has no result of {step} yet; run that step first") from None
    return Built(plan_id, plan, receipts["pretrain"], receipts["align_reduce"])


def build_release(store: Store, plan_id: str, config: Config, progress: Progress | None = None) -> dict[str, Any]:
    """Publish the release of a finished plan; returns ids, gates, figures, and where they come from.

    A gate that says no does not stop the release: it is recorded, and promotion refuses it.
    """
    built = collect(store, plan_id)
    settings = plan_config(built.plan)
    files = _files(store, built)
    body = _body(store, built, [], None)
    draft = Scorer(store, Manifest("draft", "", {**body, "files": files}))
    _tell(progress, 0, "judge")
    judged = figures(store, built.plan, draft, built.aligned, settings, untrained.untrained(store, plan_id, body))
    verdicts = [gate.as_json() for gate in _gates(built, draft, judged, settings)]
    body = _body(store, built, verdicts, judged)
    _tell(progress, 1, "judge")
    from fleetalign.release.report import render_report

    release_id = publish.complete(body, files)["release_id"]
    report = render_report(store, release_id, built.plan, draft, body, judged, built.aligned, settings)
    publish.publish(store, body, files, _provenance(store, built), report)
    result = {
        "plan_id": plan_id,
        "release_id": release_id,
        "aligner_id": body["aligner_id"],
        "data_version": body["data_version"],
        "gates": verdicts,
        "coverage": body["coverage"],
        "evaluation": body["evaluation"],
    }
    store.put_immutable(layout.receipt(plan_id, "release"), readable_json(result))
    return result | of_release(store, release_id)


def _tell(progress: Progress | None, done: int, what: str) -> None:
    if progress is not None:
        progress(done, 1, what)


def _files(store: Store, built: Built) -> list[dict[str, Any]]:
    entries = []
    for model_id in built.trained["models"].values():
        for name, role in (("model.onnx", "model"), ("golden.parquet", "golden"), ("card.json", "card")):
            entries.append((layout.model(model_id, name), role))
    entries.append((layout.normalizer(built.aligned["normalizer_id"]), "normalizer"))
    entries.append((layout.aligner(built.aligned["aligner_id"]), "aligner"))
    entries.append((layout.plan_input(built.plan["mutes"]["sha256"]), "mutes"))
    return [publish.file_entry(key, store.get(key), role) for key, role in entries]


def _body(store: Store, built: Built, verdicts: list[dict[str, Any]], judged: Figures | None) -> dict[str, Any]:
    kinds = {}
    for kind, entry in built.plan["kinds"].items():
        model_id = built.trained["models"][kind]
        card = store.get_json(layout.model(model_id, "card.json"))
        kinds[kind] = {
            "model_id": model_id,
            "model": layout.model(model_id, "model.onnx"),
            "golden": layout.model(model_id, "golden.parquet"),
            "network": card["network"],
            "window_steps": card["window_steps"],
            "step_seconds": entry["step_seconds"],
            "metrics": entry["metrics"],
            "inputs": card["inputs"],
            "condition_used": card["condition_used"],
            "seasonal_lags_steps": card["seasonal_lags_steps"],
            "statistics_columns": card["statistics_columns"],
        }
        if card["state_size"] is not None:
            kinds[kind] |= {
                "state_size": card["state_size"],
                "state_chains": True,
                "state_settle_steps": SETTLE_STEPS,
            }
    aligned = built.aligned
    return publish.build_manifest(
        kinds=kinds,
        normalizer=layout.normalizer(aligned["normalizer_id"]),
        normalizer_id=aligned["normalizer_id"],
        aligner=layout.aligner(aligned["aligner_id"]),
        aligner_id=aligned["aligner_id"],
        mutes=layout.plan_input(built.plan["mutes"]["sha256"]),
        data_version=publish.data_version([p["sha256"] for p in built.plan["partitions"]]),
        ranges={kind: entry["ranges"] for kind, entry in built.plan["kinds"].items()},
        gates=verdicts,
        coverage=aligned["coverage"],
        evaluation=judged.as_json() if judged is not None else None,
    )


def _gates(built: Built, draft: Scorer, judged: Figures | None, settings: Config) -> list[gates.Gate]:
    limits = settings.gates
    quality = [
        gates.beats_random(judged),
        gates.beats_shifted(judged),
        gates.beats_untrained(judged, limits.must_beat_untrained),
    ]
    if judged is None and settings.align.method == "published_tpe" and built.plan["feedback"]["rows"]:
        why = "published_tpe holds no incident out; give a judge range, so that it can be judged"
        quality = [gates.Gate(gate.name, None, 0.0, "fail", why) for gate in quality]
    return [
        gates.coverage(built.by_state, limits.min_coverage),
        gates.golden_parity(draft.verify(), limits.max_parity),
        gates.pages_per_entity_day(built.aligned["pages_per_entity_day"], limits.max_pages_per_entity_day),
        *quality,
    ]


def _provenance(store: Store, built: Built) -> dict[str, Any]:
    """What may differ between two builds of the same release: never hashed."""
    try:
        recorded = store.get_json(layout.receipt(built.plan_id, "snapshot"))
    except NotFound:
        recorded = {}
    return {
        "plan_id": built.plan_id,
        "data_revision": recorded.get("revision"),
        "data_registry": recorded.get("remote"),
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
    """The git revision of the checkout this code runs from, None for an installed package."""
    try:
        out = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    except OSError:
        return None
    revision = out.stdout.strip()
    return revision if out.returncode == 0 and len(revision) >= ID_LENGTH else None
