"""The pre-training's pod as the Kubernetes executor would make it, against the schemas of Kubernetes itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DAG_FOLDER = Path(__file__).parents[2] / "dags"
TEMPLATE = """
apiVersion: v1
kind: Pod
metadata: {name: template, namespace: airflow}
spec:
  containers:
    - name: base
      image: airflow:3.3.2
      env: [{name: FLEETALIGN_STORE, value: "s3://bucket/fleet"}]
  restartPolicy: Never
"""
RENDER = """
import json, sys
sys.path.insert(0, sys.argv[1])
from fleetalign_gpu import GPU
from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator
pod = PodGenerator.reconcile_pods(PodGenerator.deserialize_model_file(sys.argv[2]), GPU["executor_config"]["pod_override"])
print(json.dumps(PodGenerator.serialize_pod(pod)))
"""


def pretraining_pod(params: Path, template: Path) -> dict[str, Any]:
    """The pre-training's pod under the parameters of a file, made from the executor's pod template."""
    done = subprocess.run(
        [sys.executable, "-c", RENDER, str(DAG_FOLDER), str(template)],
        env={**os.environ, "FLEETALIGN_PARAMS": str(params)}, capture_output=True, text=True, check=True, timeout=180,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def rendered(tmp_path: Path) -> dict[str, Any]:
    params, template = tmp_path / "params.yaml", tmp_path / "template.yaml"
    params.write_text(
        'airflow: {gpu_pod: {limits: {nvidia.com/gpu: "1", memory: 8Gi}, image: trainer:1, '
        "node_selector: {pool: gpu}}}\n"
    )
    template.write_text(TEMPLATE)
    return pretraining_pod(params, template)


def test_the_pod_asks_for_a_gpu_on_nodes_that_have_one_and_keeps_its_template(rendered: dict[str, Any]) -> None:
    spec = rendered["spec"]
    [container] = spec["containers"]
    assert container["resources"] == {"limits": {"nvidia.com/gpu": "1", "memory": "8Gi"}} | {
        "requests": {"nvidia.com/gpu": "1", "memory": "8Gi"}
    }
    assert (container["name"], container["image"]) == ("base", "trainer:1")
    assert container["env"] == [{"name": "FLEETALIGN_STORE", "value": "s3://bucket/fleet"}]
    assert spec["nodeSelector"] == {"pool": "gpu"}
    assert spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


def test_kubernetes_own_schemas_take_it(rendered: dict[str, Any]) -> None:
    import kubernetes_validate

    whole = {"apiVersion": "v1", "kind": "Pod"} | rendered
    kubernetes_validate.validate(whole, "1.37", strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(whole | {"spec": rendered["spec"] | {"tolerations": "gpu"}}, "1.37", strict=True)


def test_nothing_is_asked_of_kubernetes_elsewhere(dags: dict[str, Any]) -> None:
    assert not dags["shared_pretrain"].get_task("pretrain").executor_config
