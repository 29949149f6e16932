"""A person in front of Airflow's UI: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conftest import skip_or_fail
from PIL import Image
from playwright.sync_api import Browser, FrameLocator, Page, sync_playwright

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SIZE = {"width": 1280, "height": 800}
PATIENCE_MS = 60_000
PICTURES = "FLEETALIGN_PICTURES"
"""Folder that is to have the README's pictures; without it they go where the test says."""


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    executable = shutil.which("chromium")
    if executable is None:
        skip_or_fail("chromium is not on PATH; Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        browser.close()


@dataclass(frozen=True)
class Person:
    """Somebody who has logged in; ``pictures`` is where screenshots go."""

    page: Page
    url: str
    pictures: Path

    @classmethod
    def log_in(cls, browser: Browser, url: str, name: str, pictures: Path) -> Person:
        """``name`` is the password too, as in the demo."""
        page = browser.new_context(viewport=SIZE).new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(url)
        page.fill("input[name=username]", name)
        page.fill("input[name=password]", name)
        page.click("button[type=submit]")
        page.get_by_role("link", name="Dags", exact=True).first.wait_for()
        return cls(page, url, Path(os.environ.get(PICTURES) or pictures))

    def go(self, path: str) -> Page:
        self.page.goto(self.url + path)
        return self.page

    def fleet(self) -> FrameLocator:
        """The Fleet page, by the link of the navigation."""
        self.go("/").get_by_role("link", name="Fleet", exact=True).first.click()
        frame = self.page.frame_locator("iframe")
        frame.get_by_role("heading", name="Fleet", exact=True).wait_for()
        return frame

    def trigger(self, dag_id: str, **form: str) -> Any:
        """Fill in the form of a DAG and submit it; what it then shows."""
        page = self.page
        if not page.url.endswith(f"/dags/{dag_id}"):
            self.go(f"/dags/{dag_id}")
        dialog = page.get_by_role("dialog")
        if not dialog.count():
            page.get_by_test_id("trigger-dag-button").first.click()
        for name, value in form.items():
            dialog.locator(f"#element_{name}").fill(value)
        # By keyboard: what Airflow said of an earlier try may lie over the button.
        dialog.get_by_role("button", name="Trigger", exact=True).press("Enter")
        return dialog

    def backfill_form(self, dag_id: str, *days: str) -> Any:
        """The form of a backfill from the first to the last of two days (``YYYY-MM-DD``), both filled in."""
        self.go(f"/dags/{dag_id}").get_by_test_id("trigger-dag-button").first.click()
        dialog = self.page.get_by_role("dialog").first
        dialog.locator("label", has_text="Backfill").click()
        for number, day in enumerate(days):
            dialog.get_by_test_id("datetime-input").nth(number).click()
            date = self.page.get_by_placeholder("YYYY/MM/DD")
            date.fill(day.replace("-", "/"))
            date.press("Escape")
            date.wait_for(state="hidden")
        return dialog

    def picture(self, name: str, height: int = SIZE["height"]) -> None:
        self.page.set_viewport_size({**SIZE, "height": height})
        self.page.wait_for_timeout(2_000)  # charts draw themselves after their data is there
        self.pictures.mkdir(parents=True, exist_ok=True)
        drawn = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
        drawn.quantize(256, dither=Image.Dither.NONE).save(self.pictures / name, optimize=True)  # a third of the bytes
