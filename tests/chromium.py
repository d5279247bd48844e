"""Pages from disk in a real headless Chromium: what they say to the console, what they ask of the network, axe-core."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser of this machine, driven by Playwright; the test is skipped where either is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[dev]'")
    path = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
    if path is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def quiet_tab(browser: Any, **context: Any) -> Iterator[Any]:
    """A tab of a fresh profile that may neither say anything to the console nor ask for anything but files it opens."""
    fresh = browser.new_context(**({"viewport": DESKTOP} | context))
    tab = fresh.new_page()
    said: list[str] = []
    opened: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: opened.append(request.url))
    yield tab
    fresh.close()
    assert said == []
    assert all(url.startswith("file:///") and url.partition("#")[0].endswith(".html") for url in opened), opened


def serious_findings(tab: Any) -> list[str]:
    """What axe-core finds serious or critical, as `rule: element`."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core is not installed")
    found = axe.Axe().run(tab).response["violations"]
    return [
        f"{rule['id']}: {node['html'][:200]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


def address(page: Path, fragment: str = "") -> str:
    """The file:// address of a page."""
    return page.resolve().as_uri() + (f"#{fragment}" if fragment else "")
