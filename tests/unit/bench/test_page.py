"""One page from whatever has been run."""

from __future__ import annotations

import json
import types

from bench import page


def test_a_page_without_results_says_how_to_get_them(tmp_path):
    text = page.write(tmp_path / "docs").read_text()
    assert text.startswith("# Benchmarks")
    for name in page.TITLES:
        assert f"Not run here: `fleetalign bench {name}`" in text


def test_results_are_shown_with_their_pictures(tmp_path, monkeypatch):
    folder = tmp_path / page.FOLDER
    folder.mkdir()
    (folder / "speed.json").write_text(json.dumps({"ratio": 7}))

    def plots(result, where):
        (where / "speed.png").write_bytes(b"png")
        return [where / "speed.png"]

    fake = types.SimpleNamespace(tables=lambda result: f"**{result['ratio']} times**\n", plots=plots)
    monkeypatch.setattr(page.importlib, "import_module", lambda name: fake)
    text = page.write(tmp_path).read_text()
    assert "**7 times**" in text and "![speed](benchmarks/speed.png)" in text
    assert "Not run here: `fleetalign bench detection`" in text and "Not run here: `fleetalign bench speed`" not in text
    assert page.write(tmp_path).read_text() == text


def test_the_introduction_says_what_controls_mean():
    for word in ("random score", "shifted", "untrained", "near-linear", "--data FOLDER", "first 30 %", "straddles"):
        assert word in " ".join(page.INTRODUCTION.split())
