"""The ``views`` network in one file.

It has a small forecaster that every metric shares, and the graph that compares its forecasts.
Every metric of every entity is one row of the same network: it sees the last 31 samples, or the same time of earlier
days, and predicts the newest sample, which it never sees. Nothing is indexed by metric and no metric sees another, so
any number of metrics fits, in any order. A rank-one view per entity adds what the forecasts cannot see: metrics that
move apart. No I/O, no training.

Formulas, with z the standardised sample clipped to +-clip, c = asinh(z), f the network::

    recent    mean over metrics of |c - f(recent)| / (typical + .02)
    seasonal  mean log(1 + (c - f(seasonal))^2 / (typical + .003))
    residual  mean |r| / (typical + .05),  residual_square  mean r^2,   r = z - u (u.z) / (u.u)
    S_v       exponentially weighted mean of view v over time, smoothing a (a = 1: none)
    score     sum over views of weight_v log(1 + S_v)          margin = score - threshold

A metric that is missing now counts as ordinary, with half its weight: its place in each mean is what its typical error
gives. Left out, it would lend its weight to the others, and one that sits far out would page; with its whole weight it
would hide what the others show. ``typical`` and u (first right-singular vector of the entity's training range) are statistics of the normalizer table.

Shapes: B batch, M metric (padded), W window_steps, L lags, K statistics, P = 9 reference positions.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fleetalign.detectors.layers import fill_forward, shares, standardise
from fleetalign.detectors.views.roles import REFERENCE_STEPS, STATE_SIZE, VIEWS

WIDTH = 48
HIDDEN = 96
RECENT_FLOOR, SEASONAL_FLOOR, RESIDUAL_FLOOR = 0.02, 0.003, 0.05
"""Added to typical errors, in units of c, c^2 and z: a metric that was perfectly predictable must not dominate."""
NORMAL_SQUARE = math.pi / 2
"""Mean square of a normal variable in units of its squared mean size."""
MISSING_SHARE = 0.5
"""Of its weight that a missing metric keeps: with this neither hits nor false pages move while metrics are missing."""
SMALLEST = 1e-12
SMALLEST_DECAY = 1e-30
"""Stands for a decay of 0 (no smoothing), whose logarithm would be infinite."""


def gelu(x: Tensor) -> Tensor:
    """GELU, in the form that ONNX Runtime recognises.

    It then computes it in one pass instead of five.
    """
    if torch.compiler.is_exporting():
        return x * (torch.erf(x / math.sqrt(2.0)) + 1.0) * 0.5
    return F.gelu(x)


class Residual(nn.Module):
    """x + W2 GELU(W1 LN(x))."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.widen = nn.Linear(WIDTH, HIDDEN)
        self.narrow = nn.Linear(HIDDEN, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.narrow(gelu(self.widen(self.norm(x))))
        return x + added


class Forecaster(nn.Module):
    """Predicts the newest c of a metric.

    Inputs are its recent samples, its reference of earlier periods, or both.
    With W = 32: 42 inputs (31 recent, 9 reference, 2 flags), 21,164 parameters for 2 blocks; ``blocks=0`` is the
    near-linear control with 2,252.
    """

    def __init__(self, window_steps: int, blocks: int = 2) -> None:
        super().__init__()
        self.recent = window_steps - 1
        inputs = self.recent + REFERENCE_STEPS + 2
        self.embed = nn.Linear(inputs, WIDTH)
        self.blocks = nn.ModuleList(Residual() for _ in range(blocks))
        self.norm = nn.LayerNorm(WIDTH)
        self.out = nn.Linear(WIDTH, 1)
        self.skip = nn.Linear(inputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Forecast [...] from ``x`` float32 [..., 42].

        ``x`` holds recent, reference, and two flags that tell which of them is shown.
        What a flag of 0 hides must be zero.
        """
        return self._forecast(self.embed(x), self.skip(x))

    def _forecast(self, y: Tensor, straight: Tensor) -> Tensor:
        for block in self.blocks:
            y = block(y)
        forecast: Tensor = (self.out(self.norm(y)) + straight).squeeze(-1)
        return forecast

    def both(self, recent: Tensor, reference: Tensor, known: Tensor) -> Tensor:
        """Return forecasts [2n]: from ``recent`` alone, then from ``reference`` alone.

        Shapes: ``recent`` [n, W-1], ``reference`` [n, P], and its flag ``known`` [n, 1].
        What is hidden costs no arithmetic: each side meets its own columns of the first weights.
        """
        a, b = self.recent, self.recent + REFERENCE_STEPS
        shown = torch.cat([reference, known], dim=-1)

        def first(layer: nn.Linear) -> Tensor:
            weight, columns = layer.weight, [*range(a, b), b + 1]
            from_recent = F.linear(recent, weight[:, :a], layer.bias + weight[:, b])
            return torch.cat([from_recent, F.linear(shown, weight[:, columns], layer.bias)])

        return self._forecast(first(self.embed), first(self.skip))


def compress(z: Tensor) -> Tensor:
    """Return asinh(z), written out.

    Runtimes compute logarithms and roots several at a time, and Asinh one by one.
    """
    size = z.abs()
    return z * (torch.log(size + torch.sqrt(size * size + 1.0)) / size.clamp(min=SMALLEST))


def reference_positions(lags: tuple[int, ...], references: tuple[tuple[int, ...], ...]) -> Tensor:
    """Which lags each reference position averages: float32 [L, P] of 0 and 1."""
    matrix = torch.zeros(len(lags), REFERENCE_STEPS)
    where = {lag: row for row, lag in enumerate(lags)}
    for position, mine in enumerate(references):
        for lag in mine:
            matrix[where[lag], position] = 1.0
    return matrix


class Inputs(nn.Module):
    """Turns raw roles of the published graph into what the forecaster sees."""

    averages: Tensor
    """Which lags each reference position averages: float32 [L, P] of 0 and 1."""

    def __init__(self, clip: float, lags: tuple[int, ...], references: tuple[tuple[int, ...], ...]) -> None:
        super().__init__()
        self.clip = clip
        self.register_buffer("averages", reference_positions(lags, references), persistent=False)

    def recent(self, values: Tensor, location: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``z`` of the newest sample, ``c`` filled forward, and ``present``.

        Shapes: [B, M], float32 [B, M, W], bool [B, M, W].
        """
        z, present = standardise(values, location, scale, self.clip)
        return z[..., -1], fill_forward(compress(z), present), present

    def reference(self, seasonal: Tensor, location: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean c of earlier periods around each of the last P steps [B, M, P].

        Also whether all of them exist, as float [B, M, 1].
        """
        z, present = standardise(seasonal, location, scale, self.clip)
        number = present.to(torch.float32) @ self.averages
        shown = (number > 0).all(dim=-1, keepdim=True)
        mean = (compress(z) @ self.averages) / number.clamp(min=1.0)
        return torch.where(shown, mean, 0.0), shown.to(torch.float32)


class _Graph(nn.Module):
    """Scores a batch.

    Subclasses name the roles that the published graph takes (contracts 3).
    """

    def __init__(self, network: Forecaster, inputs: Inputs) -> None:
        super().__init__()
        self.network = network
        self.inputs = inputs

    def detect(
        self,
        values: Tensor,
        location: Tensor,
        scale: Tensor,
        weight: Tensor,
        threshold: Tensor,
        seasonal: Tensor | None,
        statistics: Tensor,
        state: Tensor,
    ) -> tuple[Tensor, ...]:
        """Score a batch of windows.

        Args: ``values`` float64 [B, M, W] raw units, newest last, NaN = missing; ``seasonal`` float64 [B, M, L];
        ``statistics`` float32 [B, M, K] in the order of ``roles.STATISTICS``; ``state`` float32 [B, S], a
        row of NaN = the row before it in this batch is the same entity one sample earlier.

        Returns float32 ``score`` [B], ``margin`` [B], ``contribution`` [B, M], ``next_state`` [B, S], and for fitting
        ``views`` [B, V] before smoothing, ``recent_error`` and ``seasonal_error`` [B, M]. Without a usable metric score
        and margin are NaN and the state stays.
        """
        z, c, present = self.inputs.recent(values, location, scale)
        active = (weight > 0) & (location.abs() < math.inf) & (scale > 0)
        usable = active & present[..., -1]
        weights = torch.where(active, weight, 0.0) * torch.where(usable, 1.0, MISSING_SHARE)
        total = weights.sum(dim=-1, keepdim=True)
        scorable = usable.any(dim=-1, keepdim=True)
        weights = weights / torch.where(total > 0, total, 1.0)

        *errors, compared = self._errors(c, seasonal, location, scale)
        typical_recent, typical_seasonal, direction, typical_residual, *columns = statistics.unbind(dim=-1)
        direction = torch.where(usable, direction, 0.0)
        along = (direction * z).sum(dim=-1, keepdim=True)
        length = direction.square().sum(dim=-1, keepdim=True).clamp(min=SMALLEST)
        residual = z - direction * along / length
        recent_error = torch.where(usable, errors[0], typical_recent)
        # Without an earlier period a sample is ordinary in this view: thresholds are fitted on samples that have one.
        seasonal_error = torch.where(usable & compared, errors[1], typical_seasonal)
        size = torch.where(usable, residual.abs(), typical_residual)
        square = torch.where(usable, residual.square(), NORMAL_SQUARE * typical_residual.square())
        parts = torch.stack(
            [
                recent_error / (typical_recent + RECENT_FLOOR),
                torch.log1p(seasonal_error / (typical_seasonal + SEASONAL_FLOOR)),
                size / (typical_residual + RESIDUAL_FLOOR),
                square,
            ],
            dim=-1,
        )  # [B, M, V]
        parts = torch.where(active[..., None], parts, 0.0) * weights[..., None]
        views = parts.sum(dim=1)  # [B, V]

        # Fleet numbers stand in every metric's row; any active one has them.
        fleet = (torch.stack(columns, dim=-1) * weights[..., None]).sum(dim=1)  # [B, V + 1]
        view_weight, smoothing = fleet[:, :-1], fleet[:, -1:]
        smoothed, next_state = smooth(views, smoothing, scorable, state)
        score = (view_weight * torch.log1p(smoothed)).sum(dim=-1)

        per_part = view_weight * torch.log1p(views) / views.clamp(min=SMALLEST)
        blame = torch.where(usable, (parts * per_part[:, None, :]).sum(dim=-1), 0.0)  # [B, M]
        contribution = shares(blame, usable)
        nan = torch.full_like(score, math.nan)
        score = torch.where(scorable.squeeze(-1), score, nan)
        views = torch.where(scorable, views, nan[:, None])
        return score, score - threshold, contribution, next_state, views, *errors

    def _errors(
        self, c: Tensor, seasonal: Tensor | None, location: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the forecast errors of the newest sample, and whether the second counts.

        They are |c - f(recent)| and (c - f(seasonal))^2.

        Each is [B, M]. A kind without a period has no earlier one to lack, so its second error always counts.
        """
        now, recent = c[..., -1], c[..., :-1]
        if seasonal is None:
            known = torch.zeros_like(now)[..., None]
            reference = known.expand(*now.shape, REFERENCE_STEPS)
            compared = torch.ones_like(now, dtype=torch.bool)
        else:
            reference, known = self.inputs.reference(seasonal, location, scale)
            compared = known.squeeze(-1) > 0
        # Rows of a matrix: runtimes add the bias within the product then.
        rows = (recent.reshape(-1, self.network.recent), reference.reshape(-1, REFERENCE_STEPS), known.reshape(-1, 1))
        errors = now - self.network.both(*rows).reshape(2, *now.shape)
        return errors[0].abs(), errors[1].square(), compared


class ViewsGraph(_Graph):
    """The published graph of a kind without a period; ``condition`` is not used."""

    def forward(
        self,
        values: Tensor,
        location: Tensor,
        scale: Tensor,
        weight: Tensor,
        condition: Tensor,
        threshold: Tensor,
        statistics: Tensor,
        state: Tensor,
    ) -> tuple[Tensor, ...]:
        return self.detect(values, location, scale, weight, threshold, None, statistics, state)


class SeasonalGraph(_Graph):
    """The published graph of a kind with a period."""

    def forward(
        self,
        values: Tensor,
        location: Tensor,
        scale: Tensor,
        weight: Tensor,
        condition: Tensor,
        threshold: Tensor,
        seasonal: Tensor,
        statistics: Tensor,
        state: Tensor,
    ) -> tuple[Tensor, ...]:
        return self.detect(values, location, scale, weight, threshold, seasonal, statistics, state)


def smooth(views: Tensor, smoothing: Tensor, scorable: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Return the exponentially weighted mean of ``views`` [B, V] and the next state [B, S].

    The mean is over an entity's samples.
    The state is the weighted sum of each view and the sum of weights (S = V + 1), all 0 at first, so the first sample
    counts fully. A row whose state is NaN follows the row before it. The recurrence is linear: within a chain it is one
    product with a lower triangular matrix of decays, so history scores in batches like the live stream, to rounding.
    """
    start = ~torch.isnan(state[:, 0])
    start = torch.cat([torch.ones_like(start[:1]), start[1:]])
    counted = scorable.to(torch.float32)  # [B, 1]
    number = counted.squeeze(-1).cumsum(dim=0)
    chain = start.to(torch.float32).cumsum(dim=0)
    row = torch.ones_like(chain).cumsum(dim=0)
    gone = (number[:, None] - number[None, :]).clamp(min=0.0)
    linked = (chain[:, None] == chain[None, :]) & (row[:, None] >= row[None, :])
    # A row without a usable metric has no smoothing (0): it takes that of its chain.
    smoothing = torch.where(linked, smoothing.squeeze(-1)[None, :], 0.0).amax(dim=1, keepdim=True)
    log_decay = torch.log((1.0 - smoothing).clamp(min=SMALLEST_DECAY))  # [B, 1]
    decay = torch.where(linked, torch.exp(log_decay * gone), 0.0)  # [B, B]
    new = torch.cat([views, torch.ones_like(smoothing)], dim=-1) * smoothing * counted
    before = torch.where(start[:, None] & ~torch.isnan(state), state, 0.0) * torch.exp(log_decay * counted)
    after = decay @ (new + before)
    return after[:, :-1] / after[:, -1:].clamp(min=SMALLEST), after


assert len(VIEWS) + 1 == STATE_SIZE
