"""Searches the settings that a detector declares, on the train range alone.

Its validation part judges.
Optuna: seeded TPE, median pruning on the loss of each epoch, a stored study that a later call continues, and a plot.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetalign.config import Config, ShareADConfig, TrainingConfig, ViewsConfig
from fleetalign.contracts.arrays import Floats
from fleetalign.contracts.plan import Plan
from fleetalign.detectors.registry import detector
from fleetalign.detectors.search import Options, Search
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
TRAINING_SETTINGS = {field.name for field in dataclasses.fields(TrainingConfig)}
OWN_SETTINGS = {
    name: {field.name for field in dataclasses.fields(section)}
    for name, section in (("views", ViewsConfig), ("sharead", ShareADConfig))
}
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
    plan: Plan,
    kind: str,
    config: Config,
    trials: int,
    out_dir: str | Path,
    storage_url: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Search on the train range of one kind of a plan, see ``tune``."""
    panel = training_panel(store, plan, kind, config)
    location, scale = normalizer.build(panel, config.model, config.align.min_history_steps).lookup()
    return tune(panel, location, scale, config, trials, storage_url, out_dir, progress)


def tune(
    panel: Panel,
    location: Floats,
    scale: Floats,
    config: Config,
    trials: int,
    storage_url: str | None,
    out_dir: str | Path,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Search until the study holds ``trials`` trials; return overrides for params.yaml.

    The detector declares which settings are searched. The study lies in ``out_dir/study.journal`` or at ``storage_url``
    (sqlite:///file), the plot in ``out_dir/history.png``. The first trial is the given configuration.

    Returns:
        ``{"model": {...}, "training": {...}}`` with the detector and the best values of the searched settings.

    Raises:
        UsageError: fewer than one trial, or the detector has no settings to search.
        BadInput: the train range is too short for a validation part, so nothing could be compared.
    """
    import optuna

    if trials < 1:
        raise UsageError(f"tune needs at least 1 trial, not {trials}")
    searched = detector(config.model.network).searched
    if not searched:
        raise UsageError(f"model.network {config.model.network!r} has no settings to tune; choose another detector")
    steps = panel.values.shape[1]
    if split(panel, 0, steps, config.model.window_steps, config.training.research.validation_share)[1] is None:
        raise BadInput(
            f"kind {panel.kind!r}: {steps} steps of train leave no validation part of one window "
            f"({config.model.window_steps} steps); tune on a longer range or a smaller model.window_steps"
        )
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    study = _study(panel.kind, config.model.seed, storage_url, folder)
    if not study.trials:
        study.enqueue_trial(_current(config, searched))

    def objective(trial: optuna.Trial) -> float:
        proposal = override(config, _propose(trial, searched))

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
    return as_overrides(study.best_params, config.model.network)


def as_overrides(settings: Mapping[str, Any], network: str) -> dict[str, Any]:
    """Return the searched ``settings``, by name, as sections of params.yaml.

    A name is looked for in ``training``, then in the detector's own section of ``model``, then in ``model``.
    """
    own = OWN_SETTINGS.get(network, set())
    found: dict[str, Any] = {"model": {"network": network}, "training": {}}
    for name, value in settings.items():
        if name in TRAINING_SETTINGS:
            found["training"][name] = value
        elif name in own:
            found["model"].setdefault(network, {})[name] = value
        else:
            found["model"][name] = value
    return found


def override(config: Config, settings: Mapping[str, Any]) -> Config:
    """Return ``config`` with the searched ``settings`` of a trial."""
    network = config.model.network
    sections = as_overrides(settings, network)
    model = sections["model"]
    if network in model:
        model[network] = dataclasses.replace(getattr(config.model, network), **model[network])
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, **model),
        training=dataclasses.replace(config.training, **sections["training"]),
    )


def _propose(trial: optuna.Trial, searched: Mapping[str, Search]) -> dict[str, Any]:
    """Draw a value for every setting that the detector lets search."""
    return {
        name: trial.suggest_categorical(name, search.values)
        if isinstance(search, Options)
        else trial.suggest_float(name, search.low, search.high, log=search.log)
        for name, search in searched.items()
    }


def _current(config: Config, searched: Mapping[str, Search]) -> dict[str, Any]:
    """Return the configured values of the searched settings: the first trial."""
    model = dataclasses.asdict(config.model)
    own: dict[str, Any] = model.get(config.model.network, {})
    settings = {**model, **own, **dataclasses.asdict(config.training)}
    return {name: settings[name] for name in searched}


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
    figure = axes.get_figure(root=True)
    assert figure is not None, "optuna draws on a figure"
    figure.savefig(path, dpi=120, bbox_inches="tight")
    pyplot.close(figure)
