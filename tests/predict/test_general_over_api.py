"""General prompts that a server answers: conversations, rows, one cap with science, nothing paid twice."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_runs import KEY_NAME, SERVERS, api_model, api_run, rows_of, start, wait_for, write_instances
from api_server import KEY, Answer, ApiServer, Error
from predict_runs import files_of, finish

from sciriff.config import GeneralConfig
from sciriff.data.general_rows import GeneralAnswer, GeneralRequest, read_answers
from sciriff.models.api import limits
from sciriff.run.json_lines import Message, write_jsonl
from sciriff.run.run_dir import RunDir

SHOT = (Message("user", "1 + 1?"), Message("assistant", "2"))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FIRST_WAIT", 0.02)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv(KEY_NAME, KEY)


@pytest.fixture(params=["openai", "anthropic"])
def server(request: pytest.FixtureRequest) -> Iterator[ApiServer]:
    with SERVERS[request.param](lambda prompt, nth: Answer(f"Answer to {prompt}", 100, 10)) as started:
        yield started


def sum_of(number: int, limit: int = 24, **others: Any) -> GeneralRequest:
    """A prompt with an example before it: `N + N?`."""
    messages = [Message("system", "Add."), *SHOT, Message("user", f"{number} + {number}?")]
    return GeneralRequest("sums", number, [], messages, limit, **others)


SUMS = [sum_of(number) for number in range(4)]


def general_run(folder: Path, server: ApiServer, requests: list[GeneralRequest] = SUMS, **others: Any) -> RunDir:
    """A run with two prompts of science and these general ones."""
    folder.mkdir(exist_ok=True)
    instances = write_instances(folder / "instances.jsonl", 2)
    run = api_run(folder / "run", server, instances, general=GeneralConfig(name="own", tasks=["sums"]), **others)
    run.general.mkdir(exist_ok=True)
    write_jsonl(run.general_requests, requests)
    return run


def answers_of(run: RunDir) -> list[GeneralAnswer]:
    return list(read_answers(run.general_answers))


def test_both_kinds_of_prompts_are_answered_in_one_go(tmp_path: Path, server: ApiServer):
    run = general_run(tmp_path, server, engine={"max_concurrency": 1, "temperature": 0.7})
    output = finish(run)
    assert "6 calls, " in output
    assert "[6/6] answers" in output
    assert "4 answers to general prompts, 0 of them cut off at their limit" in output
    assert list(server.asked) == [*("Question 0?", "Question 1?"), *(f"{n} + {n}?" for n in range(4))]
    assert [row.request for row in answers_of(run)] == [request.digest for request in SUMS]
    assert {(row.finish_reason, row.output_tokens) for row in answers_of(run)} == {("stop", 10)}
    assert answers_of(run)[1].text == "Answer to 1 + 1?"
    assert not run.general_requests.exists()
    assert [body["temperature"] for body in server.bodies] == [0.7] * 2 + [0.0] * 4, "general tasks are greedy"
    assert "top_p" not in server.bodies[-1] and "seed" not in server.bodies[-1]
    # science is byte for byte what it is without
    alone = api_run(tmp_path / "alone", server, tmp_path / "instances.jsonl", engine={"temperature": 0.7})
    finish(alone)
    assert files_of(alone) == files_of(run)
    # a second start asks nothing, and ends in the same bytes, its answers still there or not
    before = run.general_answers.read_bytes()
    for gone in (False, True):
        if gone:
            run.general_answers.unlink()
        asked = server.asked.total()
        assert "6 answers are here already" in finish(general_run(tmp_path, server, engine={"temperature": 0.7}))
        assert (server.asked.total(), run.general_answers.read_bytes()) == (asked, before)


def test_each_service_gets_the_conversation_in_its_own_form(tmp_path: Path, server: ApiServer):
    twice = [*SHOT, Message("user", "Now:"), Message("user", "odd \ud800?")]
    finish(general_run(tmp_path, server, [sum_of(3), GeneralRequest("sums", 9, [], twice, 8)]))
    body, other = (
        next(one for one in server.bodies if one["messages"][-1]["content"].endswith(end))
        for end in ("3 + 3?", "odd ??")
    )
    turns = [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}]
    asked = {"role": "user", "content": "3 + 3?"}
    if server.key_header == "x-api-key":
        assert (body["system"], body["messages"], body["max_tokens"]) == ("Add.", [*turns, asked], 24)
        assert other["messages"] == [*turns, {"role": "user", "content": "Now:\n\nodd ??"}], "turns must alternate"
        assert "system" not in other
    else:
        assert body["messages"] == [{"role": "system", "content": "Add."}, *turns, asked]
        assert (body["max_completion_tokens"], len(other["messages"])) == (24, 4)


def test_answers_end_at_the_first_stop_string_though_the_server_is_told_of_none(tmp_path: Path, server: ApiServer):
    texts = {"0 + 0?": Answer("0\n\nQ: and", 5, 24, "length"), "1 + 1?": Answer("2, cut", 5, 24, "length")}
    server.behave = lambda prompt, nth: texts.get(prompt, Answer("\n", 5, 1))
    stops = ["Q:", "\n", "", *(f"Stop {n}" for n in range(9))]
    run = general_run(tmp_path, server, [sum_of(number, stops=stops) for number in range(3)])
    assert "1 of them cut off at their limit" in finish(run)
    assert [(row.text, row.finish_reason) for row in answers_of(run)] == [
        ("0", "stop"),
        ("2, cut", "length"),
        ("", "stop"),
    ]
    assert not any({"stop", "stop_sequences"} & body.keys() for body in server.bodies)
    # other stop strings cut the same answers, which are paid for
    run = general_run(tmp_path, server, [sum_of(number, stops=["Q:"]) for number in range(3)])
    finish(run)
    assert [row.text for row in answers_of(run)][:3] == ["0\n\n", "2, cut", "\n"]
    assert set(server.asked.values()) == {1}


def test_a_larger_limit_pays_only_for_answers_that_were_cut(tmp_path: Path, server: ApiServer):
    server.behave = lambda prompt, nth: Answer("3, and", 5, 24, "length") if prompt[0] == "3" else Answer("Yes.", 5, 10)
    finish(general_run(tmp_path, server))
    run = general_run(tmp_path, server, [sum_of(number, limit=48) for number in range(4)])
    finish(run)
    assert server.asked == {"Question 0?": 1, "Question 1?": 1, **{f"{n} + {n}?": 1 + (n == 3) for n in range(4)}}
    assert len({row.request for row in answers_of(run)}) == len(answers_of(run)) == 8, "those under 24 stay for later"
    finish(general_run(tmp_path, server))
    assert server.asked.total() == 7


def test_one_cap_holds_for_both_kinds_together(tmp_path: Path, server: ApiServer):
    """Each answer of 24 tokens costs $0.024 at most: two of science are within the cap, four general ones pass it."""
    with pytest.raises(ValueError, match=r"answering may cost \$0\.14 in all, more than engine\.max_usd=0\.1: raise"):
        finish(general_run(tmp_path, server, engine={"max_usd": 0.1}))
    assert server.asked.total() == 0
    server.behave = lambda prompt, nth: Answer("Yes.", 0, 100)
    with pytest.raises(ValueError, match=r"engine\.max_usd=0\.35 is used up and 2 prompts are not answered"):
        finish(general_run(tmp_path, server, engine={"max_usd": 0.35, "max_concurrency": 1}))
    assert list(server.asked) == ["Question 0?", "Question 1?", "0 + 0?", "1 + 1?"]
    run = general_run(tmp_path, server, engine={"max_usd": 5.0})
    assert "$0.40 spent before" in finish(run)
    assert set(server.asked.values()) == {1}
    assert [row.request for row in answers_of(run)] == [request.digest for request in SUMS]


def test_an_answer_that_a_server_refuses(tmp_path: Path, server: ApiServer):
    server.behave = lambda prompt, nth: Error(400, message="too long") if prompt == "2 + 2?" else Answer("Yes.")
    with pytest.raises(ValueError, match=r"1 of 6 prompts are not answered; document 2 of sums: 400 too long\. "):
        finish(general_run(tmp_path, server))
    run = general_run(tmp_path, server, allow_missing=True)
    assert "1 of 6 prompts are not answered; document 2 of sums" in finish(run)
    assert [row.request for row in answers_of(run)] == [SUMS[number].digest for number in (0, 1, 3)]
    assert server.asked["2 + 2?"] == 2 and server.asked.total() == 7


def test_an_answer_that_a_filter_holds_back_is_one(tmp_path: Path):
    flagged = Error(400, message="flagged", code="content_filter")
    with SERVERS["openai"](lambda prompt, nth: flagged if prompt == "2 + 2?" else Answer("Yes.")) as server:
        run = general_run(tmp_path, server)
        assert "4 answers to general prompts, 0 of them cut off at their limit, 1 refused or filtered" in finish(run)
        assert [(row.text, row.finish_reason) for row in answers_of(run)][2] == ("", "content_filter")
        finish(general_run(tmp_path, server))
        assert server.asked.total() == 6


def test_a_model_that_thinks_has_room_for_it(tmp_path: Path, server: ApiServer):
    provider = "anthropic" if server.key_header == "x-api-key" else "openai"
    facts = {"takes_temperature": False, "thinking_tokens": 1000, "request": {"effort": {"level": "low"}}}
    run = general_run(tmp_path, server, model=api_model(provider, **facts), engine={"max_usd": 20.0})
    finish(run)
    for body in server.bodies:
        assert "temperature" not in body and body["effort"] == {"level": "low"}
        assert 1024 in body.values()
    paid = [json.loads(line) for line in run.paid_answers.read_text().splitlines()]
    assert {row["limit"] for row in paid} == {1024}


def test_one_batch_has_both_kinds_and_is_collected_after_a_kill(tmp_path: Path, server: ApiServer):
    ended = "completed" if "openai" in type(server).__name__.lower() else "ended"
    server.batch_behave = lambda looks: "in_progress"
    run = general_run(tmp_path, server, engine={"batch": True})
    process = start(run)
    wait_for(lambda: server.looks.total() >= 1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    server.batch_behave = lambda looks: ended
    finish(run)
    assert len(server.batches) == 1
    assert (len(rows_of(run)), len(answers_of(run))) == (2, 4)
    assert server.asked.total() == 6


def test_prompts_that_are_missing_or_for_an_engine(tmp_path: Path, server: ApiServer):
    run = general_run(tmp_path, server, [GeneralRequest("sums", 5, [1, 2], limit=4)])
    with pytest.raises(ValueError, match=r"document 5 of sums is not for a server"):
        finish(run)
    run.general_requests.unlink()
    with pytest.raises(ValueError, match=r"requests\.jsonl"):
        finish(run)
    assert server.asked.total() == 0
