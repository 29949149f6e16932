from __future__ import annotations

import dataclasses

import pytest
import yaml

from fleetalign.config import ShareADConfig, from_mapping
from fleetalign.errors import BadInput, UsageError
from fleetalign.model import tune as module
from fleetalign.model.tune import HISTORY_FILE, STUDY_FILE, override, tune_kind

TRIALS = 5
pytestmark = pytest.mark.parametrize("small_config", ["sharead"], indirect=True)


@pytest.fixture
def counted(monkeypatch):
    """Every training of the study, with the settings it tried."""
    tried = []
    real = module.train

    def train(panel, location, scale, model, training, **arguments):
        tried.append((model, training))
        return real(panel, location, scale, model, training, **arguments)

    monkeypatch.setattr(module, "train", train)
    return tried


def test_finds_overrides_that_the_config_reader_takes(tmp_path, make_plan, small_config, counted):
    store, plan = make_plan()
    best = tune_kind(store, plan, "web", small_config, TRIALS, tmp_path / "new" / "folder")
    assert from_mapping(yaml.safe_load(yaml.safe_dump(best)), "tuned").model.sharead != ShareADConfig()
    assert set(best["training"]) == {"learning_rate"} and set(best["model"]) == {"network", "sharead"}
    assert set(best["model"]["sharead"]) == {"latent_size", "dropout", "drop_metric_share"}
    assert counted[0] == (small_config.model, small_config.training), "the given settings are the first trial"
    assert (tmp_path / "new" / "folder" / HISTORY_FILE).read_bytes().startswith(b"\x89PNG")
    assert len(counted) == TRIALS
    assert len({model.sharead.dropout for model, _ in counted}) == TRIALS


def test_views_is_searched_over_what_it_listens_to(tmp_path, make_plan, small_config, counted):
    store, plan = make_plan()
    model = dataclasses.replace(small_config.model, network="views", sharead=ShareADConfig())
    config = dataclasses.replace(small_config, model=model)
    best = tune_kind(store, plan, "web", config, 2, tmp_path)
    assert set(best["model"]["views"]) == {"blocks"} and set(best["training"]) == {"learning_rate"}
    assert counted[0][0].views.blocks == config.model.views.blocks


def test_the_same_search_again_finds_the_same(tmp_path, make_plan, small_config):
    store, plan = make_plan()
    found = [tune_kind(store, plan, "web", small_config, TRIALS, tmp_path / name) for name in ("a", "b")]
    assert found[0] == found[1]


def test_a_stored_study_is_continued_not_repeated(tmp_path, make_plan, small_config, counted):
    store, plan = make_plan()
    tune_kind(store, plan, "web", small_config, 3, tmp_path)
    assert (tmp_path / STUDY_FILE).exists()
    best = tune_kind(store, plan, "web", small_config, TRIALS, tmp_path)
    assert len(counted) == TRIALS
    assert tune_kind(store, plan, "web", small_config, TRIALS, tmp_path) == best
    assert len(counted) == TRIALS


def test_a_study_can_live_in_sqlite(tmp_path, make_plan, small_config):
    store, plan = make_plan()
    url = f"sqlite:///{tmp_path}/study.sqlite"
    assert tune_kind(store, plan, "web", small_config, 2, tmp_path, storage_url=url)
    assert (tmp_path / "study.sqlite").exists() and not (tmp_path / STUDY_FILE).exists()


def test_hopeless_trials_are_pruned(tmp_path, make_plan, small_config):
    """With the startup over, a trial worse than the median of the same epoch stops early."""
    import optuna

    store, plan = make_plan()
    longer = dataclasses.replace(small_config, training=dataclasses.replace(small_config.training, epochs=3))
    url = f"sqlite:///{tmp_path}/study.sqlite"
    tune_kind(store, plan, "web", longer, 10, tmp_path, storage_url=url)
    states = {trial.state for trial in optuna.load_study(study_name="tune-web", storage=url).trials}
    assert states == {optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED}


def test_a_range_without_a_validation_part_is_refused(tmp_path, make_plan, small_config):
    store, plan = make_plan(train_steps=40)
    with pytest.raises(BadInput, match=r"'web'.*validation"):
        tune_kind(store, plan, "web", small_config, 2, tmp_path)


def test_no_trials_is_a_usage_error(tmp_path, make_plan, small_config):
    store, plan = make_plan()
    with pytest.raises(UsageError, match="at least 1"):
        tune_kind(store, plan, "web", small_config, 0, tmp_path)


def test_overrides_touch_only_their_settings(small_config):
    changed = override(small_config, {"learning_rate": 0.5, "latent_size": 16})
    assert changed.training == dataclasses.replace(small_config.training, learning_rate=0.5)
    assert changed.model == dataclasses.replace(small_config.model, sharead=ShareADConfig(latent_size=16))
    assert changed.align == small_config.align
