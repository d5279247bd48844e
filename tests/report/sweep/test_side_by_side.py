"""Answers of several runs in one page: paired by instance and sample, checked against the scores, cut with a word."""

import base64
import json
import shutil
import zlib
from pathlib import Path
from typing import Any

import pytest
from answer_runs import HARM, MUP, NER, WORST, compared_page

from sciriff.config import load
from sciriff.data.marks import Mark, answer_digest
from sciriff.data.saved_answers import SavedAnswer
from sciriff.report import browser as browser_module
from sciriff.report.answers import Answers, ShownAnswer
from sciriff.report.browser import Browser, browser
from sciriff.report.packing import CHUNK, PackedPrompts, in_chunks
from sciriff.report.page import content, filled
from sciriff.report.side_by_side import ShownRun, paired, pairing_notes, read_shown
from sciriff.results.finished_runs import read_run
from sciriff.run.json_lines import write_jsonl
from sciriff.run.run_dir import RunDir
from sciriff.tasks.mup import MUP as MUP_TASK


def unpacked(found: Browser, name: str) -> Any:
    return json.loads(zlib.decompress(base64.b64decode(dict(found.parts)[f"data-{name}"])))


def shown_run(name: str, *answers: tuple[str, str, int | None], prompt: str = "p") -> ShownRun:
    """A run with answers (id, text, sample) to one task."""
    rows = [
        ShownAnswer(SavedAnswer(instance_id, prompt, text, "due", "file:1", sample=sample), None, None, {"rouge": 0.5})
        for instance_id, text, sample in answers
    ]
    return ShownRun(name, {MUP: Answers(MUP_TASK, rows)})


def test_answers_are_paired_by_instance_and_sample() -> None:
    one = shown_run("one", ("x", "b", 2), ("y", "c", 1), ("x", "a", 1))
    other = shown_run("other", ("z", "d", 1), ("x", "e", 2))
    (found,) = paired([one, other])
    texts = [tuple(row and row.answer.prediction for row in item.answers) for item in found.items]
    assert [item.key for item in found.items] == [("x", 1), ("x", 2), ("y", 1), ("z", 1)]
    assert texts == [("a", None), ("b", "e"), ("c", None), (None, "d")]
    (note,) = pairing_notes([one, other], [found])
    assert MUP in note and "3 of the 4 items" in note


def test_what_one_run_has_alone_is_said() -> None:
    one, other = shown_run("one", ("x", "a", None)), ShownRun("other", {})
    (note,) = pairing_notes([one, other], paired([one, other]))
    assert "no answers of other" in note
    assert browser([ShownRun("one", {})]) is None


def test_an_index_has_scores_flags_digests_and_ids_as_they_are() -> None:
    run = shown_run("a\x1bb", ("__proto__", "one", None), ("\u202ex", "two", None))
    made = browser([run, shown_run("other", ("__proto__", "one", None))])
    assert made is not None
    index = unpacked(made, "index")
    (task,) = index["tasks"]
    assert index["runs"] == [{"name": "a␛b", "raw": "a\x1bb"}, {"name": "other"}]
    assert task["ids"] == ["__proto__", "\ufffdx"] and task["raw"] == {"1": "\u202ex"}
    first, second = task["runs"]
    assert first["scores"] == [[5000, 5000]] and task["columns"] == ["rouge"]
    assert first["digests"] == answer_digest("one") + answer_digest("two")
    assert second["digests"] == answer_digest("one") + "-" * 16 and second["flags"] == ["", None]


def test_prompts_are_there_once_and_those_without_room_are_counted() -> None:
    texts = [f"Do it.\nPaper {n}.\nDo it." for n in range(3)]
    prompts = PackedPrompts([*texts, *texts], most=10**6)
    assert prompts.left_out == 0 and prompts.ranges[texts[1]] == [0, 1, 2, 1, 0, 1]
    assert [name for name, _ in prompts.parts] == ["data-lines-0"]
    lengthy = [f"{n} " + answer_digest(str(n)) * 5_000 for n in range(40)]
    some = PackedPrompts(lengthy, most=2_000)
    assert 0 < some.left_out < 40 and some.left_out + len(some.ranges) == 40
    assert sum(len(data) for _, data in some.parts) <= 2_000
    assert PackedPrompts(lengthy, most=1).left_out == 40


