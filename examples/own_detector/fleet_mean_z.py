from fleetalign.config.detectors import Defaults
from fleetalign.detectors.detector import Detector, Network


class MeanZ(Detector):
    """Mean size of the newest standardised sample over the metrics that have one."""

    name = "mean_z"
    score = "mean over usable metrics of |z|"
    defaults = Defaults(window_steps=8)

    def network(self, model, period_steps):
        import torch

        from fleetalign.detectors.layers import shares, standardise

        class Graph(torch.nn.Module):
            def forward(self, values, location, scale, weight, condition, threshold):
                z, present = standardise(values, location, scale, model.clip)
                usable = (weight > 0) & present[..., -1]
                weights = torch.where(usable, weight, 0.0)
                parts = weights * z[..., -1].abs()
                score = parts.sum(dim=-1) / weights.sum(dim=-1)
                return score, score - threshold, shares(parts, usable)

        graph = Graph()
        return Network(self, module=graph, published=graph)
