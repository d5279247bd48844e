"""Draw the pictures of the README and docs: runs/demo/report.html as a desktop and a phone show it, and sweep.html.

Needs a run of `make demo`, and a chromium. `python docs/figures.py REPORT` draws another report, and of a file that is
called sweep.html the picture of a sweep alone.
"""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[1]
REPORT = PROJECT / "runs" / "demo" / "report.html"


@dataclass(frozen=True)
class Picture:
    """A window of the page; sizes are CSS pixels."""

    name: str
    width: int
    height: int
    scheme: str
    fragment: str = "summary"
    """What the address names: the window begins there, the default at the top."""


PICTURES = (
    Picture("demo_report.png", 1280, 1000, "light"),
    Picture("demo_predictions.png", 1280, 800, "dark", "prediction=scierc_ner/scierc_ner%3Avalidation%3A2"),
    Picture("demo_report_phone.png", 390, 844, "light"),
    Picture(
        "demo_predictions_phone.png",
        390,
        844,
        "light",
        "prediction=scifact_entailment/scifact_entailment%3Avalidation%3A1",
    ),
)
SWEEP = "sweep.html"
SWEEP_PICTURES = (Picture("sweep.png", 1280, 1400, "light"), Picture("sweep_phone.png", 390, 844, "dark"))
"""Of the page of a sweep over the demo:
-m experiment=demo mix.per_task=5,10,20 mix.tulu=none,match report.untrained=true"""


def main() -> None:
    """Write the pictures into docs/. Ends with one line where the report or a browser is missing."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
    if path is None:
        sys.exit("no chromium or google-chrome was found")
    report = Path(sys.argv[1]) if len(sys.argv) > 1 else REPORT
    of_sweep = report.name == SWEEP
    if not report.is_file():
        sys.exit(f"{report} is missing: make demo")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        for picture in SWEEP_PICTURES if of_sweep else PICTURES:
            size = {"width": picture.width, "height": picture.height}
            tab = browser.new_page(viewport=size, color_scheme=picture.scheme)
            tab.goto(f"{report.resolve().as_uri()}#{picture.fragment}")
            tab.wait_for_selector("#two:not([hidden])" if of_sweep else "#prediction .sides")
            tab.wait_for_timeout(300)
            if picture.fragment == Picture.fragment:
                tab.evaluate("scrollTo(0, 0)")
            tab.screenshot(path=PROJECT / "docs" / picture.name)
            print(PROJECT / "docs" / picture.name)
            tab.close()
        browser.close()


if __name__ == "__main__":
    main()
