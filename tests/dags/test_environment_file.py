"""infra/airflow/airflow.env: every variable is one that somebody reads, explained, and fit for what parses it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from fleetalign import config

FILE = Path(__file__).parents[2] / "infra" / "airflow" / "airflow.env"
READ_BY_LIBRARIES = {"GX_ANALYTICS_ENABLED", "OMP_NUM_THREADS", "AWS_ENDPOINT_URL"}
OURS = {config.STORE_VARIABLE, config.PARAMS_VARIABLE, config.PROMETHEUS_VARIABLE}


def variables() -> dict[str, str]:
    """As a shell reads the file."""
    command = ["bash", "-euc", 'set -a; . "$0"; env -0', str(FILE)]
    done = subprocess.run(command, env={}, capture_output=True, text=True, check=True, timeout=60)
    found = dict(line.split("=", 1) for line in done.stdout.split("\0") if line)
    return {name: value for name, value in found.items() if name not in ("PWD", "SHLVL", "_")}


def test_every_block_begins_with_what_it_is_for() -> None:
    for block in FILE.read_text().strip().split("\n\n"):
        assert block.startswith("# "), block
        for line in block.splitlines():
            assert line.startswith("#") or re.fullmatch(r"[A-Z_0-9]+=.*", line), line


def test_every_variable_is_read_by_somebody() -> None:
    from airflow.configuration import conf

    for name in variables():
        if name.startswith("AIRFLOW__"):
            _, section, option = name.split("__")
            known = conf.configuration_description[section.lower()]["options"]
            assert option.lower() in known, name
        else:
            assert name in READ_BY_LIBRARIES | OURS, name
    assert set(variables()) >= OURS


def test_the_bundle_is_one_that_airflow_takes() -> None:
    bundles = json.loads(variables()["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"])
    assert [set(bundle) for bundle in bundles] == [{"name", "classpath", "kwargs"}]
