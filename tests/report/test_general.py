"""General abilities in the report: the table, the sentence, what a reader must know, and the size of the page."""

import base64
import json
import random
import re
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from general_folder import plain_item, write_general
from report_runs import fill_run
from test_page import HOSTILE, Reader, words

from sciriff.config import Config
from sciriff.data.general_rows import GeneralItem
from sciriff.report.general import ITEMS_PER_TASK, LONGEST_TEXT, PACKED
from sciriff.report.page import content, filled
from sciriff.run.run_dir import RunDir

MakeRun = Callable[..., tuple[Config, RunDir]]
BEFORE = {
    "mmlu": {"mmlu_anatomy": [1.0] * 60 + [0.0] * 40, "mmlu_law": [1.0, 0.0] * 50},
    "gsm8k_cot": {"gsm8k_cot": [0.0, 0.0, 1.0, 0.0] * 20},
}
AFTER = {
    "mmlu": {"mmlu_anatomy": [1.0] * 25 + [0.0] * 75, "mmlu_law": [1.0, 0.0] * 50},
    "gsm8k_cot": {"gsm8k_cot": [0.0, 1.0, 1.0, 0.0] * 20},
}
Item = Callable[[str, int, float], GeneralItem]


def pair(make_run: MakeRun, item: Item = plain_item, **options: Any) -> tuple[Config, RunDir]:
    """A run with the untrained model beside it; both have general tasks."""
    _, before = make_run("untrained", {"biored_ner/f1": 0.1})
    write_general(before, BEFORE, chances={"mmlu": 0.25}, documents=200)
    config, run = make_run("trained", {"biored_ner/f1": 0.5}, f"report.beside=[{before.root}]")
    write_general(run, AFTER, item, chances={"mmlu": 0.25}, documents=200, **options)
    return config, run


def section(page: bytes) -> str:
    """The words of the section on general abilities."""
    text = words(page)
    return text[text.rindex("General abilities The mean") : text.rindex(" The run Model ")]


def unpacked(page: bytes, name: str) -> Any:
    (data,) = re.findall(rf'id="data-{name}">([^<]*)<'.encode(), page)
    return json.loads(zlib.decompress(base64.b64decode(data)))


def test_each_task_has_before_after_and_what_the_difference_is_worth(make_run: MakeRun) -> None:
    page = filled(content(*pair(make_run)))
    top = "+40.0 over untrained. General abilities 43.8, +3.7 over untrained (within noise)."
    assert f"Mean 50.0 (mean of 1 of 11 columns), {top}" in words(page)
    text = section(page)
    assert re.search(r"is 43\.8, \+3\.7 over untrained \(95 % interval −\d\.\d to \+\d\.\d\): within noise\.", text)
    assert "The mean of the general tasks is no part of the science mean." in text
    mmlu = (
        r"mmlu acc, 5 examples, chance 25\.0 55\.0 37\.5 \S+–\S+ −17\.5 −\S+ to −\S+ <0\.001 ▼ lower \S+ 200 of 400 35 "
    )
    assert re.search(mmlu, text)
    assert re.search(
        r"gsm8k_ cot exact_match \(flexible-extract\), 5 .* 25\.0 50\.0 .* ▲ higher 13\.\d 80 of 200 0 20 .*mean", text
    )
    assert re.search(r"mean mean of 2 of 2 tasks 40\.0 43\.8 .* one test ≈ within noise \S+ 280 35 20 Protocol", text)
    assert "general=quick, by lm-eval 0.4.13; markup tulu" in text and "seeded sample" in text
    assert b'href="#lost=mmlu"' in page and b'href="#lost=gsm8k_cot"' not in page
    assert b'href="#won=gsm8k_cot"' in page and b'href="#won=mmlu"' not in page
    index = unpacked(page, "general")
    assert [(task["name"], task["of"], len(task["docs"])) for task in index["tasks"]] == [
        ("mmlu", 35, 35),
        ("gsm8k_cot", 20, 20),
    ]
    (first, *_) = unpacked(page, "general-0")
    assert first["question"] == "What is number 25 of mmlu_anatomy?"
    assert (first["before"], first["after"]) == ("It is right.", "It is wrong.")


def test_a_run_alone_has_its_values(make_run: MakeRun) -> None:
    config, run = make_run("trained", {"biored_ner/f1": 0.5})
    write_general(run, AFTER, chances={"mmlu": 0.25})
    page = filled(content(config, run))
    assert "General abilities 43.8. Summary" in words(page)
    text = section(page)
    assert "No run beside this one has general tasks" in text and "Items lost and won" not in text
    assert re.search(r"mmlu acc, 5 examples, chance 25\.0 37\.5 \d\d\.\d–\d\d\.\d 200 of 200 gsm8k", text)
    assert b"data-general" not in page


def test_a_run_without_general_tasks_has_no_such_section(make_run: MakeRun) -> None:
    page = filled(content(*make_run("plain", {"biored_ner/f1": 0.5})))
    assert not {"general", "changed-items"} & set(Reader(page).ids)


