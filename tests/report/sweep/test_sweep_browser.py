"""sweep.html in a real Chromium: sorting, two configs beside each other, names and values that mean harm, axe-core."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import PHONE, address, chromium, quiet_tab, serious_findings
from general_folder import write_general
from sweep_runs import Runs, grid

from sciriff.results.sweep_record import PAGE
from sciriff.run.run_dir import RunDir
from sciriff.sweep_page import write

HARM = "</script><script>window.ran=1</script><img src=x onerror='window.ran=2'>{{7*7}} \u202eevil \x1b[31m"
SEEN = "</script><script>window.ran=1</script><img src=x onerror='window.ran=2'>{{7*7}}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture
def page(runs: Runs) -> Path:
    """The grid with general tasks, and one more run, whose name and config mean harm."""
    grid(runs)
    for number in range(5):
        write_general(RunDir(runs.place / f"runs/run-{number}"), {HARM: {"leaf": [1.0] * (4 + number) + [0.0] * 8}})
    run = runs.make(HARM, 0.6, "mix.per_task=null", "mix.tulu=none")
    text = run.config.read_text()
    assert "path: meta-llama/Llama-2-7b-hf" in text
    run.config.write_text(text + f"hostile: {HARM.encode('unicode_escape').decode()!r}\n" + '"<b>key</b>": 1\n')
    runs.job(HARM, run)
    runs.job(HARM, run, "failed", HARM)
    place = runs.sweep()
    write(place, 200)
    return place / PAGE


@pytest.fixture
def tab(browser: Any, page: Path) -> Iterator[Any]:
    with quiet_tab(browser) as found:
        found.goto(address(page))
        found.wait_for_selector("#two:not([hidden])")
        yield found


def numbers(tab: Any) -> list[int]:
    """The rows of the table by their numbers, in the order that they are shown in."""
    return [int(cell.inner_text().partition(".")[0]) for cell in tab.query_selector_all("#scores tbody th")]


def sorted_by(tab: Any) -> list[tuple[str, str]]:
    found = tab.query_selector_all("#scores [aria-sort]")
    return [(header.inner_text().split()[0], header.get_attribute("aria-sort")) for header in found]


def test_the_table_is_sorted_by_click_and_by_key(tab: Any) -> None:
    assert numbers(tab) == [1, 2, 3, 4, 5, 6] and sorted_by(tab) == []
    tab.click("#scores th:nth-child(2) button")
    highest_first = numbers(tab)
    assert highest_first == [5, 6, 3, 2, 4, 1] and sorted_by(tab) == [("Mean", "descending")]
    tab.click("#scores th:nth-child(2) button")
    assert numbers(tab) == highest_first[::-1] and sorted_by(tab) == [("Mean", "ascending")]
    tab.focus("#scores th:nth-child(3) button")
    tab.keyboard.press("Enter")
    assert numbers(tab) == highest_first, "the baseline has no difference and stands last"
    tab.keyboard.press("Space")
    assert numbers(tab) == [4, 2, 3, 6, 5, 1] and sorted_by(tab) == [("Difference", "ascending")]
    tab.click("#scores th:nth-child(1) button")
    names = [cell.get_attribute("data-sort") for cell in tab.query_selector_all("#scores tbody th")]
    assert names[1].startswith("grid-per_task-5-tulu-match") and names[-1] == "llama2_7b-untrained"


def test_two_configs_beside_each_other(tab: Any) -> None:
    def differing() -> dict[str, list[str]]:
        found = tab.query_selector_all("#differences tbody tr")
        cells = [[cell.text_content() for cell in row.query_selector_all("th, td")] for row in found]
        return {key: values for key, *values in cells}

    tab.select_option("#first", label="grid-per_task-5-tulu-none")
    tab.select_option("#second", label="grid-per_task-20-tulu-match")
    assert differing() == {"mix.per_task": ["5", "20"], "mix.tulu": ["none", "match"]}
    assert tab.inner_text("#differing").startswith("2 of ")
    tab.select_option("#second", label="grid-per_task-20-tulu-match-s2")
    assert differing()["seed"] == ["42", "2"]
    tab.select_option("#second", label="grid-per_task-5-tulu-none")
    assert tab.inner_text("#differing").startswith("All ") and not tab.is_visible("#differences")
    tab.select_option("#second", "6")
    found = differing()
    assert found["<b>key</b>"] == ["–", "1"] and SEEN in found["hostile"][1]


def test_names_and_values_that_mean_harm_are_text(tab: Any) -> None:
    tab.select_option("#second", "6")
    text = tab.text_content("body")
    assert text.count(SEEN) >= 6 and not set(text) & set("\u202e\x1b")
    assert SEEN in tab.inner_text(".jobs") and SEEN in tab.inner_text("#scores")
    assert tab.evaluate("window.ran") is None
    assert tab.evaluate("document.querySelectorAll('img, b b, iframe, main script').length") == 0


@pytest.mark.parametrize(("scheme", "phone"), [("light", False), ("dark", True)], ids=["desktop", "phone, dark"])
def test_everybody_can_use_it(browser: Any, page: Path, scheme: str, phone: bool) -> None:
    options = {"viewport": PHONE} if phone else {}
    with quiet_tab(browser, color_scheme=scheme, **options) as tab:
        tab.goto(address(page))
        tab.wait_for_selector("#two:not([hidden])")
        wide = tab.evaluate("document.documentElement.scrollWidth")
        assert wide == (PHONE["width"] if phone else 1280), "nothing makes the page wider than the window"
        assert serious_findings(tab) == []
        tab.emulate_media(media="print")
        assert not tab.is_visible(".picks") and tab.is_visible("#scores")


def test_without_script_the_table_and_the_drawings_are_there(browser: Any, page: Path) -> None:
    with quiet_tab(browser, java_script_enabled=False) as tab:
        tab.goto(address(page))
        assert tab.is_visible("#scores") and tab.is_visible("svg.panel") and not tab.is_visible("#two")
        assert "need a browser with JavaScript" in tab.inner_text("noscript")
