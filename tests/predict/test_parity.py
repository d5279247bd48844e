"""Prompts of the reference code: no BOS, no newline after the role tag, an example for one task, its stop string."""

import json
from pathlib import Path
from typing import Any

import pytest
from predict_runs import finish, make_run, row, tiny_model, write_rows

from sciriff.data.records import Instance
from sciriff.models.loading import load_tokenizer
from sciriff.predict import parity


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(tiny_model())


def made(task: str, size: int, tokenizer: Any, room: int = 10_000, truncation: str = "middle_of_document") -> list[Any]:
    pool = [Instance(task, f"{task}:v:{i}", f"prompt {i}", f"answer {i}") for i in range(size)]
    return parity.make_prompts(pool[:3], pool, "tulu", tokenizer, room, truncation)


def test_no_bos_and_no_newline_after_the_role_tag(tokenizer: Any) -> None:
    prompt = made("scierc_ner", 3, tokenizer)[1]
    assert tokenizer.decode(prompt.ids) == "<|user|>\nprompt 1\n<|assistant|>"
    assert tokenizer.bos_token_id not in prompt.ids


def test_evidence_inference_shows_another_instance_first(tokenizer: Any) -> None:
    prompts = made("evidence_inference", 9, tokenizer)
    for number, prompt in enumerate(prompts):
        text = tokenizer.decode(prompt.ids)
        example, question = text.split("\n\n\n")
        other = example.rpartition(" ")[2]
        assert other != str(number)
        assert example == f"<|user|>\nprompt {other}\n<|assistant|>\nanswer {other}"
        assert question == f"<|user|>\nprompt {number}\n<|assistant|>"
    assert prompts == made("evidence_inference", 9, tokenizer)
    with pytest.raises(ValueError, match="there is only 1"):
        made("evidence_inference", 1, tokenizer)


def test_a_long_prompt_keeps_the_last_tokens(tokenizer: Any) -> None:
    whole = made("scierc_ner", 1, tokenizer)[0]
    cut = made("scierc_ner", 1, tokenizer, room=5)[0]
    assert cut.ids == whole.ids[-5:]
    assert cut.truncated_tokens == len(whole.ids) - 5
    with pytest.raises(ValueError, match="does not fit"):
        made("scierc_ner", 1, tokenizer, room=5, truncation="error")


def test_the_stage_starts_afresh_under_parity(tmp_path: Path) -> None:
    rows = [row(f"evidence_inference:v:{i}", f"List the findings of trial {i}.") for i in range(4)]
    path = str(write_rows(tmp_path / "rows.jsonl", rows))
    run = make_run(tmp_path / "run", path=path)
    finish(run)
    usual = (run.predictions / "evidence_inference.jsonl").read_text()
    output = finish(make_run(tmp_path / "run", path=path, parity="reference", limit=2))
    assert "another dtype and parity: starting afresh" in output, "the reference code uses float16"
    lines = (run.predictions / "evidence_inference.jsonl").read_text().splitlines()
    assert len(lines) == 2
    more_tokens = [json.loads(line)["prompt_tokens"] for line in lines]
    assert min(more_tokens) > max(json.loads(line)["prompt_tokens"] for line in usual.splitlines())


def test_the_stop_string_ends_an_answer() -> None:
    assert parity.before_stop("[1]\n\n" + "-" * 20 + "\n\nExample") == "[1]"
    assert parity.before_stop("[1]\n" + "-" * 20) == "[1]\n" + "-" * 20
