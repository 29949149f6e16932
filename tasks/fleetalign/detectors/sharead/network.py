"""The whole network in one file: ShareAD, and the published graph around it.

No I/O, no training.
ShareAD (He, Chen, Zheng, ACM TOSEM 34, 2025; He, Chen, Huang, ISSRE 2022) reconstructs a window. Every metric is
one token, the vector of its W samples; all weights act along window positions or are shared by the metrics, so one
network serves any number of metrics in any order.

Shapes: B batch, M metric (padded), W window_steps, H latent_size, d and k widths of one block.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fleetalign.detectors.layers import fill_forward, shares, standardise

MAX_HEADS = 4
MASKED = -1e9
"""Attention logit of a key that must not be seen: its softmax weight is exactly 0 beside any real key, and a row
in which every key is masked stays finite (minus infinity would give NaN gradients)."""


class Dropout(nn.Module):
    """Inverted dropout that draws one random byte per element, so ``share`` is rounded to 1/256.

    nn.Dropout's float draws were a quarter of a training step on one CPU thread; eight elements share a draw here.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.dropped_of_256 = round(256 * share)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.dropped_of_256 == 0:
            return x
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64, device=x.device)
        words.random_(-(2**63), None)  # without a lower bound the top bit of every word is 0
        draws = words.view(torch.uint8)[: x.numel()].view(x.shape)
        return x * ((draws >= self.dropped_of_256) * (256 / (256 - self.dropped_of_256)))


