"""Takes the README's pictures from a running demo, with Debian's Chromium: ``make demo``, then ``make pictures``.

python docs/take_pictures.py --url http://127.0.0.1:8080 --report .demo/store/releases/ID/report.html
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

PICTURES = Path(__file__).parent / "pictures"
CHROMIUM = "/usr/bin/chromium"
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--report", type=Path, help="(default: the newest of .demo)")
    parser.add_argument("--user", default="admin")
    parser.add_argument("--password", default="admin")
    options = parser.parse_args()
    report = options.report or max(Path(".demo/store/releases").glob("*/report.html"), key=lambda p: p.stat().st_mtime)
    PICTURES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport=SIZE)
        page.set_default_timeout(PATIENCE_MS)
        _log_in(page, options)
        page.goto(f"{options.url}/dags?limit=50")
        page.get_by_label("Show table view").click()
        _shoot(page, "telemetry_validate", "airflow.png")
        page.goto(report.resolve().as_uri())
        page.get_by_role("heading", name="How good it is").evaluate("heading => heading.scrollIntoView()")
        _shoot(page, "Gates", "report.png")
        browser.close()
    return 0


def _log_in(page: Page, options: argparse.Namespace) -> None:
    page.goto(options.url)
    page.fill("input[name=username]", options.user)
    page.fill("input[name=password]", options.password)
    page.click("button[type=submit]")
    page.wait_for_load_state("networkidle")


def _shoot(page: Page, text: str, name: str) -> None:
    page.get_by_text(text).first.wait_for()
    page.wait_for_timeout(2_000)  # charts draw themselves after their data is there
    page.screenshot(path=PICTURES / name)
    print(PICTURES / name)


if __name__ == "__main__":
    sys.exit(main())