def test_a_list_is_packed_in_parts() -> None:
    values = ["x" * (CHUNK // 4)] * 10
    made = list(in_chunks("it", values))
    assert [start for _, start in made] == [0, 4, 8] and [name for (name, _), _ in made][2] == "data-it-2"
    assert list(in_chunks("it", [])) == []


def test_items_without_room_are_left_out_evenly_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [(f"i{n}", "".join(answer_digest(f"{n} {k}") for k in range(400)), None) for n in range(300)]
    monkeypatch.setattr(browser_module, "MOST_ANSWERS", 400_000)
    made = browser([shown_run("one", *answers)])
    assert made is not None and "evenly spaced" in " ".join(made.notes)
    (task,) = unpacked(made, "index")["tasks"]
    assert task["of"] == 300 and 20 < len(task["ids"]) < 200
    assert sum(len(data) for name, data in made.parts if "answers" in name) <= 400_000
    assert int(task["ids"][0][1:]) < 20 and int(task["ids"][-1][1:]) > 280


def test_each_answer_has_its_own_reference_and_prompt_where_they_differ() -> None:
    other = shown_run("other", ("x", "b", None), prompt="q")
    row = other.tasks[MUP].rows[0]
    row = ShownAnswer(SavedAnswer("x", "q", "b", "another", "file:1"), None, None, row.scores)
    runs = [shown_run("one", ("x", "a", None)), ShownRun("other", {MUP: Answers(MUP_TASK, [row])})]
    made = browser(runs)
    assert made is not None
    ((item),) = unpacked(made, "answers-0-0")
    assert item["reference"] == "due" and item["answers"][1]["reference"] == "another"
    assert item["prompt"] != item["answers"][1]["prompt"] and "prompt" not in item["answers"][0]
    assert "different references for 1 item" in " ".join(made.notes)


# ---- reading runs ----


@pytest.mark.shows("R14")
def test_answers_that_are_gone_elsewhere_or_others_are_named(folders: list[RunDir], tmp_path: Path) -> None:
    before, after, worst = folders

    def read(run: RunDir) -> tuple[set[str], str]:
        found, notes = read_shown(read_run(run.root), {})
        return set(found.tasks), " ".join(notes)

    assert read(before) == ({NER, MUP}, "")
    path = after.predictions / f"{NER}.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[3]["prediction"] = "{}"
    write_jsonl(path, rows)
    tasks, said = read(after)
    assert tasks == {MUP} and "after" in said and "1 of the 14 answers are not those that were scored" in said
    write_jsonl(path, rows[:-2])
    assert "2 of the 14 answers that were scored are gone" in read(after)[1]
    path.unlink()
    path.symlink_to(before.predictions / f"{NER}.jsonl")
    tasks, said = read(after)
    assert tasks == {MUP} and f"its predictions of {NER} are gone" in said
    text = worst.config.read_text()
    assert "predictions: null" in text
    worst.config.write_text(text.replace("predictions: null", f"predictions: {before.predictions}"))
    tasks, said = read(worst)
    assert tasks == set() and f"in {before.predictions}" in said


def test_the_page_of_compare_links_each_column_and_names_what_is_missing(folders: list[RunDir]) -> None:
    (folders[2].predictions / f"{NER}.jsonl").unlink()
    marks = [Mark("before", NER, f"{NER}:0", "0" * 16, "right")]
    page = compared_page(folders, marks=marks).decode()
    assert f'href="#items=1/{NER}/f1/gain"' in page and f'href="#items=2/{NER}/f1/loss"' in page
    assert 'href="#items=2///loss"' in page
    assert f"{WORST}: its predictions of {NER} are gone" in page
    assert "where the answer of the run chosen at “Compare” has a higher score than that of before" in page
    assert 'id="data-marks"' in page


def test_a_fifth_run_is_named(folders: list[RunDir], tmp_path: Path) -> None:
    more = [RunDir(shutil.copytree(folders[2].root, tmp_path / f"again-{n}")) for n in range(2)]
    page = compared_page([*folders, *more]).decode()
    assert f"{more[1].root}: its answers are not shown, as 4 runs are here." in page


def test_report_shows_the_answers_of_the_run_beside_it(folders: list[RunDir]) -> None:
    before, after, _ = folders
    config = load(after.config)
    config.report.beside = [str(before.root)]
    page = filled(content(config, after)).decode()
    assert (
        "where the answer of after has a higher score than that of before" in page
        and f'href="#items=1/{NER}/f1/gain"' in page
    )
    (before.per_instance / f"{NER}.jsonl").unlink()
    shown = content(config, after)
    assert shown["browser"].runs == ["after"] and "before: its answers are not shown" in shown["browser"].notes[0]


@pytest.mark.shows("R10")
def test_hostile_texts_are_packed_and_add_no_element(folders: list[RunDir]) -> None:
    page = compared_page(folders[:2]).decode()
    kind = compared_page([folders[2], folders[2]]).decode()
    assert page.count("<script") == kind.count("<script") and HARM[:20] not in page
