from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from fleetalign.config import ModelConfig, ResearchConfig, ShareADConfig, TrainingConfig
from fleetalign.errors import BadInput, ConfigError
from fleetalign.model import normalizer
from fleetalign.model.train import train

MODELS = {
    "sharead": ModelConfig(network="sharead", window_steps=16, sharead=ShareADConfig(latent_size=3)),
    "views": ModelConfig(window_steps=16),
}
TRAINING = TrainingConfig(
    epochs=3, batch_size=32, max_windows_per_epoch=320, max_validation_windows=100, checkpoint_every_batches=4
)


@pytest.fixture(scope="module", params=["sharead", "views", "views with a period"])
def setting(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(setting) -> ModelConfig:
    return MODELS[setting.split()[0]]


@pytest.fixture(scope="module")
def make_panel(setting, make_panel, make_daily):
    """For the network with a period, hourly telemetry with a daily rhythm."""
    return make_daily if setting == "views with a period" else make_panel


def fitted(panel, model, training=TRAINING, **arguments):
    location, scale = normalizer.build(panel, model, 10).lookup()
    return train(panel, location, scale, model, training, **arguments)


def weights(trained) -> bytes:
    return save_tensors(trained.network.module.state_dict())


@pytest.fixture(scope="module")
def undisturbed(make_panel, model, setting):
    found = fitted(make_panel(), model)
    assert (found.network.period_steps is not None) == (setting == "views with a period")
    return found


def test_training_again_gives_the_same_bytes(make_panel, model, undisturbed):
    again = fitted(make_panel(), model)
    assert weights(again) == weights(undisturbed)
    assert again.curve == undisturbed.curve


def test_another_seed_gives_another_network(make_panel, model, undisturbed):
    assert weights(fitted(make_panel(), replace(model, seed=12))) != weights(undisturbed)


KILLED = """
import os, signal, sys
import numpy as np
sys.path[:0] = [sys.argv[1], os.path.dirname(os.path.dirname(sys.argv[1]))]
from unit.conftest import panel_of
from test_train import MODELS, fitted
folder, limit, model, step, saved = sys.argv[2], int(sys.argv[3]), MODELS[sys.argv[4]], int(sys.argv[5]), 0
def save(data):
    global saved
    with open(f"{folder}/part", "wb") as file:
        file.write(data)
    os.replace(f"{folder}/part", f"{folder}/checkpoint")
    saved += 1
    if saved == limit:
        os.kill(os.getpid(), signal.SIGKILL)
fitted(panel_of(np.load(f"{folder}/values.npy"), step_seconds=step), model, save=save)
"""


# 10 batches an epoch, a checkpoint after batches 4 and 8 and at the epoch's end: 2 = mid-epoch, 3 = between epochs
@pytest.mark.parametrize("saves_before_kill", [2, 3])
def test_killed_and_resumed_ends_in_the_bytes_of_an_undisturbed_training(
    tmp_path, make_panel, model, undisturbed, saves_before_kill
):
    panel = make_panel()
    np.save(tmp_path / "values.npy", panel.values)
    here = os.path.dirname(__file__)
    arguments = [here, str(tmp_path), str(saves_before_kill), model.network, str(panel.step_seconds)]
    process = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()
    seen = []
    resumed = fitted(
        panel,
        model,
        resume=(tmp_path / "checkpoint").read_bytes(),
        progress=lambda done, total, what: seen.append(done),
    )
    assert weights(resumed) == weights(undisturbed)
    assert resumed.curve == undisturbed.curve
    assert seen[0] == {2: 9, 3: 11}[saves_before_kill], "it did not go on where it was killed"


def test_a_finished_checkpoint_needs_no_further_step(make_panel, model, undisturbed):
    saved, steps = [], []
    fitted(make_panel(), model, save=saved.append)
    resumed = fitted(make_panel(), model, resume=saved[-1], on_epoch=lambda epoch, loss: steps.append(epoch))
    assert steps == []
    assert weights(resumed) == weights(undisturbed)


@pytest.mark.parametrize("change", [{"data_id": "other"}, {"training": replace(TRAINING, learning_rate=2e-3)}])
def test_a_checkpoint_of_other_data_or_config_is_ignored(make_panel, model, change):
    saved = []
    fitted(make_panel(), model, save=saved.append)
    assert weights(fitted(make_panel(), model, resume=saved[2], **change)) == weights(
        fitted(make_panel(), model, **change)
    )


def test_how_often_it_is_saved_changes_nothing(make_panel, model, undisturbed):
    often = replace(TRAINING, checkpoint_every_batches=1)
    saved = []
    assert weights(fitted(make_panel(), model, training=often, save=saved.append)) == weights(undisturbed)
    assert len(saved) == 30
    assert weights(fitted(make_panel(), model, resume=saved[12])) == weights(undisturbed)


def test_it_learns(example):
    """Far below the loss of always saying the location. A network that sees no period has half its validation rows
    with nothing to see."""
    epochs = example.trained.curve
    z = (example.panel.values - example.location[:, None]) / example.scale[:, None]
    c, beta = (z, 1.0) if example.name == "sharead" else (np.arcsinh(z), 0.5)
    size = np.abs(c)
    blind = np.where(size < beta, size**2 / (2 * beta), size - beta / 2).mean()
    assert example.trained.best_loss < blind * (0.6 if example.name == "views without a period" else 0.3)
    assert epochs[1]["train_loss"] < epochs[0]["train_loss"]


def test_the_untrained_control_has_the_weights_that_training_began_with(make_panel, model, undisturbed):
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    begin = fitted(
        make_panel(),
        model,
        training=replace(TRAINING, epochs=1, learning_rate=1e-30, research=ResearchConfig(weight_decay=0.0)),
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    for name, tensor in undisturbed.untrained.module.state_dict().items():
        torch.testing.assert_close(tensor, begin.network.module.state_dict()[name], rtol=0, atol=1e-12)
    assert weights(undisturbed) != save_tensors(undisturbed.untrained.module.state_dict())
    resumed = []
    fitted(make_panel(), model, save=resumed.append)
    again = fitted(make_panel(), model, resume=resumed[-1])
    assert save_tensors(again.untrained.module.state_dict()) == save_tensors(undisturbed.untrained.module.state_dict())


def test_the_weights_are_those_of_the_best_epoch_and_patience_ends_the_training(make_panel, model):
    losses = {}
    saved = []
    wild = replace(TRAINING, epochs=40, learning_rate=0.05, checkpoint_every_batches=1000)
    if model.network == "sharead":
        model = replace(model, sharead=replace(model.sharead, learning_rate_decay=1.0))
    trained = fitted(
        make_panel(),
        model,
        training=wild,
        save=saved.append,
        on_epoch=lambda epoch, loss: losses.update({epoch: loss}),
    )
    best = min(losses, key=losses.get)
    assert trained.best_epoch == best
    assert trained.best_loss == losses[best]
    assert len(losses) == len(saved) == best + 1 + 2 < 40
    then = load_tensors(saved[best])
    for name, tensor in trained.network.module.state_dict().items():
        assert torch.equal(tensor, then[f"network.{name}"]), name


def test_without_room_for_validation_the_training_loss_chooses(make_panel, model):
    trained = fitted(make_panel(steps=40), model)
    assert trained.validation_windows == 0
    assert all(epoch["validation_loss"] is None for epoch in trained.curve)
    assert trained.best_loss == min(epoch["train_loss"] for epoch in trained.curve)


def test_gaps_and_missing_metrics_are_trained_through(make_panel, model):
    panel = make_panel()
    panel.values[np.random.default_rng(0).random(panel.values.shape) < 0.3] = np.nan
    panel.values[1, :, 2] = np.nan
    trained = fitted(panel, model)
    assert all(torch.isfinite(p).all() for p in trained.network.module.parameters())


def test_the_training_does_not_look_at_the_validation_part(make_panel, model):
    """Its samples decide which epoch wins, never what an epoch learns."""
    plain, changed = make_panel(), make_panel()
    changed.values[:, 160:] *= -3
    one = replace(TRAINING, epochs=1)
    location, scale = normalizer.build(plain, model, 10).lookup()
    first = train(plain, location, scale, model, one)
    second = train(changed, location, scale, model, one)
    assert weights(first) == weights(second)
    assert first.curve[0]["validation_loss"] != second.curve[0]["validation_loss"]


def test_less_than_one_window_is_refused_by_name(make_panel, model):
    with pytest.raises(BadInput, match=r"'web'.*16 steps"):
        fitted(make_panel(steps=15), model)


def test_no_sample_at_all_is_refused(make_panel, model):
    panel = make_panel()
    panel.values[:] = np.nan
    with pytest.raises(BadInput, match="newest"):
        fitted(panel, model)


def test_a_diverging_loss_is_a_config_error(make_panel, model):
    with pytest.raises(ConfigError, match="learning_rate"):
        fitted(
            make_panel(),
            model,
            training=replace(TRAINING, learning_rate=1e38, research=ResearchConfig(gradient_clip=1e38)),
        )


def test_cuda_is_used_or_refused_and_auto_always_works(make_panel, model, caplog):
    short = replace(TRAINING, epochs=1)
    assert fitted(make_panel(), model, training=replace(short, device="auto")).curve
    assert ("no CUDA device: training on the CPU" in caplog.text) != torch.cuda.is_available()
    if torch.cuda.is_available():
        assert fitted(make_panel(), model, training=replace(short, device="cuda")).curve
    else:
        with pytest.raises(ConfigError, match="CUDA"):
            fitted(make_panel(), model, training=replace(short, device="cuda"))


def test_the_process_is_left_as_it_was(make_panel, model):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    fitted(make_panel(), model, training=replace(TRAINING, epochs=1, threads=2))
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before
    assert torch.equal(torch.rand(3), expected)


def test_progress_counts_up_to_the_total(make_panel, model):
    seen = []
    fitted(make_panel(), model, progress=lambda *arguments: seen.append(arguments))
    assert seen[0] == (1, 30, "train web")
    assert seen[-1] == (30, 30, "train web")
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