def test_documents_that_do_not_pair_and_prompts_that_lost_something_are_told(make_run: MakeRun) -> None:
    def other(leaf: str, place: int, value: float) -> GeneralItem:
        made = plain_item(leaf, place, value, finish="length" if place == 3 else "stop", truncated=int(place == 4))
        return replace(made, doc_hash="another") if leaf == "gsm8k_cot" or place == 0 else made

    page = filled(content(*pair(make_run, other, lm_eval="0.4.14")))
    text = section(page)
    assert (
        "mmlu: prompts that lost examples, so that they fit the model: 2; answers cut at the length limit: 2." in text
    )
    assert "mmlu: 2 documents are others in these runs" in text and "gsm8k_cot: no document is shared" in text
    assert "version of lm-eval: 0.4.13 and 0.4.14" in text
    assert re.search(r"gsm8k_ cot \S+ \(flexible-extract\), 5 examples – 50\.0 .* not compared – 80 of 200 – –", text)

    def another(leaf: str, place: int, value: float) -> GeneralItem:
        return plain_item(leaf, place, value, target_hash="another", finish="skipped" if value == 0 else "stop")

    config, run = make_run("second", {"biored_ner/f1": 0.5}, f"report.beside=[{run_beside(make_run)}]")
    write_general(run, AFTER, another)
    text = section(filled(content(config, run)))
    assert "No task could be compared with third" in text and "mmlu: no document is shared" in text
    assert "gsm8k_cot: prompts that do not fit even without examples (not asked, counted as wrong): 40." in text


def run_beside(make_run: MakeRun) -> str:
    _, before = make_run("third", {"biored_ner/f1": 0.1})
    write_general(before, BEFORE)
    return str(before.root)


def test_hostile_texts_add_no_tag(make_run: MakeRun) -> None:
    pages = []
    for text in ("kind", HOSTILE):
        _, before = make_run(f"b{len(pages)}", {"biored_ner/f1": 0.1})
        name = text.replace("/", "")
        leaves = {name: {"leaf": [1.0, 1.0, 0.0]}}
        write_general(before, leaves, name=text, lm_eval=text, chat=text)
        config, run = make_run(f"r{len(pages)}", {"biored_ner/f1": 0.5}, f"report.beside=[{before.root}]")

        def item(leaf: str, place: int, value: float, text: str = text) -> GeneralItem:
            return plain_item(leaf, place, value, question=text, target=text, answer=text + "x" * 100_000)

        write_general(run, {name: {"leaf": [0.0, 1.0, 0.0]}}, item, name=text, lm_eval=text, chat=text)
        pages.append(filled(content(config, run)))
    kind, hostile = map(Reader, pages)
    assert kind.tags - hostile.tags == hostile.tags - kind.tags == {}
    assert kind.attributes == hostile.attributes
    assert not set(hostile.text) & set("\u202e\ud800\x1b") and "<script>alert(1)</script>" in hostile.text
    (shown,) = unpacked(pages[1], "general-0")
    assert "\x1b" not in shown["question"] and len(shown["after"]) < LONGEST_TEXT + 100


@pytest.mark.parametrize("name", ["settings.json", "gsm8k_cot.jsonl"])
def test_a_damaged_file_is_named(make_run: MakeRun, name: str) -> None:
    config, run = pair(make_run)
    (run.general / name).write_text("{")
    with pytest.raises(ValueError, match=re.escape(str(run.general / name))):
        content(config, run)


@pytest.mark.slow
def test_all_of_mmlu_and_long_answers_stay_below_ten_megabytes(make_run: MakeRun) -> None:
    """14,042 documents of 57 subjects, and three tasks whose every item changed, with texts that hardly compress."""
    draw = random.Random(0)
    alphabet = [chr(code) for code in range(0x4E00, 0x5E00)]
    noise = "".join(draw.choices(alphabet, k=200_000))

    def item(leaf: str, place: int, value: float) -> GeneralItem:
        if leaf.startswith("mmlu"):
            question = f"{noise[place * 7 : place * 7 + 60]}\nA. one\nB. two\nC. three\nD. four\nAnswer:"
            return plain_item(leaf, place, value, question=question, answer="A", target="B", finish="scored")
        start = (place * 7_919 + (60_000 if value else 0)) % 190_000
        return plain_item(leaf, place, value, answer=noise[start : start + 3_000])

    subjects = {f"mmlu_{n}": 246 + (n < 20) for n in range(57)}
    assert sum(subjects.values()) == 14_042
    others = [f"task_{n}" for n in range(3)]

    def tasks(share: float, value: float) -> dict[str, dict[str, list[float]]]:
        drawn = {name: [float(draw.random() < share) for _ in range(count)] for name, count in subjects.items()}
        return {"mmlu": drawn} | {name: {name: [value] * 600} for name in others}

    _, before = make_run("before", {"biored_ner/f1": 0.1})
    write_general(before, tasks(0.5, 1.0), item)
    config, run = make_run("after", {"biored_ner/f1": 0.5}, f"report.beside=[{before.root}]", "eval.resamples=500")
    fill_run(run, "x")
    write_general(run, tasks(0.35, 0.0), item)
    page = filled(content(config, run))
    packed = sum(map(len, re.findall(rb'id="data-general[^"]*">([^<]*)<', page)))
    assert PACKED / 2 < packed < PACKED + 100_000 and len(page) < packed + 500_000
    index = unpacked(page, "general")
    shown = {len(task["docs"]) for task in index["tasks"]}
    assert len(shown) == 1 and shown.pop() < ITEMS_PER_TASK
    assert index["tasks"][0]["of"] > 6_000
    assert re.search(
        r"Of a task with more, \d+ items are here, evenly spaced; general/ of the run has all\.", section(page)
    )
