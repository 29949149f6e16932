"""The old places of the scorer and the session stay importable through 0.x."""

from __future__ import annotations

import importlib
import sys

import pytest

from fleetalign.scoring.scorer import Scorer
from fleetalign.scoring.session import Session


@pytest.mark.parametrize(("module", "name", "moved"), [("scorer", "Scorer", Scorer), ("session", "Session", Session)])
def test_the_old_module_warns_and_gives_the_same_class(module: str, name: str, moved: type) -> None:
    old = f"fleetalign.release.{module}"
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"moved to fleetalign.scoring.{module}"):
        found = importlib.import_module(old)
    assert getattr(found, name) is moved
