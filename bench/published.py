"""ShareAD as it was published, restated from the papers' equations to be measured beside: no build uses it.

Restated: the network (He, Chen, Huang, ISSRE 2022, section IV) with torch's own attention layer; one Dataset item per
window, sliced in Python; Huber loss, Adam, StepLR, gradient clip 10, validation on a random quarter of the windows;
scoring that decodes every window and keeps the whole squared-error array (ISSRE 2022, section V, and the public
repository IntelligentDDS/ShareAD). Alignment is in ``published_align``.

Left out of what the public code does, because the method does not need it: plots and progress output per batch. What
it does and could do without is kept and can be switched off: it records gradients while it scores (``gradients``).

Shapes: B batch, M metric, W window_steps, t samples of one entity.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, SubsetRandomSampler

from bench.speed.synthetic import Telemetry
from fleetalign.progress import Progress

WINDOW_STEPS = 100
"""W of every published experiment."""
CLIP = 20.0
HEADS = 4
DROPOUT = 0.2
SCORING_BATCH = 1024


class BaseLayer(nn.Module):
    """Linear mix per metric, then the compressing feed-forward part; d -> k. Input and output [..., d] and [..., k]."""

    def __init__(self, width: int, out_width: int) -> None:
        super().__init__()
        self.mix = self._mixer(width)
        self.drop_mix = nn.Dropout(DROPOUT)
        self.norm_mix = nn.LayerNorm(width)
        self.compress = nn.Linear(width, out_width)
        self.drop_inner = nn.Dropout(DROPOUT)
        self.feed = nn.Linear(out_width, out_width)
        self.drop_feed = nn.Dropout(DROPOUT)
        self.norm_out = nn.LayerNorm(out_width)
        self.activation = nn.GELU()

    def _mixer(self, width: int) -> nn.Module:
        return nn.Linear(width, width)

    def mixed(self, x: Tensor) -> Tensor:
        return self.mix(x)

    def forward(self, x: Tensor) -> Tensor:
        v = self.compress(self.norm_mix(x + self.drop_mix(self.mixed(x))))
        return self.norm_out(v + self.drop_feed(self.feed(self.drop_inner(self.activation(v)))))


class TransformerLayer(BaseLayer):
    """The same with 4-head self-attention over the metrics as the mix. Input [M, B, d]: metrics are the sequence."""

    def _mixer(self, width: int) -> nn.Module:
        return nn.MultiheadAttention(width, HEADS, dropout=DROPOUT)

    def mixed(self, x: Tensor) -> Tensor:
        return self.mix(x, x, x)[0]


class PublishedShareAD(nn.Module):
    """Base and Transformer encoder side by side, Base decoder (ISSRE 2022, figure 4); W must be a multiple of 4."""

    def __init__(self, window_steps: int, latent_size: int = 8) -> None:
        super().__init__()
        wide, narrow = _power_of_two(window_steps // 2), _power_of_two(window_steps // 4)

        def encoder(layer: type[BaseLayer]) -> nn.Sequential:
            return nn.Sequential(layer(window_steps, wide), layer(wide, narrow), nn.Linear(narrow, latent_size))

        self.base_encoder = encoder(BaseLayer)
        self.transformer_encoder = encoder(TransformerLayer)
        decode_narrow, decode_wide = (latent_size * (width // latent_size) for width in (narrow, wide))
        self.decoder = nn.Sequential(
            BaseLayer(2 * latent_size, decode_narrow),
            BaseLayer(decode_narrow, decode_wide),
            nn.Linear(decode_wide, window_steps),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruction [B, M, W] of ``x`` float32 [B, M, W]."""
        alone = self.base_encoder(x)
        together = self.transformer_encoder(x.transpose(0, 1).contiguous()).transpose(0, 1)
        return self.decoder(torch.cat([alone, together], dim=2))


def _power_of_two(x: int) -> int:
    return 2 ** math.ceil(math.log2(x))


