"""The one protocol of a detector: what training, export, alignment and a release ask of it.

A detector declares what it reads and returns, and makes its parts; subclass ``Detector`` and override what differs from
its defaults (docs/detectors.md). It holds no state. Settings load it, also where Airflow parses a DAG, so its module imports
neither numpy nor torch at the top; only ``network`` and ``training`` may import torch, which alignment does not have.

Shapes: B batch, E entity, M metric, W window_steps, L lags, R candidate, K statistics columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import nn

    from fleetalign.config import AlignConfig, ModelConfig, TrainingConfig
    from fleetalign.config.detectors import Defaults
    from fleetalign.contracts.arrays import Floats
    from fleetalign.contracts.graph import Graph
    from fleetalign.detectors.grid import Grid
    from fleetalign.detectors.margins import Margins
    from fleetalign.detectors.search import Search
    from fleetalign.detectors.statistics import Fitter
    from fleetalign.detectors.training import Training
    from fleetalign.storage.panel import Panel

OPTIONAL_ROLES = ("seasonal", "statistics", "state")
"""Inputs that a graph has only where its detector says so (contracts 3.1)."""


@dataclass(frozen=True, slots=True)
class Network:
    """One network of a kind: its weights and the graph that is published around them."""

    detector: Detector
    module: nn.Module
    """The weights: what is trained, stored in checkpoints and counted."""
    published: nn.Module
    """Takes the roles ``inputs`` in order and returns the detector's ``outputs``, then its ``internals``."""
    period_steps: int | None = None
    """Its period in steps, as given to the detector's ``network``."""
    lags: tuple[int, ...] = ()
    """Steps before the newest sample that the role ``seasonal`` reads, ascending."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Roles of the graph in the order of ``contracts.graph.ROLES``."""
        from fleetalign.contracts.graph import ROLES

        sizes = (len(self.lags), len(self.detector.statistics), self.detector.state_size)
        absent = {role for role, size in zip(OPTIONAL_ROLES, sizes, strict=True) if not size}
        return tuple(role for role in ROLES if role not in absent)


class Detector(Protocol):
    """One way to score a fleet.

    It has a network that all entities of a kind share, and aligns it to each of them.
    """

    name: str
    """``model.network``; also in model cards and manifests."""
    score: str
    """Formula of the score, for the model card."""
    margin: str = "score - threshold"
    """Formula of the margin, for the model card; an alarm is margin > 0 (contracts 3.4)."""
    defaults: Defaults
    """Settings that suit it where ``model`` and ``training`` leave them open."""
    searched: Mapping[str, Search] = {}
    """Settings that ``fleetalign tune`` searches, by name; empty: nothing to tune."""
    seconds_per_sample: float = 3e-6
    """CPU seconds to score and tabulate one sample of one metric: sizes the shards of an alignment."""

    outputs: tuple[str, ...] = ("score", "margin", "contribution")
    """Outputs of the graph (``contracts.graph.OUTPUTS``); a detector with a state adds ``next_state``."""
    internals: tuple[str, ...] = ()
    """Values inside the graph that ``margins`` or ``fitter`` read (``contracts.graph.INTERNALS``)."""
    condition_used: bool = False
    """Whether the graph reads ``condition``, the context length C in steps; each entity then has its own."""
    own_statistics: tuple[str, ...] = ()
    """Columns of the normalizer table that ``fitter`` fits per entity and metric."""
    fleet_statistics: tuple[str, ...] = ()
    """Columns after them with one value for the whole fleet: what a candidate of ``grid`` consists of."""
    state_size: int | None = None
    """Length of an entity's state; None: the graph keeps none."""
    settle_steps: int | None = None
    """Samples after which an earlier state no longer matters; None: the graph keeps none."""

    @property
    def statistics(self) -> tuple[str, ...]:
        """Columns of the role ``statistics`` in the graph's order (K of them)."""
        return self.own_statistics + self.fleet_statistics

    def period(self, panel: Panel, location: Floats, scale: Floats, model: ModelConfig) -> int | None:
        """Return the period of a kind in steps; None without one.

        ``location`` and ``scale`` [E, M] are in raw units.
        """
        return None

    def network(self, model: ModelConfig, period_steps: int | None) -> Network:
        """Return a network with fresh weights, drawn from torch's generator."""
        ...

    def training(self, network: Network, model: ModelConfig, settings: TrainingConfig) -> Training | None:
        """Return how ``network`` is trained; None: it has no weights to train."""
        return None

    def grid(self, align: AlignConfig, window_steps: int) -> Grid:
        """Return the settings that alignment chooses among, with the tail probabilities."""
        from fleetalign.detectors.grid import single_candidate

        return single_candidate(align)

    def margins(self, graph: Graph, lags: Sequence[int], grid: Grid) -> Margins:
        """Return what computes the margins of an entity under every candidate.

        ``graph`` exposes its internals.
        The default runs the graph once per candidate. Override it only for speed: the numbers must be the graph's own.
        """
        from fleetalign.detectors.margins import GraphMargins

        return GraphMargins(graph, lags, grid, self.settle_steps)

    def fitter(self, graph: Graph, lags: Sequence[int], clip: float) -> Fitter | None:
        """Return what fits ``own_statistics``; None where there are none.

        ``graph`` exposes its internals.
        """
        return None
