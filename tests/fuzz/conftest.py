"""One watch for all readers; its counts stand at the end of the run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fuzz.watch import Watch, peak_mib

_WATCH = pytest.StashKey[Watch]()


@pytest.fixture(scope="session")
def watch(request: pytest.FixtureRequest) -> Iterator[Watch]:
    request.config.stash[_WATCH] = Watch()
    yield request.config.stash[_WATCH]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    watch = config.stash.get(_WATCH, None)
    if watch is None or not watch.readers:
        return
    terminalreporter.write_sep("-", "fuzz")
    for name, reader in watch.readers.items():
        counts = ", ".join(f"{number} {what}" for what, number in sorted(reader.outcomes.items()))
        terminalreporter.write_line(
            f"{name:<28}{reader.outcomes.total():>7} inputs: {counts}; "
            f"slowest {reader.slowest_seconds:.2f} s, memory +{reader.grown_mib:.0f} MiB"
        )
    total = sum(reader.outcomes.total() for reader in watch.readers.values())
    terminalreporter.write_line(f"{'together':<28}{total:>7} inputs; peak {peak_mib():.0f} MiB")
