"""Items of general tasks in a real Chromium: filters, search, links, both answers, texts that mean harm, axe-core."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import PHONE, address, chromium, quiet_tab, serious_findings
from general_folder import plain_item, write_general
from report_runs import fill_run

from sciriff.config import Config
from sciriff.data.general_rows import GeneralItem
from sciriff.report.page import content, filled
from sciriff.run.run_dir import RunDir

MakeRun = Callable[..., tuple[Config, RunDir]]
HARM = (
    "</script><script>window.ran=1</script><img src=x onerror='window.ran=2'>"
    "<a href='javascript:window.ran=4'>x</a> {{7*7}} \u202eevil\u2066 \ud800 \x00\x1b[31m"
)


def item(leaf: str, place: int, value: float) -> GeneralItem:
    if leaf == "harm":
        return plain_item(leaf, place, value, question=HARM, target=HARM, answer=HARM * (1 + int(value)))
    return plain_item(leaf, place, value, finish="stop" if value else "length", truncated=2 if value else 0)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture
def page(make_run: MakeRun) -> Path:
    """120 items of one leaf were lost and 30 won, 1 each of another, and one that means harm."""
    parts = {"untrained": ([1.0] * 120 + [0.0] * 60, [1.0, 0.0], [1.0, 1.0])}
    parts["trained"] = ([0.0] * 120 + [1.0] * 30 + [0.0] * 30, [0.25, 0.75], [0.0, 1.0])
    made = {}
    for name, (arithmetic, logic, harm) in parts.items():
        beside = [f"report.beside=[{made['untrained'][1].root}]"] if made else []
        made[name] = make_run(name, {"biored_ner/f1": 0.3}, *beside)
        tasks = {"sums & more": {"add": arithmetic, "logic": logic}, "harm": {"harm": harm}}
        write_general(made[name][1], tasks, item)
    config, run = made["trained"]
    fill_run(run, "plain")
    run.report.write_bytes(filled(content(config, run)))
    return run.report


def shown(tab: Any, count: str) -> list[str]:
    """The rows of the list, once `count` items are found."""
    tab.wait_for_function("t => document.getElementById('items-found').textContent.startsWith(t)", arg=f"{count} of ")
    return [" ".join(row.inner_text().split()) for row in tab.query_selector_all("#changed-items .rows a")]


def titled(tab: Any, title: str) -> None:
    tab.wait_for_function("t => document.getElementById('item-id').textContent === t", arg=title)


def test_lost_items_are_found_paged_and_searched(browser: Any, page: Path) -> None:
    with quiet_tab(browser) as tab:
        tab.goto(address(page))
        rows = shown(tab, "122")
        assert len(rows) == 50 and rows[0] == "add 0 ▼ lost"
        tab.click("#changed-items .page-on")
        assert tab.inner_text("#changed-items .page") == "2 of 3"
        tab.select_option("#item-change", "won")
        assert shown(tab, "31")[-1] == "logic 1 ▲ won 0.00 → 0.75"
        titled(tab, "add, document 120")
        sides = [" ".join(side.inner_text().split()) for side in tab.query_selector_all("#item-body .side")]
        assert sides[0].startswith("Before: untrained It is wrong. ended by the length limit")
        assert sides[1].startswith("After: trained It is right. ended by the model, 2 examples left out of the prompt")
        tab.fill("#item-text", "number 133 OF add")
        assert shown(tab, "1") == ["add 133 ▲ won"]
        assert tab.inner_text("#item-body mark.hit") == "number 133 of add"
        tab.click("#item-filters button")
        shown(tab, "122")
        tab.select_option("#item-task", label="harm (1)")
        shown(tab, "1")
        tab.fill("#item-text", "no such words")
        tab.wait_for_selector("#item-body >> text=Nothing passes these filters.")


def test_links_lead_to_a_task_and_to_an_item(browser: Any, page: Path) -> None:
    with quiet_tab(browser) as tab:
        tab.goto(address(page))
        shown(tab, "122")
        tab.click("table.general a[href^='#lost=sums']")
        shown(tab, "121")
        tab.focus("#changed-items .rows a")
        tab.keyboard.press("ArrowDown")
        titled(tab, "add, document 1")
        assert tab.url == address(page, "item=sums%20%26%20more/add/1")
        tab.evaluate("location.hash = 'item=sums%20%26%20more/logic/1'")
        titled(tab, "logic, document 1")
        shown(tab, "153")  # it is not a lost one, so the filters were cleared
        tab.click("table.general a[href^='#won=sums']")
        shown(tab, "31")
        tab.evaluate("location.hash = 'item=sums%20%26%20more/logic/1'")
        titled(tab, "logic, document 1")
        tab.evaluate("location.hash = 'item=sums%20%26%20more/logic/7'")
        tab.wait_for_selector("#items-trouble:not([hidden])")
        assert tab.inner_text("#items-trouble") == "This page does not show document 7 of logic."
        tab.focus("#rows a")
        tab.keyboard.press("ArrowDown")  # the predictions have a list of their own
        tab.wait_for_function("location.hash.startsWith('#prediction=')")
        titled(tab, "logic, document 1")
    for fragment in ("item=%zz/a/1", "lost=<img src=x onerror=alert(1)>", "item=__proto__/x/0"):
        with quiet_tab(browser) as tab:
            tab.goto(address(page, fragment))
            shown(tab, "122")


def test_texts_that_mean_harm_are_text(browser: Any, page: Path) -> None:
    with quiet_tab(browser) as tab:
        tab.goto(address(page, "item=harm/harm/0"))
        titled(tab, "harm, document 0")
        text = tab.text_content("#item-body")
        assert not set(text) & set("\u202e\u2066\ud800\x00\x1b") and text.count("{{7*7}}") == 5
        tab.fill("#item-text", "<img src=x")
        shown(tab, "1")
        assert tab.evaluate("window.ran") is None
        assert tab.evaluate("document.querySelectorAll('#changed-items :is(img, script, svg)').length") == 0


@pytest.mark.parametrize(("scheme", "phone"), [("light", False), ("dark", True)], ids=["desktop", "phone, dark"])
def test_everybody_can_use_it(browser: Any, page: Path, scheme: str, phone: bool) -> None:
    options = {"viewport": PHONE} if phone else {}
    with quiet_tab(browser, color_scheme=scheme, **options) as tab:
        tab.goto(address(page, "item=harm/harm/0"))
        titled(tab, "harm, document 0")
        wide = tab.evaluate("document.documentElement.scrollWidth")
        assert wide == (PHONE["width"] if phone else 1280), "nothing makes the page wider than the window"
        assert serious_findings(tab) == []
    with quiet_tab(browser, java_script_enabled=False) as tab:
        tab.goto(address(page))
        assert tab.is_visible("table.general") and not tab.is_visible("#changed-items")