class Attention(nn.Module):
    """Multi-head self-attention over the metrics of one window.

    It knows neither positions nor the identity of metrics.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        # 4 heads as published (25 wide at W=100); a width that 4 does not divide gets the largest divisor below.
        self.heads = math.gcd(MAX_HEADS, width)
        self.drop = Dropout(dropout)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.merge = nn.Linear(width, width)
        for projection in (self.query, self.key, self.value):
            # The start of nn.MultiheadAttention, which draws the three as one [3d, d] matrix.
            nn.init.xavier_uniform_(projection.weight, gain=0.5**0.5)
            nn.init.zeros_(projection.bias)
        nn.init.zeros_(self.merge.bias)

    def forward(self, x: Tensor, key_bias: Tensor) -> Tensor:
        """``x`` [B, M, d], ``key_bias`` [B, 1, 1, M] added to the logits -> [B, M, d]."""
        batch, metrics, width = x.shape

        def heads(projected: Tensor) -> Tensor:  # [B, heads, M, d / heads]
            return projected.view(batch, metrics, self.heads, width // self.heads).transpose(1, 2)

        query = heads(self.query(x)) * (width // self.heads) ** -0.5
        logits = query @ heads(self.key(x)).transpose(-2, -1) + key_bias
        mixed = self.drop(logits.softmax(dim=-1)) @ heads(self.value(x))
        merged: Tensor = self.merge(mixed.transpose(1, 2).reshape(batch, metrics, width))
        return merged


class Block(nn.Module):
    """One published building block, d -> k (ISSRE 2022, section IV).

    ::

        u = LN_d(x + Drop(Mix(x)))      Mix = attention over metrics (Transformer layer) or Linear(d, d) (Base layer)
        v = Linear(d, k)(u)
        y = LN_k(v + Drop(Linear(k, k)(Drop(GELU(v)))))
    """

    def __init__(self, width: int, out_width: int, dropout: float, *, attention: bool) -> None:
        super().__init__()
        self.mix = Attention(width, dropout) if attention else nn.Linear(width, width)
        self.attention = attention
        self.norm_mix = nn.LayerNorm(width)
        self.compress = nn.Linear(width, out_width)
        self.feed = nn.Linear(out_width, out_width)
        self.norm_out = nn.LayerNorm(out_width)
        self.drop = Dropout(dropout)

    def forward(self, x: Tensor, key_bias: Tensor) -> Tensor:
        mixed = self.mix(x, key_bias) if self.attention else self.mix(x)
        v = self.compress(self.norm_mix(x + self.drop(mixed)))
        narrowed: Tensor = self.norm_out(v + self.drop(self.feed(self.drop(F.gelu(v)))))
        return narrowed


class ShareAD(nn.Module):
    """Two encoders (Base: each metric alone; Transformer: metrics together) and a Base decoder.

    With P the next power of two >= W, the encoders narrow W -> P/2 -> P/4 -> H, the decoder widens
    2H -> H*floor(P/4/H) -> H*floor(P/2/H) -> W. At W=100: 114,813 / 116,376 / 118,232 parameters for H = 3 / 8 / 16.
    """

    def __init__(self, window_steps: int, latent_size: int, dropout: float = 0.2) -> None:
        super().__init__()
        wide = 2 ** math.ceil(math.log2(window_steps)) // 2
        narrow = wide // 2
        # At least one latent vector wide, so that a window shorter than 4H still decodes.
        decode_narrow = latent_size * max(1, narrow // latent_size)
        decode_wide = latent_size * max(1, wide // latent_size)

        def encoder(attention: bool) -> nn.ModuleList:
            return nn.ModuleList(
                [
                    Block(window_steps, wide, dropout, attention=attention),
                    Block(wide, narrow, dropout, attention=attention),
                ]
            )

        self.base_encoder = encoder(attention=False)
        self.base_latent = nn.Linear(narrow, latent_size)
        self.transformer_encoder = encoder(attention=True)
        self.transformer_latent = nn.Linear(narrow, latent_size)
        self.decoder = nn.ModuleList(
            [
                Block(2 * latent_size, decode_narrow, dropout, attention=False),
                Block(decode_narrow, decode_wide, dropout, attention=False),
            ]
        )
        self.reconstruct = nn.Linear(decode_wide, window_steps)

    def forward(self, z: Tensor, usable: Tensor) -> Tensor:
        """Reconstruct ``z`` float32 [B, M, W].

        Metrics with ``usable`` bool [B, M] False are seen by no other metric.
        The rows of unusable metrics in the result mean nothing.
        """
        key_bias = torch.where(usable, 0.0, MASKED)[:, None, None, :]
        base = together = z
        for block in self.base_encoder:
            base = block(base, key_bias)
        for block in self.transformer_encoder:
            together = block(together, key_bias)
        y = torch.cat([self.base_latent(base), self.transformer_latent(together)], dim=-1)  # [B, M, 2H]
        for block in self.decoder:
            y = block(y, key_bias)
        reconstructed: Tensor = self.reconstruct(y)
        return reconstructed


class ShareADGraph(nn.Module):
    """The published graph: raw window in, score, margin and contributions out (contracts 3)."""

    def __init__(self, network: ShareAD, window_steps: int, clip: float) -> None:
        super().__init__()
        self.network = network
        self.window_steps = window_steps
        self.clip = clip

    def forward(
        self, values: Tensor, location: Tensor, scale: Tensor, weight: Tensor, condition: Tensor, threshold: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Score a batch of windows.

        Args: ``values`` float64 [B, M, W] raw units, newest last, NaN = missing; ``location``, ``scale`` float64
        [B, M]; ``weight`` float32 [B, M], 0 = muted; ``condition`` int32 [B], C in [2, W]; ``threshold`` float32 [B].

        Returns float32: ``score`` [B] = E[W-1] (ISSRE 2022, eq. 7); ``margin`` [B] = score - max(E[W-C] .. E[W-2])
        - threshold; ``contribution`` [B, M], shares of the score; ``profile`` [B, W] = E, the squared error at each
        window position averaged over usable metrics. Without a usable metric score and margin are NaN.
        """
        z, present = standardise(values, location, scale, self.clip)
        usable = (weight > 0) & present[..., -1]
        z = fill_forward(z, present)
        errors = (z - self.network(z, usable)).square()  # [B, M, W]

        weights = torch.where(usable, weight, 0.0)
        total_weight = weights.sum(dim=-1)
        scorable = total_weight > 0
        weighted = weights[..., None] * errors
        profile = weighted.sum(dim=1) / torch.where(scorable, total_weight, 1.0)[:, None]

        last = self.window_steps - 1
        score = profile[:, last]
        position = torch.arange(self.window_steps, dtype=torch.int32, device=values.device)
        first = self.window_steps - condition.clamp(2, self.window_steps)
        in_context = (position >= first[:, None]) & (position < last)
        context = torch.where(in_context, profile, -math.inf).amax(dim=-1)
        margin = score - context - threshold

        contribution = shares(weighted[..., last], usable)
        nan = torch.full_like(score, math.nan)
        return (
            torch.where(scorable, score, nan),
            torch.where(scorable, margin, nan),
            contribution,
            torch.where(scorable[:, None], profile, nan[:, None]),
        )
