"""infra/helm/values.yaml through Helm: what a cluster would get, against Kubernetes' own schemas and the project's settings.

The official chart is in no package index that a test could install it from. A small chart of our own (``chart/``) takes the same keys, strictly,
and puts them where the official one does; with FLEETALIGN_AIRFLOW_CHART, its folder or archive, the same tests render it too.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml
from dags.test_environment_file import variables
from dags.test_kubernetes import pretraining_pod

from fleetalign.config import load

ROOT = Path(__file__).parents[2]
VALUES = yaml.safe_load((ROOT / "infra" / "helm" / "values.yaml").read_text())
POOLS = json.loads((ROOT / "infra" / "airflow" / "pools.json").read_text())
OFFICIAL = os.environ.get("FLEETALIGN_AIRFLOW_CHART")
CHARTS = [Path(__file__).parent / "chart", *([Path(OFFICIAL)] if OFFICIAL else [])]
PATH_VARIABLES = {"AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", "AIRFLOW__CORE__PLUGINS_FOLDER"}
Manifest = dict[str, Any]


@pytest.fixture(scope="module", params=CHARTS, ids=lambda path: path.name)
def chart(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture(scope="module")
def manifests(chart: Path) -> list[Manifest]:
    with helm_python.Chart.load(chart) as loaded:
        files = loaded.render(VALUES, name="airflow", namespace="airflow")
    texts = [text for name, text in files.items() if name.endswith(".yaml")]
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


@pytest.fixture(scope="module")
def maps(manifests: list[Manifest]) -> dict[str, dict[str, str]]:
    """Data of each ConfigMap by its name."""
    return {found["metadata"]["name"]: found["data"] for found in manifests if found["kind"] == "ConfigMap"}


@pytest.fixture(scope="module")
def config(maps: dict[str, dict[str, str]]) -> dict[str, str]:
    """The ConfigMap with airflow.cfg and the pod template."""
    return next(data for data in maps.values() if "airflow.cfg" in data)


@pytest.fixture(scope="module")
def pods(manifests: list[Manifest], config: dict[str, str]) -> dict[str, Manifest]:
    """Spec of the pod of each component that runs fleetalign's code or reads its files."""
    found = {"task": yaml.safe_load(config["pod_template_file.yaml"])["spec"]}
    for manifest in manifests:
        component = manifest["metadata"].get("labels", {}).get("component")
        if manifest["kind"] in ("Deployment", "StatefulSet", "Job"):
            found[component] = manifest["spec"]["template"]["spec"]
    return found


def container(pod: Manifest) -> Manifest:
    names = ("base", "worker", "api-server", "run-airflow-migrations")
    return next(found for found in pod["containers"] if found["name"] in names)


def test_helm_takes_the_values_and_no_others(chart: Path) -> None:
    assert helm_python.lint(chart, VALUES, strict=True)["errors"] == []
    with helm_python.Chart.load(chart) as loaded:
        misspelled = {**VALUES, "workers": {"celery": {**VALUES["workers"]["celery"], "replica": 2}}}
        with pytest.raises(helm_python.HelmValuesError, match="replica"):
            loaded.render(misspelled, name="airflow", namespace="airflow")


def test_kubernetes_own_schemas_take_every_manifest(manifests: list[Manifest], config: dict[str, str]) -> None:
    for manifest in [*manifests, yaml.safe_load(config["pod_template_file.yaml"])]:
        kubernetes_validate.validate(manifest, "1.37", strict=True)
    workload = next(found for found in manifests if found["kind"] == "Job")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(workload | {"spec": workload["spec"] | {"gpu": 1}}, "1.37", strict=True)


