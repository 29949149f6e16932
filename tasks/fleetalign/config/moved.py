"""Settings of files and plans that an earlier fleetalign wrote, under the names of today."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleetalign.config.build import DETECTOR_SECTIONS
from fleetalign.config.run import foreign_candidates
from fleetalign.errors import ConfigError


def _into(group: str, names: str, prefix: str = "") -> dict[str, str]:
    """Name the settings that moved from the section of ``group`` into it."""
    section = group.partition(".")[0]
    return {f"{section}.{prefix}{name}": f"{group}.{name}" for name in names.split()}


MOVED = {
    **_into("model.views", "blocks seasonality"),
    **_into("model.sharead", "latent_size dropout"),
    "training.learning_rate_decay": "model.sharead.learning_rate_decay",
    "training.drop_metric_share": "model.sharead.drop_metric_share",
    **_into("training.research", "weight_decay gradient_clip patience validation_share"),
    **_into(
        "align.grid",
        "conditions default_condition view_weights smoothings tail_probability_min tail_probability_max "
        "tail_probability_count smooth prior_weights tpe_trials",
    ),
    **_into("source.simulator", "seed start days entities"),
    **_into(
        "drift.limits",
        "shift_scales max_shifted_share max_spread_ratio max_clipped_rise max_score_ratio max_new_share max_silent_share",
    ),
    **{
        f"airflow.{name}_cron": f"airflow.crons.{name}"
        for name in ("ingest", "pretrain", "align", "feedback", "drift", "health", "gc")
    },
    **{f"airflow.{name}_pool": f"airflow.pools.{name}" for name in ("gpu", "align", "dvc")},
    **_into("airflow.gpu_pod", "limits image", "gpu_pod_"),
    "airflow.gpu_node_selector": "airflow.gpu_pod.node_selector",
    **_into("airflow.notify", "email smtp_conn_id http_conn_id", "notify_"),
}
"""Old name to new name."""
FIXED: dict[str, float] = {"gates.max_parity": 1e-5, "gates.shift_seeds": 20, "validation.max_abs_value": 1e18}
"""Settings that are constants now, with their value."""


def renamed(document: Any, where: str) -> tuple[Any, list[str]]:
    """Return ``document`` with the setting names of today, and a line for each name that moved.

    What is not a mapping is returned as it is. ``where`` names the document in lines and errors.

    Raises:
        ConfigError: a setting is given under both names, or one that is a constant now has another value.
    """
    if not isinstance(document, Mapping):
        return document, []
    found: dict[str, Any] = dict(document)
    lines = []
    for old, new in MOVED.items():
        value, present = _take(found, old)
        if present:
            _put(found, new, value, f"{where}: {old} has moved to {new}; both are given, remove {old}")
            lines.append(f"{where}: {old} has moved to {new}")
    for old, value in FIXED.items():
        given, present = _take(found, old)
        if present:
            if not _equal(given, value):
                raise ConfigError(
                    f"{where}: {old} is {given}, but is no setting any more; it is always {value:g}: remove it"
                )
            lines.append(f"{where}: {old} is no setting any more; it is always {value:g}")
    return found, lines


def renamed_in_plan(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the build settings of a plan 1.x with the names of today.

    The plan's detector never read the settings of another, nor candidates that it does not choose from: they are dropped.
    So are the limit and the seeds that are constants now.
    """
    known = {section: dict(values) for section, values in settings.items()}
    for old in FIXED:
        _take(known, old)
    found, _ = renamed(known, "plan.config")
    network = found["model"]["network"]
    for section in DETECTOR_SECTIONS:
        if section != network:
            found["model"].pop(section, None)
    grid = found["align"].get("grid", {})
    for name in foreign_candidates(network):
        grid.pop(name, None)
    return dict(found)


def _take(document: dict[str, Any], name: str) -> tuple[Any, bool]:
    """Remove ``section.setting`` from ``document``; returns its value and whether it was there."""
    section, _, setting = name.partition(".")
    values = document.get(section)
    if not isinstance(values, Mapping) or setting not in values:
        return None, False
    document[section] = {key: value for key, value in values.items() if key != setting}
    return values[setting], True


def _put(document: dict[str, Any], name: str, value: Any, conflict: str) -> None:
    """Set ``section.group.setting`` in ``document``."""
    section, group, setting = name.split(".")
    inside = document.get(section)
    inside = dict(inside) if isinstance(inside, Mapping) else {}
    values = inside.get(group)
    values = dict(values) if isinstance(values, Mapping) else {}
    if setting in values:
        raise ConfigError(conflict)
    document[section] = {**inside, group: {**values, setting: value}}


def _equal(given: Any, value: float) -> bool:
    try:
        return float(given) == value
    except (TypeError, ValueError):
        return False
