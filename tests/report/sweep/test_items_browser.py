"""Answers side by side in a real Chromium: what filters leave, the words that differ, keys, marks, hostile texts."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from answer_runs import HARM, MUP, NER, RARE, SEEN, compared_page
from chromium import DESKTOP, PHONE, address, chromium, quiet_tab, serious_findings

from sciriff.config import load
from sciriff.data.marks import Mark, answer_digest, read_marks
from sciriff.report.page import content, filled
from sciriff.run.run_dir import RunDir


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture
def page(folders: list[RunDir], tmp_path: Path) -> Path:
    """The page of the baseline and the changed run."""
    path = tmp_path / "two.html"
    path.write_bytes(compared_page(folders[:2]))
    return path


@pytest.fixture
def tab(browser: Any, page: Path) -> Iterator[Any]:
    with quiet_tab(browser) as found:
        found.goto(address(page))
        found.wait_for_selector("#prediction .answers")
        yield found


def shown(tab: Any, count: int) -> list[str]:
    """The ids of the list, once `count` items are found."""
    tab.wait_for_function("n => document.getElementById('found').textContent.startsWith(n)", arg=f"{count} of ")
    return [row.inner_text().rpartition(": ")[2] for row in tab.query_selector_all("#rows .id")]


def titled(tab: Any, title: str) -> None:
    tab.wait_for_function("t => document.querySelector('#prediction h3').textContent.startsWith(t)", arg=title)


def go_to(tab: Any, instance: str, task: str = NER) -> None:
    tab.evaluate("([task, id]) => { location.hash = `prediction=${task}/${encodeURIComponent(id)}` }", [task, instance])
    titled(tab, instance)


def marked(tab: Any) -> list[list[str]]:
    """The words that each answer has alone."""
    sides = tab.query_selector_all("#prediction .answers .side")
    return [[mark.inner_text() for mark in side.query_selector_all("mark.only")] for side in sides]


def test_filters_leave_what_changed(tab: Any) -> None:
    assert len(shown(tab, 22)) == 22
    for change, count in (("different", 14), ("worse", 8), ("better", 6), ("unreadable", 0), ("both-unreadable", 3)):
        tab.select_option("#filter-change", change)
        shown(tab, count)
    tab.select_option("#filter-change", "lacking")
    assert shown(tab, 1) == ["7"]
    assert "No answer to this item is here." in tab.inner_text("#prediction .answers .side:nth-child(2)")
    tab.click("#filters button[type=reset]")
    shown(tab, 22)
    tab.select_option("#filter-order", "loss")
    tab.wait_for_function("() => document.querySelector('#rows .score').textContent.includes('100.0 → 40.0')")
    tab.select_option("#filter-order", "gain")
    tab.wait_for_function("() => document.querySelector('#rows .score').textContent.includes('80.0 → 100.0')")
    tab.fill("#filter-text", RARE)
    shown(tab, 0)
    tab.check("#filter-prompts")
    assert shown(tab, 1) == ["5"]


def test_words_that_differ_are_marked(tab: Any) -> None:
    go_to(tab, f"{MUP}:3", MUP)
    assert marked(tab) == [["messages"], ["signals", "a lot"]]
    go_to(tab, f"{NER}:3")
    assert marked(tab) == [[], []] and "The same text as A." in tab.inner_text("#prediction")
    assert tab.evaluate("differences('a b c d', 'a x c')") == [[[2, 3], [6, 7]], [[2, 3]]]
    assert tab.evaluate("differences('', 'new words')") == [[], [[0, 9]]]
    assert tab.evaluate("differences('same', 'same')") == [[], []]
    long = "differences(Array.from({length: 9000}, (_, n) => `a${n}`).join(' '), 'b '.repeat(9000))"
    assert tab.evaluate(f"{long}.map((ranges) => ranges.length)") == [1, 1]
    fits = """() => {
      for (let seed = 1; seed < 200; seed += 1) {
        const words = (n) => Array.from({length: (seed * n) % 13}, (_, at) => "abc"[(seed * n * (at + 3) ** 2) % 3]);
        const [one, other] = [words(7), words(11)];
        const inside = (ranges, at) => ranges.some(([start, end]) => at >= start && at < end);
        const left = (text, ranges) => [...text].filter((c, at) => c !== " " && !inside(ranges, at));
        const [a, b] = differences(one.join(" "), other.join(" "));
        const common = left(one.join(" "), a).join("");
        if (common !== left(other.join(" "), b).join("")) return seed;
      }
      return 0;
    }"""
    assert tab.evaluate(fits) == 0, "what is not marked is the same in both"


def test_a_number_of_the_table_leads_to_its_items(tab: Any) -> None:
    tab.click(f'#scores a[href="#items=1/{NER}/f1/gain"]')
    assert shown(tab, 14)[:6] == ["0", "2", "4", "6", "8", "10"]
    assert tab.input_value("#filter-column") == "f1" and tab.input_value("#filter-order") == "gain"
    assert tab.inner_text("#rows [aria-current] .id") == "0"
    for fragment in ("items=9/x/y/loss", f"items=1/{NER}/nothing/loss", "items=1/__proto__//gain"):
        tab.evaluate("hash => { location.hash = hash }", fragment)
        assert len(shown(tab, 14)) == 14


def focused(tab: Any) -> str:
    """The id of the item in the list that has the focus; empty if none has."""
    chosen = "document.activeElement.closest('#rows [aria-current]')"
    return str(tab.evaluate(f"{chosen}?.querySelector('.id').textContent ?? ''"))


def test_a_link_puts_the_focus_into_the_list(tab: Any) -> None:
    shown(tab, 22)
    tab.focus(f'#scores a[href="#items=1/{NER}/f1/gain"]')
    tab.keyboard.press("Enter")
    shown(tab, 14)
    tab.wait_for_function("() => document.activeElement.closest('#rows') !== null")
    assert focused(tab) == "0"
    tab.keyboard.press("ArrowDown")
    titled(tab, f"{NER}:2")
    tab.keyboard.press("1")
    assert tab.inner_text("#marked") == "Marks in this page: 1 right, 0 wrong, 0 unclear."
    assert focused(tab) == "2"


def test_letters_and_digits_work_on_the_whole_page(tab: Any) -> None:
    shown(tab, 22)
    tab.focus("#scores thead button")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("3")
    assert tab.inner_text("#marked") == "Marks in this page: 0 right, 0 wrong, 1 unclear."
    assert tab.inner_text("#rows [aria-current] .id").endswith(": 0") and tab.evaluate("scrollY > 0"), "it is seen"
    tab.keyboard.press("j")
    titled(tab, f"{NER}:1")
    assert focused(tab).endswith(": 1")
    tab.focus("#filter-text")
    tab.keyboard.type("j1")
    assert tab.input_value("#filter-text") == "j1"
    assert tab.inner_text("#marked") == "Marks in this page: 0 right, 0 wrong, 1 unclear."


def test_the_page_ends_below_its_footer(tab: Any) -> None:
    shown(tab, 22)
    tab.evaluate("() => predictions.fill(Array.from({length: 50}, (_, n) => predictions.found[n % 22]))")
    height = tab.evaluate("document.documentElement.scrollHeight")
    end = tab.evaluate("document.querySelector('footer').getBoundingClientRect().bottom + scrollY")
    assert end <= height <= end + 80


def test_a_table_that_goes_on_says_so(tab: Any) -> None:
    said = "getComputedStyle(document.querySelector('#scores').closest('.box'), '::before').content"
    tab.set_viewport_size(PHONE)
    tab.wait_for_function(f"() => {said}.includes('scroll it sideways')")
    tab.set_viewport_size({"width": 2400, "height": 900})
    tab.evaluate("document.body.style.maxWidth = 'none'")
    tab.wait_for_function(f"() => {said} === 'none'")


def test_everything_is_done_by_keys(tab: Any) -> None:
    shown(tab, 22)
    tab.focus("#rows a")
    tab.keyboard.press("j")
    titled(tab, f"{NER}:1")
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.id") == "prediction"
    tab.keyboard.press("1")
    tab.keyboard.press("b")
    tab.keyboard.press("2")
    assert tab.query_selector("#prediction .side[data-chosen] .letter").inner_text() == "B"
    pressed = tab.query_selector_all("#prediction .marking [aria-pressed=true]")
    assert [button.get_attribute("data-mark") for button in pressed] == ["right", "wrong"]
    assert tab.inner_text("#rows [aria-current] .flag") == "A right; B wrong"
    tab.keyboard.press("n")
    tab.keyboard.type("j1 <b>")
    tab.keyboard.press("Escape")
    tab.keyboard.press("a")
    tab.keyboard.press("0")
    assert tab.inner_text("#marked") == "Marks in this page: 0 right, 1 wrong, 0 unclear."
    tab.keyboard.press("Escape")
    assert tab.evaluate("document.activeElement.getAttribute('aria-current')") == "true"
    tab.keyboard.press("k")
    titled(tab, f"{NER}:0")
    tab.keyboard.press("3")
    tab.select_option("#filter-mark", "some")
    assert shown(tab, 2) == ["0", "1"]
    tab.reload()
    tab.wait_for_selector("#prediction .answers")
    assert tab.inner_text("#marked") == "Marks in this page: 0 right, 1 wrong, 1 unclear.", "they are kept"
    go_to(tab, f"{NER}:1")
    assert tab.input_value('#prediction .marking[data-run="1"] input') == "j1 <b>"


@pytest.mark.slow
def test_marks_are_saved_and_loaded(browser: Any, page: Path, folders: list[RunDir], tmp_path: Path) -> None:
    saved = tmp_path / "marks.json"
    with quiet_tab(browser) as tab:
        tab.goto(address(page))
        tab.wait_for_selector("#prediction .answers")
        for instance in ("__proto__", HARM):
            row = tab.evaluate("([id]) => index.tasks[0].ids.indexOf(id)", [instance])
            if row < 0:  # it is shown otherwise than it is
                row = tab.evaluate("() => index.tasks[0].ids.findIndex((id) => id.startsWith('</script>'))")
            tab.evaluate("row => predictions.choose([0, row], true)", row)
            tab.wait_for_function(
                "r => document.querySelector('#prediction .answers') && predictions.chosen[1] === r", arg=row
            )
            tab.keyboard.press("2")
        with tab.expect_download() as download:
            tab.click("#marks-save")
        download.value.save_as(saved)
    found = {mark.instance_id: mark for mark in read_marks(saved)}
    harmful = HARM.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    assert len(found) == 2 and found["__proto__"] == Mark("before", NER, "__proto__", answer_digest(HARM), "wrong")
    assert found.keys() - {"__proto__"} <= {HARM, harmful}
    elsewhere = Mark("nobody", NER, "x", "0" * 16, "right")
    written = json.loads(saved.read_text())
    written["marks"].append(vars(elsewhere))
    saved.write_text(json.dumps(written))
    with quiet_tab(browser) as tab:
        tab.goto(address(page))
        tab.wait_for_selector("#prediction .answers")
        tab.set_input_files("#marks-file", saved)
        said = "document.getElementById('marks-told').textContent"
        tab.wait_for_function(f"() => {said}.startsWith('2 marks were loaded; 1 are about answers that are not in')")
        assert tab.inner_text("#marked") == "Marks in this page: 0 right, 2 wrong, 0 unclear."
        saved.write_text('{"format": "sciriff-marks/1", "marks": [{"mark": "constructor"}]}')
        tab.set_input_files("#marks-file", saved)
        tab.wait_for_function(f"() => {said}.includes('is not a file of marks')")
    page.write_bytes(compared_page(folders[:2], marks=[*found.values(), elsewhere]))
    with quiet_tab(browser) as tab:
        tab.goto(address(page))
        tab.wait_for_selector("#prediction .answers")
        assert tab.inner_text("#marked") == "Marks in this page: 0 right, 2 wrong, 0 unclear."
        tab.focus("#rows a")
        tab.select_option("#filter-mark", "wrong")
        shown(tab, 2)
        tab.focus("#rows a")
        tab.keyboard.press("0")
        tab.reload()
        tab.wait_for_selector("#prediction .answers")
        assert tab.inner_text("#marked") == "Marks in this page: 0 right, 1 wrong, 0 unclear.", (
            "what is removed stays so"
        )


def test_without_storage_marks_are_held_and_that_is_said(browser: Any, page: Path) -> None:
    with quiet_tab(browser) as tab:
        tab.add_init_script("Object.defineProperty(window, 'localStorage', {get() { throw new Error('no') }})")
        tab.goto(address(page))
        tab.wait_for_selector("#prediction .answers")
        assert "cannot keep the marks" in tab.inner_text("#marks-told")
        tab.focus("#rows a")
        tab.keyboard.press("1")
        assert tab.inner_text("#marked") == "Marks in this page: 1 right, 0 wrong, 0 unclear."


def test_answers_that_mean_harm_are_text(tab: Any) -> None:
    shown(tab, 22)
    for start in ("__proto__", SEEN):
        row = tab.evaluate("start => index.tasks[0].ids.findIndex((id) => id.startsWith(start))", start)
        tab.evaluate("row => predictions.choose([0, row], true)", row)
        titled(tab, start)
        for fold in tab.query_selector_all("#prediction details:not([open]) > summary"):
            fold.click()
        tab.wait_for_selector("#prediction .prompt pre")
        text = tab.text_content("#prediction")
        assert not set(text) & set("\u202e\u2066\ud800\x00\x1b") and len(text) < 400_000
    assert tab.evaluate("window.ran") is None
    assert tab.evaluate("document.querySelectorAll('#browser :is(img, script, svg)').length") == 0


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "size"), [("light", DESKTOP), ("dark", PHONE)], ids=["desktop", "phone, dark"])
def test_everybody_can_use_three_answers(
    browser: Any, folders: list[RunDir], tmp_path: Path, scheme: str, size: dict[str, int]
) -> None:
    page = tmp_path / "three.html"
    page.write_bytes(compared_page(folders))
    with quiet_tab(browser, color_scheme=scheme, viewport=size) as tab:
        tab.goto(address(page, f"items=2/{NER}/f1/loss"))
        tab.wait_for_selector("#prediction .side:nth-child(3)")
        assert "100.0 → 0.0" in tab.inner_text("#rows .score") and tab.input_value("#filter-pair") == "2"
        tab.focus("#rows a")
        tab.keyboard.press("c")
        tab.keyboard.press("1")
        for fold in tab.query_selector_all("#prediction details > summary"):
            fold.click()
        tab.wait_for_selector("#prediction .prompt:last-child pre")
        assert tab.inner_text("#prediction .prompt:last-child pre").endswith("\nThink.")
        assert tab.evaluate("document.documentElement.scrollWidth") == size["width"]
        assert serious_findings(tab) == []


def test_the_report_compares_with_the_run_beside_it(browser: Any, folders: list[RunDir]) -> None:
    before, after, _ = folders
    config = load(after.config)
    config.report.beside = [str(before.root)]
    after.report.write_bytes(filled(content(config, after)))
    with quiet_tab(browser) as tab:
        tab.goto(address(after.report, f"items=1/{NER}/f1/loss"))
        tab.wait_for_selector("#prediction .answers")
        assert "100.0 → 40.0" in tab.inner_text("#rows .score"), "A, the new run, against B"
        assert [side.inner_text() for side in tab.query_selector_all("#prediction .letter")] == ["A", "B"]
        assert marked(tab) == [["rash"], ['gene 1", "p53']]
