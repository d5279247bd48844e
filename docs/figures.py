"""Draw the README's picture: runs/demo/report.html as a browser shows it. Needs a run of `make demo` and chromium."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).parents[1]
REPORT = PROJECT / "runs" / "demo" / "report.html"
PICTURE = PROJECT / "docs" / "demo_report.png"
SIZE = "1280,1000"
"""Window in CSS pixels: the first screen of a desktop browser."""


def main() -> None:
    """Write docs/demo_report.png. Ends with one line where the report or a browser is missing."""
    browser = next((found for name in ("chromium", "google-chrome", "chrome") if (found := shutil.which(name))), None)
    if browser is None:
        sys.exit("no chromium or google-chrome was found")
    if not REPORT.is_file():
        sys.exit(f"{REPORT} is missing: make demo")
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                browser,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--no-first-run",
                "--disable-background-networking",
                f"--user-data-dir={profile}",
                f"--window-size={SIZE}",
                f"--screenshot={PICTURE}",
                REPORT.as_uri(),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )
    print(PICTURE)


if __name__ == "__main__":
    main()