@pytest.mark.parametrize("component", ["worker", "task", "api-server", "run-airflow-migrations"])
def test_every_pod_knows_the_store_and_finds_the_parameters(
    component: str, pods: dict[str, Manifest], maps: dict[str, dict[str, str]]
) -> None:
    found = container(pods[component])
    environment = {variable["name"]: variable.get("value") for variable in found["env"]}
    assert environment["FLEETALIGN_STORE"] == "s3://BUCKET/PREFIX"
    params = Path(environment["FLEETALIGN_PARAMS"])
    mount = next(mount for mount in found["volumeMounts"] if mount["mountPath"] == str(params.parent))
    volume = next(volume for volume in pods[component]["volumes"] if volume["name"] == mount["name"])
    assert params.name in maps[volume["configMap"]["name"]]
    assert found["image"] == "REGISTRY/fleetalign-airflow:TAG"


@pytest.mark.parametrize("component", ["worker", "task", "api-server"])
def test_who_reads_the_store_has_a_role(component: str, pods: dict[str, Manifest], manifests: list[Manifest]) -> None:
    name = pods[component]["serviceAccountName"]
    [account] = [found for found in manifests if (found["kind"], found["metadata"]["name"]) == ("ServiceAccount", name)]
    assert "fleetalign-pipeline" in account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]


def test_the_pretraining_gets_a_pod_with_a_gpu_and_torch(
    config: dict[str, str], maps: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    params, template = tmp_path / "params.yaml", tmp_path / "template.yaml"
    params.write_text(maps["fleetalign"]["params.yaml"])
    template.write_text(config["pod_template_file.yaml"])
    pod = pretraining_pod(params, template)
    kubernetes_validate.validate({"apiVersion": "v1", "kind": "Pod"} | pod, "1.37", strict=True)
    found = container(pod["spec"])
    assert found["image"] == "REGISTRY/fleetalign-trainer:TAG"
    assert found["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "FLEETALIGN_STORE" in {variable["name"] for variable in found["env"]}
    assert load(params).airflow.gpu_executor in VALUES["executor"].split(",")


def test_the_migration_makes_the_pools_that_the_dags_ask_for(
    pods: dict[str, Manifest], maps: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    for name, text in maps["fleetalign"].items():
        (tmp_path / name).write_text(text)
    arguments = container(pods["run-airflow-migrations"])["args"]
    command = [argument.replace("/etc/fleetalign", str(tmp_path)) for argument in arguments]
    environment = {
        **os.environ, "AIRFLOW_HOME": str(tmp_path), "FLEETALIGN_PARAMS": str(tmp_path / "params.yaml"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }  # fmt: skip
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=300)
    listed = subprocess.run(
        ["airflow", "pools", "list", "--output", "json"],
        env=environment, check=True, capture_output=True, text=True, timeout=120,
    ).stdout  # fmt: skip
    made = {pool["pool"]: pool["description"] for pool in json.loads(listed[listed.index("[") :])}
    wanted = load(tmp_path / "params.yaml").airflow
    assert {wanted.pools.gpu, wanted.pools.align, wanted.pools.dvc} <= set(made)
    assert {name: made[name] for name in POOLS} == {name: pool["description"] for name, pool in POOLS.items()}


def test_airflow_is_set_as_the_environment_file_sets_it(config: dict[str, str]) -> None:
    from airflow.configuration import conf

    for name, value in variables().items():
        if name.startswith("AIRFLOW__") and "__METRICS__" not in name and name not in PATH_VARIABLES:
            _, section, option = name.lower().split("__")
            said = VALUES["config"].get(section, {}).get(option, str(conf.get_default_value(section, option)))
            assert said == value, name
    for section, options in VALUES["config"].items():
        assert set(options) <= set(conf.configuration_description[section]["options"])
        assert all(f"{option} = {value}\n" in config["airflow.cfg"] for option, value in options.items())


def test_version_and_paths_are_those_of_the_images(config: dict[str, str]) -> None:
    [bundle] = json.loads(re.search(r"dag_bundle_config_list = (.+)", config["airflow.cfg"])[1])
    dockerfile = (ROOT / "infra" / "images" / "airflow.Dockerfile").read_text()
    assert f"AIRFLOW__CORE__DAGS_FOLDER={bundle['kwargs']['path']} " in dockerfile
    lock = (ROOT / "requirements.lock.txt").read_text()
    assert f"apache-airflow=={VALUES['airflowVersion']}\n" in lock
