"""A pytest plugin for an environment without training, Airflow and DVC: the tests that import them are skipped.

The tests are found out by their imports, not by a list: whatever else fails, fails.
"""

from __future__ import annotations

import sys

import hypothesis
import pytest

ABSENT = {"airflow", "dvc", "great_expectations", "onnxscript", "pandas", "safetensors", "scipy", "torch"}
EXAMPLES = 4
"""Of each property: its arithmetic is tried at length in the environment that has everything."""


class _Absent:
    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        package = name.partition(".")[0]
        if package in ABSENT:
            pytest.skip(f"{package} is not installed", allow_module_level=True)


sys.meta_path.append(_Absent())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("hypothesis"):
            test = item.function
            test._hypothesis_internal_use_settings = hypothesis.settings(
                test._hypothesis_internal_use_settings, max_examples=EXAMPLES
            )
