"""Reading settings: defaults, overrides, and refusals that name the setting."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetalign import config
from fleetalign.errors import ConfigError


def load(tmp_path: Path, text: str) -> config.Config:
    file = tmp_path / "params.yaml"
    file.write_text(text)
    return config.load(file)


def test_nothing_given_is_all_defaults(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(config.PARAMS_VARIABLE, raising=False)
    assert config.load() == config.Config()


def test_the_variable_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "p.yaml").write_text("partition: hour")
    monkeypatch.setenv(config.PARAMS_VARIABLE, str(tmp_path / "p.yaml"))
    assert config.load().partition == "hour"


def test_yaml_dates_and_exponents_are_understood(tmp_path: Path):
    found = load(
        tmp_path, "source: {simulator: {start: 2026-03-02}}\ntraining: {learning_rate: 1e-3}\nsteps: {web: 60}"
    )
    assert (found.source.simulator.start, found.training.learning_rate, found.steps) == (
        "2026-03-02",
        1e-3,
        {"web": 60},
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("modle: {}", "unknown setting 'modle'; known: .*model"),
        ("model: {window_step: 10}", "model: unknown setting 'window_step'"),
        ("model: {window_steps: ten}", r"model: window_steps is 'ten'; must be int"),
        ("model: {window_steps: 4}", r"window_steps is 4; must be in \[8, 1024\]"),
        ("model: {network: sharead, sharead: {dropout: 2.0}}", "model.sharead.dropout is 2.0"),
        ("training: {device: tpu}", "device is 'tpu'; must be one of 'cpu', 'cuda', 'auto'"),
        ("training: {epochs: 0}", "training.epochs is 0"),
        ("align: {grid: {conditions: [1]}}", "align.grid.conditions must be at least 2"),
        ("align: {grid: {prior_weights: []}}", "prior_weights is empty"),
        ("model: {network: transformer}", "network is 'transformer'; must be one of 'views', 'sharead'"),
        ("model: {views: {blocks: 9}}", r"model.views.blocks is 9; must be in \[0, 8\]"),
        ("training: {batch_size: 0}", "training.batch_size is 0"),
        ("align: {grid: {smoothings: []}}", "align.grid.smoothings is ()"),
        ("align: {grid: {smoothings: [0.1]}}", r"align.grid.smoothings .* in \[0.2, 1\]"),
        ("align: {grid: {view_weights: []}}", "align.grid.view_weights: give at least one"),
        ("align: {grid: {view_weights: [[1, 1, -1, 0]]}}", "align.grid.view_weights: .* none negative"),
        ("align: {grid: {view_weights: [[0, 0, 0, 0]]}}", "align.grid.view_weights: .* not all 0"),
        ("align: {grid: {view_weights: [[1, 1, 1]]}}", "view_weights.* has 3 values; must have 4"),
        ("align: {quantile_days: 0}", "align.quantile_days is 0"),
        ("align: {max_pages_per_entity_day: 0}", "align.max_pages_per_entity_day is 0"),
        ("align: {max_threshold_change_per_day: 2}", "align.max_threshold_change_per_day is 2"),
        ("align: {grid: {tail_probability_min: 0.5}}", "tail_probability_min < tail_probability_max"),
        ("drift: {limits: {max_score_ratio: 1}}", "drift.limits.max_score_ratio is 1.0; must be above 1"),
        ("drift: {limits: {shift_scales: 0}}", "drift.limits.shift_scales is 0.0; must be above 0"),
        ("drift: {limits: {max_new_share: 2}}", r"drift.limits.max_new_share is 2.0; must be in \[0, 1\]"),
        ("drift: {control_days: -1}", "drift.control_days is -1; must not be negative"),
        ("ranges: {train: [2026-01-01, 2026-01-02]}", "give both train and calibrate"),
        ("ranges: {train: [2026-01-01]}", "has 1 values; must have 2"),
        (
            "align: {method: published_tpe}",
            "published_tpe, which searches .* model.network is views: set it to sharead",
        ),
        (
            "model: {sharead: {latent_size: 3}}",
            "model.sharead.latent_size is 3, but model.network is views: remove it, or change the network",
        ),
        (
            "model: {network: sharead, views: {seasonality: false}}",
            "model.views.seasonality is False, but model.network is sharead",
        ),
        (
            "model: {network: sharead}\nalign: {grid: {smoothings: [1]}}",
            "align.grid.smoothings is .*network is sharead",
        ),
        ("align: {grid: {default_condition: 6}}", "align.grid.default_condition is 6, but model.network is views"),
        ("align: {grid: {tpe_trials: 0}}", "align.grid.tpe_trials is 0; must be at least 1"),
        ("training: {research: {validation_share: 1}}", "training.research.validation_share is 1.0; must be in"),
        ("model: {latent_size: 3}", "model.sharead.latent_size is 3, but model.network is views"),
        ("training: {patience: 1, research: {patience: 2}}", "training.patience has moved .* both are given"),
        ("gates: {shift_seeds: 3}", "gates.shift_seeds is 3, but is no setting any more; it is always 20: remove it"),
        ("validation: {max_abs_value: lots}", "validation.max_abs_value is lots, but is no setting any more"),
        ("- a", "expected a mapping, found list"),
        ("a: [", "not YAML"),
    ],
)
def test_what_is_wrong_is_refused_by_name(tmp_path: Path, text: str, expected: str):
    with pytest.raises(ConfigError, match=expected):
        load(tmp_path, text)


def test_a_missing_store_says_how_to_name_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(config.STORE_VARIABLE, raising=False)
    with pytest.raises(ConfigError, match="--store URI or set FLEETALIGN_STORE"):
        config.store_uri(None)
    monkeypatch.setenv(config.STORE_VARIABLE, "/from/the/environment")
    assert config.store_uri(None) == "/from/the/environment"
    assert config.store_uri("/given") == "/given"


def test_build_settings_survive_the_round_trip_through_a_plan():
    settings = config.Config(model=config.ModelConfig(window_steps=24), steps={"web": 60})
    again = config.from_build_settings(settings.build_settings())
    assert again.model == settings.model
    assert again.steps == {}


@pytest.mark.parametrize(
    ("network", "window", "training"),
    [("views", 32, (4, 256, 3e-3, 25_600)), ("sharead", 100, (4, 128, 1e-3, 40_000))],
)
def test_what_is_left_open_suits_the_network(tmp_path: Path, network: str, window: int, training: tuple):
    names = ("epochs", "batch_size", "learning_rate", "max_windows_per_epoch")

    def settings(text: str) -> tuple:
        found = load(tmp_path, f"model: {{network: {network}}}\n{text}")
        return found.model.window_steps, *(getattr(found.training, name) for name in names)

    assert settings("") == (window, *training)
    assert settings("training: {epochs: 9, learning_rate: 0.5}") == (window, 9, training[1], 0.5, training[3])
    assert load(tmp_path, f"model: {{network: {network}, window_steps: 24}}").model.window_steps == 24


def test_a_plan_says_what_was_left_open():
    """A plan must not change its meaning when a default does."""
    settings = config.Config().build_settings()
    assert settings["model"]["window_steps"] == 32
    assert settings["training"]["learning_rate"] == 3e-3
    again = config.from_build_settings(settings)
    assert (again.model, again.training, again.align) == tuple(
        getattr(config.Config(), name) for name in ("model", "training", "align")
    )
