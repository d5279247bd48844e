"""What servers think: told apart, cut out of the text, paid for once, within answer and budget together."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from api_runs import api_model, api_run, rows_of, write_instances
from api_server import Raw
from openai_server import OpenAiServer
from predict_runs import finish, tiny_model
from thinking_models import tokenizer_like

from sciriff.config import ModelConfig
from sciriff.models.api import limits
from sciriff.run.finish_reasons import NO_CONTENT, UNFINISHED_THOUGHT

NO_THOUGHT = "Question 0?"


def completion(text: str | None, ended: str | None, tokens: int, counted: int | None = None, **more: Any) -> Raw:
    message = {"role": "assistant", "content": text, **more}
    usage: dict[str, Any] = {"prompt_tokens": 9, "completion_tokens": tokens}
    if counted is not None:
        usage["completion_tokens_details"] = {"reasoning_tokens": counted}
    return Raw(json.dumps({"choices": [{"message": message, "finish_reason": ended}], "usage": usage}).encode())


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FIRST_WAIT", 0.02)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[OpenAiServer]:
    with OpenAiServer(lambda prompt, nth: completion("", "stop", 1)) as started:
        yield started


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelConfig:
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer_like("qwen3").save_pretrained(folder)
    arguments = {"enable_thinking": True}
    return replace(tiny_model(1024), tokenizer=str(folder), chat="tokenizer", chat_arguments=arguments)


LOCAL = {"name": "local", "model": "served", "api_key_env": None}


def test_thoughts_of_a_server_of_ones_own(tmp_path: Path, server: OpenAiServer, model: ModelConfig) -> None:
    def behave(prompt: str, nth: int) -> Raw:
        number = int(prompt.removeprefix("Question ").removesuffix("?"))
        return [
            completion("Yes.", "stop", 2),
            completion("Yes.", "stop", 9, reasoning_content="Let us see \ud800."),
            completion(None, "length", 40, reasoning="Let us see"),
            completion("<think>\nLet us see.\n</think>\n\nYes.", "stop", 9),
            completion("<think>\nLet us see", "length", 40),
            completion("Yes. </think>", "stop", 5),
            completion("<think>Yes.", "stop", 9, counted=4),
            completion("<think>\nLet us see", None, 40),
            completion("<think>\nLet us see", None, 20),
            completion("", None, 40, reasoning="Let us see"),
        ][number]

    server.behave = behave
    instances = write_instances(tmp_path / "instances.jsonl", 10)
    run = api_run(tmp_path / "run", server, instances, model=model, engine=LOCAL, max_new_tokens=8, thinking_tokens=32)
    output = finish(run)
    assert "thoughts end with </think> (found by its token), within 32 tokens" in output
    assert "4 thoughts did not end" in output
    for body in server.bodies:
        assert body["max_tokens"] == 40
        assert body["chat_template_kwargs"] == {"enable_thinking": True}
    rows = rows_of(run)
    found = {name.rpartition(":")[2]: (r.prediction, r.thought, r.finish_reason) for name, r in rows.items()}
    assert found == {
        "0": ("Yes.", None, "stop"),
        "1": ("Yes.", "Let us see \ud800.", "stop"),
        "2": ("", "Let us see", UNFINISHED_THOUGHT),
        "3": ("Yes.", "Let us see.", "stop"),
        "4": ("", "Let us see", UNFINISHED_THOUGHT),
        "5": ("Yes. </think>", None, "stop"),
        "6": ("<think>Yes.", None, "stop"),
        "7": ("", "Let us see", UNFINISHED_THOUGHT),
        "8": ("", "Let us see", NO_CONTENT),
        "9": ("", "Let us see", UNFINISHED_THOUGHT),
    }
    counted = [row.thought_tokens for row in rows.values()]
    assert counted.count(None) == 2
    assert all(0 < tokens <= row.output_tokens for tokens, row in zip(counted, rows.values(), strict=True) if tokens)
    # a larger budget asks again only for the thoughts that did not end
    server.asked.clear()
    api_run(tmp_path / "run", server, instances, model=model, engine=LOCAL, max_new_tokens=8, thinking_tokens=64)
    finish(run)
    assert sorted(server.asked) == [f"Question {number}?" for number in (2, 4, 7, 9)]
    server.asked.clear()
    finish(run)
    assert not server.asked


def test_a_model_behind_an_api_has_its_own_budget_unless_the_evaluation_gives_one(
    tmp_path: Path, server: OpenAiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_API_KEY", "sk-test-key-of-no-one")
    server.behave = lambda prompt, nth: completion("Yes.", "stop", 9)
    instances = write_instances(tmp_path / "instances.jsonl", 1)
    model = api_model("openai", thinking_tokens=100)
    for thinking, limit in ((0, 108), (20, 28)):
        run = api_run(
            tmp_path / f"{thinking}", server, instances, model=model, max_new_tokens=8, thinking_tokens=thinking
        )
        finish(run)
        assert server.bodies[-1]["max_completion_tokens"] == limit
        assert "chat_template_kwargs" not in server.bodies[-1]
    none = replace(model, thinking="none")
    run = api_run(tmp_path / "none", server, instances, model=none, max_new_tokens=8, thinking_tokens=20)
    finish(run)
    assert server.bodies[-1]["max_completion_tokens"] == 8
    with pytest.raises(ValueError, match=r"model\.thinking=qwen3 has no meaning for model=kept, whose thoughts openai"):
        replace(model, thinking="qwen3")
    arguments = replace(model, chat_arguments={"enable_thinking": False})
    with pytest.raises(
        ValueError, match=r"model\.chat_arguments\.enable_thinking goes to a chat template, and engine=op"
    ):
        api_run(tmp_path / "refused", server, instances, model=arguments)
