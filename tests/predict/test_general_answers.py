"""Answers to general prompts: which are reused, which batches are asked again, what the file holds in the end."""

from dataclasses import replace
from pathlib import Path

import pytest

from sciriff.data.general_rows import GeneralRequest, read_answers
from sciriff.predict.general_answers import GeneralAnswers, cut_at_stop, read_asked
from sciriff.run.json_lines import write_jsonl
from sciriff.run.run_dir import RunDir

PROMPTS = [GeneralRequest("sums", number, [5, 6, number], limit=4, stops=["\n"]) for number in range(6)]


def pairs(requests: list[GeneralRequest]) -> list[list[int]]:
    return [list(range(first, min(first + 2, len(requests)))) for first in range(0, len(requests), 2)]


def answer(answers: GeneralAnswers, digests: list[str]) -> None:
    answers.add(answers.row(digest, "stop", text=f"text {digest[:4]}", output_tokens=2) for digest in digests)


def begin(run: RunDir, requests: list[GeneralRequest] = PROMPTS, made_with: str = "a model") -> GeneralAnswers:
    return GeneralAnswers(run, requests, made_with)


def missing(answers: GeneralAnswers) -> list[str]:
    """Digests of the prompts without an answer."""
    return [digest for digest in answers.requests if digest not in answers.rows]


def test_a_prompt_of_two_documents_is_asked_once(tmp_path: Path) -> None:
    twice = [*PROMPTS, replace(PROMPTS[0], task="other", doc_id=77)]
    assert missing(begin(RunDir(tmp_path), twice)) == [request.digest for request in PROMPTS]


def test_after_a_kill_only_batches_that_lack_an_answer_are_asked_again(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    first = begin(run)
    batches = first.left(pairs)
    assert [len(batch) for batch in batches] == [2, 2, 2]
    answer(first, batches[0])
    answer(first, batches[2][:1])
    with run.general_answers.open("ab") as file:
        file.write(b'{"request": "ab')
    again = begin(run)
    assert len(again.rows) == 3
    assert again.left(pairs) == batches[1:]
    assert list(again.rows) == batches[0]
    for batch in reversed(batches[1:]):
        answer(again, batch)
    again.finish()
    assert [row.request for row in read_answers(run.general_answers)] == list(again.requests)
    assert begin(run).left(pairs) == []


def test_answers_of_a_start_with_other_prompts_stay_as_they_are(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    first = begin(run, PROMPTS[:3])
    for batch in first.left(pairs):
        answer(first, batch)
    first.finish()
    more = begin(run)
    (batch, rest) = more.left(pairs)
    assert [*batch, *rest] == [request.digest for request in PROMPTS[3:]]
    answer(more, batch)
    assert begin(run).left(pairs) == [rest], "the same batches as before the kill"


def test_other_weights_reuse_nothing_and_their_rows_go_at_the_end(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    first = begin(run)
    answer(first, list(first.requests))
    first.finish()
    narrower = begin(run, PROMPTS[:2])
    assert missing(narrower) == []
    narrower.finish()
    assert len(begin(run).rows) == 6, "what is not asked for now is kept"
    other = begin(run, made_with="another model")
    assert len(missing(other)) == 6
    answer(other, list(other.requests))
    assert len(begin(run).rows) == 6, "until it is finished"
    other.finish()
    assert begin(run).rows == {}


def test_log_likelihoods_are_read_as_they_were_computed(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    answers = begin(run)
    values = [-1.2345678901234567, -1.2345678901234569]
    answers.add([answers.row(missing(answers)[0], "scored", log_likelihoods=values, greedy=[True, False])])
    (row,) = read_answers(run.general_answers)
    assert row.log_likelihoods == values
    assert row.greedy == [True, False]


def test_prompts_that_are_not_written_yet_are_named_with_the_command(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    with pytest.raises(ValueError, match=rf"general/requests\.jsonl.*python -m sciriff\.general\.requests {tmp_path}"):
        read_asked(run)
    write_jsonl(run.general_requests, PROMPTS)
    assert read_asked(run) == PROMPTS
    begin(run).finish()
    assert not run.general_requests.exists()


def test_a_text_ends_before_the_stop_string_that_comes_first() -> None:
    assert cut_at_stop("one two three", ["three", "two", ""]) == "one "
    assert cut_at_stop("one", ["two"]) == "one"
