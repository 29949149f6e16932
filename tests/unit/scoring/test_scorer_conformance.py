"""The reference scorer passes the suite that ships for everybody's."""

from __future__ import annotations

import pyarrow as pa

from fleetalign.scoring.scorer import Scorer
from fleetalign.testing.scorers import ScorerConformance


class TestReferenceScorer(ScorerConformance):
    def score(self, store_uri: str, release_id: str, telemetry: pa.Table) -> pa.Table:
        return Scorer.open(store_uri, release=release_id).score(telemetry)
