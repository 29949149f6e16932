"""Detectors by name: the built-in ones, unknown names, and one of an installed package from its training to its scores."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from fleetalign.config import ModelConfig
from fleetalign.config.detectors import GROUP, names
from fleetalign.detectors.registry import detector
from fleetalign.errors import ConfigError


def test_the_built_in_detectors_are_found_and_declare_what_the_contract_allows():
    from fleetalign.contracts.graph import INTERNALS, OUTPUTS

    assert names() == ("views", "sharead")
    for name in names():
        found = detector(name)
        assert found.name == name and detector(name) is found
        assert set(found.outputs) <= set(OUTPUTS) and set(found.internals) <= set(INTERNALS)
        assert (found.state_size is None) == (found.settle_steps is None) == ("next_state" not in found.outputs)
    assert detector("sharead").condition_used and not detector("views").condition_used


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"'transformer'; must be one of 'views', 'sharead'"):
        ModelConfig(network="transformer", window_steps=16)


def test_an_entry_point_must_have_the_name_of_its_detector(monkeypatch: pytest.MonkeyPatch):
    point = EntryPoint("other", "fleetalign.detectors.views.detector:ViewsDetector", GROUP)
    monkeypatch.setattr("fleetalign.config.detectors.entry_points", lambda **_: [point])
    assert names() == ("views", "sharead", "other")
    with pytest.raises(ConfigError, match=r"'other' .* is a detector named 'views'; rename one"):
        detector("other")


@pytest.mark.parametrize("name", names())
def test_settings_load_a_detector_without_numpy_or_torch(name: str):
    code = (
        "import sys; from fleetalign.config import ModelConfig; ModelConfig(network=sys.argv[1]); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True, check=True)
    assert f"fleetalign.detectors.{name}.detector" in done.stdout.split()
    assert not {"numpy", "torch"} & set(done.stdout.split())


@pytest.fixture
def installed(tmp_path: Path, repository: Path) -> Path:
    """A folder on the path as pip leaves it: the module of docs/detectors.md, and its entry points."""
    page = (repository / "docs" / "detectors.md").read_text()
    (source,), (project,) = (
        re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL) for language in ("python", "toml")
    )
    assert len(source.splitlines()) <= 40, "the page promises forty lines"
    points = tomllib.loads(project)["project"]["entry-points"][GROUP]
    (module,) = {value.partition(":")[0] for value in points.values()}
    folder = tmp_path / "site"
    about = folder / f"{module}-1.0.dist-info"
    about.mkdir(parents=True)
    (folder / f"{module}.py").write_text(source)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    lines = [f"[{GROUP}]", *(f"{name} = {value}" for name, value in points.items())]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


TRAIN = """
import sys
from datetime import timedelta
import numpy as np, pyarrow as pa
from fleetalign import steps
from fleetalign.config import from_mapping
from fleetalign.contracts.tables import TIME
from fleetalign.interval import Interval
from fleetalign.storage import lake
from fleetalign.storage.file import FileStore

store, random, day = FileStore(sys.argv[1]), np.random.default_rng(0), timedelta(days=1)
for number in range(4):
    interval = Interval.parse(f"2026-03-0{number + 2}", f"2026-03-0{number + 3}")
    times = [interval.start + timedelta(minutes=10) * i for i in range(144)]
    table = pa.table({
        "kind": ["web"] * 3 * 144, "entity_id": [e for e in "abc" for _ in times], "timestamp": pa.array(times * 3, TIME),
        "cpu": random.normal(50, 5, 3 * 144), "memory": random.normal(1e9, 1e7, 3 * 144),
    })
    lake.write_partition(store, "validated", "web", interval, "day", table, 600, {})
config = from_mapping({"model": {"network": "mean_z"}, "align": {"min_history_steps": 50}}, "test")
plan_id = steps.plan(config, sys.argv[1])["plan_id"]
steps.pretrain(config, sys.argv[1], plan_id)
print(plan_id)
"""

ALIGN = """
import sys
sys.modules["torch"] = None  # as on an align worker
from datetime import UTC, datetime, timedelta
import numpy as np, pyarrow as pa
from fleetalign import steps
from fleetalign.config import from_mapping
from fleetalign.contracts.tables import TIME
from fleetalign.scoring.scorer import Scorer

config, uri, plan_id = from_mapping({}, "test"), sys.argv[1], sys.argv[2]
for shard in steps.shards(config, uri, plan_id):
    steps.align_shard(config, uri, plan_id, shard["index"])
steps.align_reduce(config, uri, plan_id)
scorer = Scorer.open(uri, release=steps.release(config, uri, plan_id)["release_id"])
entry = scorer.manifest.kinds["web"]
assert (entry.network, entry.condition_used, entry.window_steps) == ("mean_z", False, 8), entry
assert scorer.verify() <= 1e-5
times = [datetime(2026, 3, 7, tzinfo=UTC) + timedelta(minutes=10) * i for i in range(20)]
cpu = np.full(20, 50.0)
cpu[15] = 150.0
found = scorer.score(pa.table({
    "kind": ["web"] * 20, "entity_id": ["a"] * 20, "timestamp": pa.array(times, TIME),
    "cpu": cpu, "memory": np.full(20, 1e9),
})).to_pylist()
assert [row["reason"] for row in found] == ["warming_up"] * 7 + [None] * 13
assert [i for i, row in enumerate(found) if row["alarm"]] == [15], found
"""


def test_a_detector_of_another_package_goes_from_training_to_scores(tmp_path: Path, installed: Path, repository: Path):
    pytest.importorskip("torch")

    def run(code: str, *arguments: str) -> str:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(repository / "tasks"), str(installed)])}
        command = [sys.executable, "-c", code, str(tmp_path / "store"), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    plan_id = run(TRAIN)
    run(ALIGN, plan_id)
