"""Which of several processes runs which tests; the groups of pytest-xdist 3.8 have no effect with pytest 9.2."""

from __future__ import annotations

from pathlib import Path

from xdist.scheduler import LoadFileScheduling

REPOSITORY = Path(__file__).parent.parent


class OneAirflow(LoadFileScheduling):
    """Gives each file to one process, and all that run a real Airflow to the same one."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "airflow" if "pytestmark = pytest.mark.airflow" in (REPOSITORY / file).read_text() else file
