"""A writer killed with SIGKILL at any moment leaves the old object or the new one, and nothing in between."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from fleetalign.storage.file import FileStore

OLD, SIZE = b"o" * 3_000_000, 3_000_000
WRITERS = {
    "put": "store.put('folder/key', body)",
    "put_if_absent": "store.put_if_absent(f'folder/new-{turn}', body)",
    "swap": "store.swap('folder/key', body, store.get_versioned('folder/key').version)",
}
PROGRAM = """
import sys
from fleetalign.storage.file import FileStore
store = FileStore(sys.argv[1])
for turn in range(1_000_000):
    body = bytes([97 + turn % 26]) * {size}
    {write}
    if turn == 0:
        print("writing", flush=True)
"""


@pytest.mark.parametrize("verb", WRITERS)
@pytest.mark.parametrize("pause_seconds", [0.0, 0.003, 0.011, 0.02])
def test_kill_never_tears_an_object(tmp_path, verb: str, pause_seconds: float) -> None:
    store = FileStore(str(tmp_path))
    store.put("folder/key", OLD)
    program = PROGRAM.format(size=SIZE, write=WRITERS[verb])
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "writing\n"
        time.sleep(pause_seconds)
        writer.send_signal(signal.SIGKILL)
        assert writer.wait(10) == -signal.SIGKILL

    listed = list(store.list(""))
    assert "folder/key" in [info.key for info in listed]
    for info in listed:
        data = store.get(info.key)
        assert len(data) == info.bytes == SIZE
        assert len(set(data)) == 1, f"{info.key} is torn"
    # The dead writer's lock and left-overs stop nobody.
    store.swap("folder/key", b"next", store.get_versioned("folder/key").version)
    assert store.get("folder/key") == b"next"
