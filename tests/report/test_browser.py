"""report.html in a real Chromium: the prediction browser, theme, phone and paper, and predictions that mean harm."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from chromium import PHONE, address, chromium, quiet_tab, serious_findings
from report_runs import fill_run, write_predictions

from sciriff.config import Config
from sciriff.data.records import Prediction
from sciriff.report.page import content, filled
from sciriff.run.run_dir import RunDir

MakeRun = Callable[..., tuple[Config, RunDir]]
HARM = (
    "</script><script>window.ran=1</script><img src=x onerror='window.ran=2'><svg onload='window.ran=3'>"
    "<a href='javascript:window.ran=4'>x</a> {{7*7}} ${7*7} \u202eevil\u2066 \ud800 \x00\x1b[31m"
)
SEEN = "</script><script>window.ran=1</script><img src=x"
LISTS = 120
"""Predictions of bioasq: three pages of the list."""


def lists() -> list[Prediction]:
    """The k-th answer has k mod 3 of the two right items; the last is unreadable, the first ran into the limit."""
    reference = '["TIM-1", "Asthma"]'
    answers = ('["rash"]', '["tim-1", "rash"]', reference)
    rows = []
    for k in range(LISTS):
        answer = "I cannot say." if k == LISTS - 1 else answers[k % 3]
        prompt = f"Paper {k}.\nWhich genes?\nThe needle is in {k:03d}."
        rows.append(
            Prediction(
                "bioasq_list_qa",
                f"bioasq_list_qa:validation:{k}",
                prompt,
                answer,
                reference,
                "stop" if k else "length",
                30 + k,
                5 + k % 7,
                9 if k == 1 else 0,
            )
        )
    return rows


def harmful() -> list[Prediction]:
    due = json.dumps({"Gene": [HARM, "p53"], HARM: ["mice"]})
    given = json.dumps({"Gene": ["mice", HARM], "Disease": ["p53"]})
    return [
        Prediction("biored_ner", f"{HARM}/#%zz?", HARM + "x" * 1_000_000, HARM, due, HARM),
        Prediction("biored_ner", "structured", "x", given, due, "stop"),
        Prediction("biored_ner", "long", "x", "y" * 1_000_000, due, "stop"),
    ]


def others() -> Iterator[list[Prediction]]:
    finding = ["drug x", "placebo", "pain", "significantly decreased", "Pain was lower."]
    other = [*finding[:3], "significantly increased", "It rose."]
    yield [Prediction("evidence_inference", "findings", "p", json.dumps([other]), json.dumps([finding]))]
    text = "We pool messages over the graph and it helps."
    yield [Prediction("mup_single_document_summarization", "summary", "p", f"They say: {text}", text)]
    due = {"answer": "by pooling messages over nodes", "evidence": ["We pool messages over nodes."]}
    yield [
        Prediction(
            "qasper_abstractive_qa", "question", "p", json.dumps(due | {"answer": "by pooling"}), json.dumps(due)
        )
    ]
    verdicts = [json.dumps({"verdict": verdict, "evidence": []}) for verdict in ("NEI", "SUPPORT")]
    yield [
        Prediction("scifact_entailment", "nothing", "p", verdicts[0], verdicts[0]),
        Prediction("scifact_entailment", "claim", "p", verdicts[0], verdicts[1]),
    ]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture
def page(make_run: MakeRun) -> Path:
    columns = {"bioasq_list_qa/f1": 0.5, "biored_ner/f1": 0.4, "scifact_entailment/f1_label": 0.3}
    config, run = make_run("r", columns, interval=0.05)
    fill_run(run, "plain")
    for rows in (lists(), harmful(), *others()):
        write_predictions(run, rows)
    run.report.write_bytes(filled(content(config, run)))
    return run.report


@pytest.fixture
def tab(browser: Any, page: Path) -> Iterator[Any]:
    """The page, with its first prediction shown."""
    with quiet_tab(browser) as found:
        found.goto(address(page))
        found.wait_for_selector("#prediction .sides")
        yield found


def shown(tab: Any, count: str) -> list[str]:
    """The rows of the list, once `count` predictions are found."""
    tab.wait_for_function("text => document.getElementById('found').textContent.startsWith(text)", arg=f"{count} of ")
    return [row.inner_text() for row in tab.query_selector_all("#rows .id")]


def titled(tab: Any, title: str) -> None:
    """Wait until the prediction whose id begins so is shown."""
    tab.wait_for_function("t => document.querySelector('#prediction h3')?.textContent.startsWith(t)", arg=title)


def test_filters_leave_what_they_name(tab: Any) -> None:
    assert len(shown(tab, "128")) == 50, "a page of the list"
    tab.select_option("#filter-task", label=f"bioasq_list_qa ({LISTS})")
    assert shown(tab, "120")[:2] == ["validation:0", "validation:1"]
    for flag, count, first in (("u", "1", 119), ("l", "1", 0), ("p", "1", 1), ("s", "80", 0), ("m", "81", 0)):
        tab.select_option("#filter-flag", flag)
        tab.wait_for_function("t => document.querySelector('#rows .id').textContent === t", arg=f"validation:{first}")
        shown(tab, count)
    tab.select_option("#filter-flag", "r")
    shown(tab, "119")
    tab.fill("#filter-low", "50")
    tab.fill("#filter-high", "99.9")
    assert shown(tab, "40")[:2] == ["validation:1", "validation:4"], "F1 of one of two items"
    tab.click("#filters button[type=reset]")
    shown(tab, "128")
    tab.select_option("#filter-order", "high")
    tab.wait_for_function("() => document.querySelector('#rows .score').textContent === '100.0'")
    tab.select_option("#filter-order", "low")
    tab.wait_for_function("() => document.querySelector('#rows .score').textContent === '0.0'")


def test_a_search_finds_and_marks(tab: Any) -> None:
    shown(tab, "128")
    tab.fill("#filter-text", "TIM-1")
    shown(tab, "120")
    assert [mark.inner_text() for mark in tab.query_selector_all("#prediction .items mark.hit")] == ["tim-1"]
    tab.fill("#filter-text", "needle is in 077")
    tab.wait_for_selector("text=Nothing passes these filters.")
    tab.check("#filter-prompts")
    assert shown(tab, "1") == ["bioasq: validation:77"]
    assert not tab.query_selector("#prediction .prompt pre"), "folded, and not even unpacked"
    tab.click("#prediction .prompt summary")
    tab.wait_for_selector("#prediction .prompt mark.hit")
    assert tab.inner_text("#prediction .prompt pre") == "Paper 77.\nWhich genes?\nThe needle is in 077."


def test_arrows_walk_through_the_list(tab: Any, page: Path) -> None:
    shown(tab, "128")
    tab.focus("#rows a")
    for _ in range(50):
        tab.keyboard.press("ArrowDown")
    titled(tab, "bioasq_list_qa:validation:50")
    assert tab.inner_text("#page") == "2 of 3", "the list turned its page"
    assert tab.evaluate("document.activeElement.getAttribute('aria-current')") == "true", "the focus went along"
    tab.keyboard.press("ArrowUp")
    tab.keyboard.press("ArrowLeft")
    titled(tab, "bioasq_list_qa:validation:48")
    assert tab.url == address(page, "prediction=bioasq_list_qa/bioasq_list_qa%3Avalidation%3A48")
    tab.click("#step-on")
    titled(tab, "bioasq_list_qa:validation:49")
    tab.keyboard.press("ArrowLeft")
    titled(tab, "bioasq_list_qa:validation:48")
    tab.fill("#filter-text", "x")
    tab.keyboard.press("ArrowLeft")
    assert tab.url.endswith("A48"), "in a field an arrow moves the cursor"


def test_a_prediction_is_marked_by_key_and_by_click(tab: Any) -> None:
    shown(tab, "128")
    assert not tab.query_selector("#filter-change") and not tab.query_selector("#filter-pair"), "there is one run"
    tab.focus("#rows a")
    tab.keyboard.press("1")
    tab.keyboard.press("j")
    titled(tab, "bioasq_list_qa:validation:1")
    tab.click("#prediction .marking [data-mark=unclear]")
    assert tab.inner_text("#marked") == "Marks in this page: 1 right, 0 wrong, 1 unclear."
    tab.select_option("#filter-mark", "right")
    assert shown(tab, "1") == ["bioasq: validation:0"]
    tab.keyboard.press("Escape")
    assert "cut, right" in " ".join(tab.inner_text("#rows [aria-current]").split())


def test_each_prediction_has_a_link_of_its_own(browser: Any, page: Path) -> None:
    with quiet_tab(browser) as tab:
        tab.goto(address(page, "prediction=bioasq_list_qa/" + quote("bioasq_list_qa:validation:77", safe="")))
        titled(tab, "bioasq_list_qa:validation:77")
        assert tab.inner_text("#rows [aria-current] .id") == "bioasq: validation:77"
        assert tab.evaluate("document.getElementById('predictions').getBoundingClientRect().top") < 300
        tab.evaluate("location.hash = 'predictions=scifact_entailment'")
        assert shown(tab, "2") == ["nothing", "claim"]
        tab.evaluate("location.hash = 'prediction=biored_ner/structured'")
        titled(tab, "structured")
        shown(tab, "128")  # it did not pass the filter, which so was cleared
        tab.evaluate("location.hash = 'prediction=biored_ner/nowhere'")
        tab.wait_for_selector("#trouble:not([hidden])")
        assert tab.inner_text("#trouble") == "This page has no prediction nowhere of biored_ner."


def test_matches_are_marked_by_sign_and_word(tab: Any) -> None:
    def sides(task: str, instance: str) -> list[list[str]]:
        tab.evaluate("hash => { location.hash = hash }", f"prediction={task}/{instance}")
        titled(tab, instance)
        found = tab.query_selector_all("#prediction .side")
        return [[" ".join(i.inner_text().split()) for i in side.query_selector_all(".items > li")] for side in found]

    reference, answer = sides("bioasq_list_qa", "bioasq_list_qa:validation:1")
    assert reference == ["✓ match tim-1", "− missed asthma"] and answer == ["✓ match tim-1", "+ spurious rash"]
    assert "f1 50.0" in tab.inner_text("#prediction .label") and "9 tokens of the prompt were cut" in tab.inner_text(
        "#prediction .label"
    )
    reference, answer = sides("biored_ner", "structured")
    assert answer[0] == "≠ wrong type Gene mice" and answer[2] == "≠ wrong type Disease p53"
    assert answer[1].startswith("✓ match Gene </script>")
    (reference, answer) = sides("evidence_inference", "findings")
    assert answer[0].startswith("~ partly intervention drug x") and answer[0].endswith("evidence it rose. differs")
    assert "effect significantly increased evidence" in answer[0], "one of its two words is shared: it agrees"
    assert sides("mup_single_document_summarization", "summary") == [[], []]
    marks = [mark.inner_text() for mark in tab.query_selector_all("#prediction .sides mark.shared")]
    assert marks == ["We pool messages over the graph and it helps"] * 2
    assert "rouge" in tab.inner_text("#prediction .label")
    sides("qasper_abstractive_qa", "question")
    marks = [mark.inner_text() for mark in tab.query_selector_all("#prediction .sides mark.shared")]
    assert marks == ["by pooling", "We pool messages over nodes", "by pooling", "We pool messages over nodes"]
    assert sides("scifact_entailment", "nothing") == [["✓ match verdict NEI"]] * 2
    assert "no score of its own" in tab.inner_text("#prediction .label")


@pytest.mark.shows("R10")
def test_predictions_that_mean_harm_are_text(tab: Any) -> None:
    shown(tab, "128")
    tab.select_option("#filter-task", label="biored_ner (3)")
    shown(tab, "3")
    tab.focus("#rows a")
    for title in (SEEN, "structured", "long"):
        titled(tab, title)
        if title == SEEN:
            tab.click("#prediction .prompt summary")  # and so it stays
        tab.wait_for_selector("#prediction .prompt pre")
        for fold in tab.query_selector_all("#prediction .side details summary"):
            fold.click()
        text = tab.text_content("#prediction")
        assert not set(text) & set("\u202e\u2066\ud800\x00\x1b") and len(text) < 400_000
        assert ("{{7*7}}" in text and "onerror='window.ran=2'" in text) or title == "long"
        tab.keyboard.press("ArrowRight")
    tab.fill("#filter-text", SEEN)
    shown(tab, "3")
    assert tab.evaluate("window.ran") is None
    assert tab.evaluate("document.querySelectorAll('#browser :is(img, script, svg, a[href^=javascript])').length") == 0


def test_the_address_cannot_do_harm(browser: Any, page: Path) -> None:
    for fragment in ("prediction=biored_ner/%zz", "prediction=<img src=x onerror=alert(1)>/1", "predictions=__proto__"):
        with quiet_tab(browser) as tab:
            tab.goto(address(page, fragment))
            tab.wait_for_selector("#prediction .sides")


def test_light_and_dark(browser: Any, page: Path) -> None:
    def paper(tab: Any) -> str:
        return str(tab.evaluate("getComputedStyle(document.body).backgroundColor"))

    with quiet_tab(browser, color_scheme="dark") as tab:
        tab.goto(address(page))
        dark = paper(tab)
        tab.click("#theme")
        light = paper(tab)
        assert sum(map(int, dark[4:-1].split(","))) < 150 < 600 < sum(map(int, light[4:-1].split(",")))
        tab.reload()
        assert paper(tab) == light and tab.inner_text("#theme") == "Theme: light", "the choice is kept"
        tab.click("#theme")
        assert paper(tab) == dark
        tab.emulate_media(media="print")
        assert paper(tab) == "rgb(255, 255, 255)"
        assert not tab.is_visible("#filters") and not tab.is_visible("nav") and tab.is_visible("#prediction")


@pytest.mark.parametrize(("scheme", "phone"), [("light", False), ("dark", True)], ids=["desktop", "phone, dark"])
def test_everybody_can_use_it(browser: Any, page: Path, scheme: str, phone: bool) -> None:
    options = {"viewport": PHONE} if phone else {}
    with quiet_tab(browser, color_scheme=scheme, **options) as tab:
        tab.goto(address(page, "prediction=biored_ner/structured"))
        titled(tab, "structured")
        for fold in tab.query_selector_all("details > summary"):
            fold.click()
        tab.wait_for_selector("#prediction .prompt pre")
        wide = tab.evaluate("document.documentElement.scrollWidth")
        assert wide == (PHONE["width"] if phone else 1280), "nothing makes the page wider than the window"
        assert serious_findings(tab) == []


def test_an_old_browser_is_told_what_it_lacks(browser: Any, page: Path) -> None:
    with quiet_tab(browser) as tab:
        tab.add_init_script("delete window.DecompressionStream")
        tab.goto(address(page))
        assert "has no DecompressionStream" in tab.inner_text("#trouble") and not tab.is_visible("#browser")
    with quiet_tab(browser, java_script_enabled=False) as tab:
        tab.goto(address(page))
        assert "need a browser with JavaScript" in tab.inner_text("noscript") and not tab.is_visible("#theme")


def test_each_sample_has_a_link_of_its_own(browser: Any, make_run: MakeRun) -> None:
    config, run = make_run("sampled", {"bioasq_list_qa/f1": 0.5})
    answers = {1: '["a"]', 2: '["b"]', 3: "[]"}
    rows = [
        Prediction("bioasq_list_qa", f"x&sample={n}", "p", answers[sample], '["a"]', "stop", sample=sample)
        for n in range(4)
        for sample in (1, 2, 3)
    ]
    write_predictions(run, rows)
    run.report.write_bytes(filled(content(config, run)))
    first, one = ("prediction=bioasq_list_qa/" + quote(f"x&sample={n}", safe="") for n in (1, 3))
    with quiet_tab(browser) as tab:
        tab.goto(address(run.report, f"{one}&sample=2"))
        titled(tab, "x&sample=3, sample 2")
        assert [mark.inner_text() for mark in tab.query_selector_all("#prediction .items > li.spurious .text")] == ["b"]
        assert len(shown(tab, "12")) == 12
        current = tab.query_selector("#rows [aria-current]")
        assert " ".join(current.inner_text().split()) == "bioasq: x&sample=3 sample 2 0.0"
        assert tab.get_attribute("#permalink", "href") == f"#{one}&sample=2"
        tab.click("#step-back")
        titled(tab, "x&sample=3, sample 1")
        assert tab.url.endswith(f"#{one}&sample=1")
        tab.evaluate("hash => { location.hash = hash }", first)
        titled(tab, "x&sample=1, sample 1")  # without a number: the first
        tab.evaluate("hash => { location.hash = hash }", f"{one}&sample=4")
        tab.wait_for_selector("#trouble:not([hidden])")
        assert tab.inner_text("#trouble") == "This page has no prediction x&sample=3, sample 4, of bioasq_list_qa."
