"""Searches the few settings that matter, on the train range alone (its validation part judges).

Optuna: seeded TPE, median pruning on the loss of each epoch, a stored study that a later call continues, and a plot.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fleetalign.config import Config
from fleetalign.errors import BadInput, UsageError
from fleetalign.model import normalizer
from fleetalign.model.candidate import training_panel
from fleetalign.model.train import train
from fleetalign.plan.document import plan_config, read_plan
from fleetalign.progress import Progress
from fleetalign.storage.panel import Panel
from fleetalign.storage.store import Store
from fleetalign.storage.windows import split

if TYPE_CHECKING:
    import optuna

STUDY_FILE = "study.journal"
HISTORY_FILE = "history.png"
BEST_FILE = "best.yaml"
MODEL_SETTINGS = ("latent_size", "dropout", "blocks")
STARTUP_TRIALS = 4


def tune_plan(
    store: Store,
    plan_id: str,
    kind: str,
    config: Config,
    trials: int,
    out_dir: str | Path,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run ``tune_kind`` on the plan ``plan_id``, and write its result to ``best.yaml``."""
    import yaml

    plan = read_plan(store, plan_id)
    settings = dataclasses.replace(plan_config(plan), storage=config.storage)
    best = tune_kind(store, plan, kind, settings, trials, out_dir, progress=progress)
    (Path(out_dir) / BEST_FILE).write_text(yaml.safe_dump(best, sort_keys=True))
    return best


def tune_kind(
    store: Store,
    plan: Mapping[str, Any],
    kind: str,
    config: Config,
    trials: int,
    out_dir: str | Path,
    storage_url: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """``tune`` on the train range of one kind of a plan."""
    panel = training_panel(store, plan, kind, config)
    location, scale = normalizer.build(panel, config.model, config.align.min_history_steps).lookup()
    return tune(panel, location, scale, config, trials, storage_url, out_dir, progress)


def tune(
    panel: Panel,
    location: np.ndarray,
    scale: np.ndarray,
    config: Config,
    trials: int,
    storage_url: str | None,
    out_dir: str | Path,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Search until the study holds ``trials`` trials; returns overrides for params.yaml.

    The study lies in ``out_dir/study.journal`` or at ``storage_url`` (sqlite:///file), the plot in
    ``out_dir/history.png``. The first trial is the given configuration. Result:
    ``{"model": {"blocks"}, "training": {"learning_rate"}}`` for ``views``, ``{"model": {"latent_size", "dropout"}, "training":
    {"learning_rate", "drop_metric_share"}}`` for ``sharead``.
    Raises UsageError for fewer than one trial, BadInput when the train range is too short for a validation part:
    nothing could be compared then.
    """
    import optuna

    if trials < 1:
        raise UsageError(f"tune needs at least 1 trial, not {trials}")
    steps = panel.values.shape[1]
    if split(panel, 0, steps, config.model.window_steps, config.training.validation_share)[1] is None:
        raise BadInput(
            f"kind {panel.kind!r}: {steps} steps of train leave no validation part of one window "
            f"({config.model.window_steps} steps); tune on a longer range or a smaller model.window_steps"
        )
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    study = _study(panel.kind, config.model.seed, storage_url, folder)
    if not study.trials:
        study.enqueue_trial(_current(config))

    def objective(trial: optuna.Trial) -> float:
        proposal = override(config, _propose(trial, config.model.network))

        def report(epoch: int, loss: float) -> None:
            trial.report(loss, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        return train(panel, location, scale, proposal.model, proposal.training, on_epoch=report).best_loss

    def count(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        if progress:
            progress(trial.number + 1, trials, f"tune {panel.kind}")

    study.optimize(objective, n_trials=max(0, trials - len(_finished(study))), callbacks=[count])
    _plot(study, folder / HISTORY_FILE)
    return as_overrides(study.best_params)


def as_overrides(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Flat setting names as sections of params.yaml."""
    return {
        "model": {name: value for name, value in settings.items() if name in MODEL_SETTINGS},
        "training": {name: value for name, value in settings.items() if name not in MODEL_SETTINGS},
    }


def override(config: Config, settings: Mapping[str, Any]) -> Config:
    sections = as_overrides(settings)
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, **sections["model"]),
        training=dataclasses.replace(config.training, **sections["training"]),
    )


def _propose(trial: optuna.Trial, network: str) -> dict[str, Any]:
    """What the network listens to."""
    if network == "views":
        return {
            "learning_rate": trial.suggest_float("learning_rate", 5e-4, 1e-2, log=True),
            "blocks": trial.suggest_categorical("blocks", [0, 1, 2, 3]),
        }
    return {
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 5e-3, log=True),
        "latent_size": trial.suggest_categorical("latent_size", [3, 8, 16]),
        "dropout": trial.suggest_float("dropout", 0.0, 0.4),
        "drop_metric_share": trial.suggest_float("drop_metric_share", 0.0, 0.3),
    }


def _current(config: Config) -> dict[str, Any]:
    if config.model.network == "views":
        return {"learning_rate": config.training.learning_rate, "blocks": config.model.blocks}
    return {
        "learning_rate": config.training.learning_rate,
        "latent_size": config.model.latent_size,
        "dropout": config.model.dropout,
        "drop_metric_share": config.training.drop_metric_share,
    }


def _study(kind: str, seed: int, storage_url: str | None, folder: Path) -> optuna.Study:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        study_name=f"tune-{kind}",
        storage=storage_url or JournalStorage(JournalFileBackend(str(folder / STUDY_FILE))),
        direction="minimize",
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS),
        load_if_exists=True,
    )


def _finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return [trial for trial in study.trials if trial.state.is_finished()]


def _plot(study: optuna.Study, path: Path) -> None:
    import optuna
    from matplotlib import pyplot
    from optuna.visualization.matplotlib import plot_optimization_history

    with warnings.catch_warnings():
        # "experimental" since 2.2 (2020)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        axes = plot_optimization_history(study)
    axes.figure.savefig(path, dpi=120, bbox_inches="tight")
    pyplot.close(axes.figure)
