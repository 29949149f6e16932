"""Measures a release on labelled telemetry that is not in the store, next to its controls."""

from __future__ import annotations

from datetime import datetime

from fleetalign.config import Config
from fleetalign.evaluate.figures import Figures
from fleetalign.feedback.files import read_feedback_file
from fleetalign.ingest.mapping import DEFAULT_KIND
from fleetalign.ingest.telemetry_files import TelemetryFiles
from fleetalign.release.figures import judge_scores
from fleetalign.release.untrained import control_of
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage.attributes import attributes_for
from fleetalign.storage.store import Store


def evaluate_files(
    store: Store,
    config: Config,
    files: TelemetryFiles,
    feedback_path: str,
    *,
    channel: str,
    release_id: str | None = None,
    start: datetime | None = None,
) -> Figures:
    """Score ``files`` with a release and its untrained control, and judge both by feedback.

    The release is ``release_id``, else the one ``channel`` points to. Rows before ``start`` are context only. Feedback
    without a kind is about the mapping's kind. Raises what ``Scorer.open`` and reading the files raise, and BadInput when
    no labelled time is left to judge.
    """
    scorer = Scorer.open(store, channel, release_id)
    telemetry = files.read(config)
    scores = scorer.score(telemetry, start=start)
    control = control_of(store, scorer.manifest)
    beside = None if control is None else control.score(telemetry, start=start)
    feedback = read_feedback_file(feedback_path, files.mapping.kind or DEFAULT_KIND)
    feedback = attributes_for(store, feedback).resolve(feedback, "start")
    return judge_scores(scorer, scores, feedback, config, beside)
