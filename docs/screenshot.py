"""Take the pictures of report and explorer that the pages show: `python docs/screenshot.py`.

It fits the digits, writes their pages, and opens these in Chromium, which must be on PATH, with
playwright (the extra `web`). `make transcripts` runs it in a folder of its own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def main() -> None:
    """Write report.png and explorer.png into the current folder."""
    run = Path("runs", "digits")
    made = (["fit", "digits", "--out", str(run), "--quiet"], ["report", str(run)])
    for command in (*made, ["explore", str(run)]):
        subprocess.run([sys.executable, "-m", "nelbo", *command], check=True)
    path = next(filter(None, map(shutil.which, BROWSERS)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1180, "height": 1250})
        page.goto((run / "report.html").absolute().as_uri())
        page.screenshot(path="report.png")
        page.set_viewport_size({"width": 1180, "height": 1010})
        page.goto((run / "explore.html").absolute().as_uri())
        page.wait_for_selector("body[data-ready]")
        page.screenshot(path="explorer.png")
        browser.close()


if __name__ == "__main__":
    main()