def weights_of(sharead: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the weights of fleetalign's ShareAD to the state dict of ``PublishedShareAD``."""
    moved, projections = {}, {}
    for name, tensor in sharead.items():
        for ours, theirs in (
            ("base_latent.", "base_encoder.2."),
            ("transformer_latent.", "transformer_encoder.2."),
            ("reconstruct.", "decoder.2."),
            ("mix.merge.", "mix.out_proj."),
        ):
            name = name.replace(ours, theirs)
        if ".mix.query." in name or ".mix.key." in name or ".mix.value." in name:
            layer, _, rest = name.partition(".mix.")
            projection, _, what = rest.partition(".")
            projections[f"{layer}.mix.in_proj_{what}", projection] = tensor
        else:
            moved[name] = tensor
    for stacked in dict.fromkeys(key for key, _ in projections):
        moved[stacked] = torch.cat([projections[stacked, p] for p in ("query", "key", "value")])
    return moved


class WindowDataset(Dataset):
    """Every window of every entity; an item is one window float32 [M, W]. ``series``: float32 [time, M] per entity."""

    def __init__(self, series: Sequence[Tensor], window_steps: int) -> None:
        self.series = series
        self.window_steps = window_steps
        self.places = [(e, end) for e, one in enumerate(series) for end in range(window_steps - 1, len(one))]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Tensor:
        entity, end = self.places[index]
        return self.series[entity][end - self.window_steps + 1 : end + 1].transpose(0, 1).contiguous()


def standardise(values: np.ndarray, location: np.ndarray, scale: np.ndarray) -> Tensor:
    """Clipped z-score float32 of raw ``values`` float64 [time, M]; ``location``, ``scale`` [M]. No missing values."""
    return torch.from_numpy(np.clip((values - location) / scale, -CLIP, CLIP)).float()


def windows_of(telemetry: Telemetry, entity: int | None = None, first: int = 0) -> WindowDataset:
    """Windows of every entity, or of one, from sample ``first`` on; each series is standardised once, as published."""
    which = range(len(telemetry.labels)) if entity is None else (entity,)
    series = [standardise(telemetry.panel.values[e, first:], telemetry.location[e], telemetry.scale[e]) for e in which]
    return WindowDataset(series, WINDOW_STEPS)


@dataclass(frozen=True, slots=True)
class Fitted:
    """``network`` with its best-validation weights; ``curve`` holds (training loss, validation loss) per epoch."""

    network: PublishedShareAD
    curve: list[tuple[float, float | None]]


def fit(
    dataset: WindowDataset,
    *,
    epochs: int = 5,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    latent_size: int = 8,
    patience: int = 3,
    validation_share: float = 0.25,
    max_windows: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Fitted:
    """Train on ``dataset``; a random ``validation_share`` of its windows chooses the epoch (0: the last epoch wins).

    ``max_windows`` bounds the training windows of an epoch; the last incomplete batch is dropped, as published.
    """
    np.random.seed(seed)
    torch.manual_seed(seed)
    order = np.random.permutation(len(dataset))
    held_out = int(validation_share * len(dataset))
    training, validation = order[held_out:][:max_windows], order[:held_out]
    loader = DataLoader(dataset, batch_size, sampler=SubsetRandomSampler(training), drop_last=True)
    validation_loader = DataLoader(dataset, SCORING_BATCH, sampler=SubsetRandomSampler(validation))
    network = PublishedShareAD(dataset.window_steps, latent_size).to(device)
    loss_function = nn.SmoothL1Loss()
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    curve: list[tuple[float, float | None]] = []
    best, best_loss, waited = copy.deepcopy(network.state_dict()), math.inf, 0
    for epoch in range(epochs):
        network.train()
        losses = []
        for done, batch in enumerate(loader, start=1):
            x = batch.to(device)
            loss = loss_function(network(x), x)
            losses.append(loss.item())
            network.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 10)
            optimizer.step()
            if progress is not None:
                progress(epoch * len(loader) + done, epochs * len(loader), "train published")
        schedule.step()
        network.eval()
        with torch.no_grad():
            found = [loss_function(network(x), x).item() for x in (b.to(device) for b in validation_loader)]
        curve.append((float(np.mean(losses)), float(np.mean(found)) if found else None))
        if not found or curve[-1][1] < best_loss:
            best, best_loss, waited = copy.deepcopy(network.state_dict()), curve[-1][1] or math.inf, 0
        else:
            waited += 1
            if waited >= patience:
                break
    network.load_state_dict(best)
    return Fitted(network.eval(), curve)


def squared_errors(
    network: PublishedShareAD,
    dataset: WindowDataset,
    *,
    gradients: bool = True,
    device: str = "cpu",
    batch_size: int = SCORING_BATCH,
) -> np.ndarray:
    """Squared error float32 [windows, W, M] of every window of ``dataset``, all of it decoded and kept."""
    network.eval()
    errors = []
    for batch in DataLoader(dataset, batch_size, shuffle=False):
        with torch.set_grad_enabled(gradients):
            errors.append(_errors(network, batch.to(device)))
    return np.concatenate(errors)


def _errors(network: PublishedShareAD, x: Tensor) -> np.ndarray:
    return ((network(x) - x) ** 2).transpose(1, 2).contiguous().detach().cpu().numpy()


def decide(
    network: PublishedShareAD,
    values: np.ndarray,
    location: np.ndarray,
    scale: np.ndarray,
    condition: int,
    threshold: float,
    *,
    gradients: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """``(score, margin)`` float32 [B] of raw windows ``values`` float64 [B, M, W] of one entity.

    ``score`` = E[W-1], ``margin`` = score - max(E[W-C] .. E[W-2]) - Q with E the mean error over metrics, C the
    ``condition`` and Q the ``threshold``; ``location`` and ``scale`` are float64 [M].
    """
    z = np.clip((values - location[:, None]) / scale[:, None], -CLIP, CLIP)
    with torch.set_grad_enabled(gradients):
        return decided(_errors(network, torch.from_numpy(z).float()), condition, threshold)


def decided(errors: np.ndarray, condition: int, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """``(score, margin)`` float32 [n] of squared errors float32 [n, W, M], averaged over metrics."""
    profile = errors.mean(axis=2)
    score = profile[:, -1]
    return score, score - profile[:, -condition:-1].max(axis=1) - np.float32(threshold)
