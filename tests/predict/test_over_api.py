"""The stage against servers on real sockets: rows, costs, refusals, kills. No prompt is paid for twice."""

import contextlib
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_runs import KEY_NAME, SERVERS, api_model, api_run, rows_of, start, wait_for, write_instances
from api_server import KEY, Answer, ApiServer, Drop, Error, Hang, Raw
from openai_server import OpenAiServer
from predict_runs import files_of, finish, make_run, row, tiny_model, write_rows

from sciriff.config import EngineConfig
from sciriff.models.api import limits
from sciriff.models.api.anthropic import AnthropicBatches
from sciriff.models.api.openai import OpenAiBatches
from sciriff.run.locks import hold_or_refuse
from sciriff.run.run_dir import RunDir


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FIRST_WAIT", 0.02)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv(KEY_NAME, KEY)


@pytest.fixture(params=["openai", "anthropic"])
def server(request: pytest.FixtureRequest) -> Iterator[ApiServer]:
    with SERVERS[request.param](lambda prompt, nth: Answer(f"Answer to {prompt}", 100, 10)) as started:
        yield started


@pytest.fixture
def instances(tmp_path: Path) -> Path:
    return write_instances(tmp_path / "instances.jsonl", 12)


def test_what_the_stage_writes(tmp_path: Path, server: ApiServer, instances: Path):
    run = api_run(tmp_path / "run", server, instances)
    output = finish(run)
    assert "12 calls, about 48 tokens of prompts and at most 288 of responses: $0.29 at most by estimate" in output
    assert "[12/12] answers" in output
    rows = rows_of(run)
    assert len(rows) == server.asked.total() == 12
    assert list(rows) == [i for ids in json.loads(run.expected.read_text()).values() for i in ids]
    one = rows["scierc_ner:v:4"]
    assert (one.prompt, one.prediction, one.reference) == ("Question 4?", "Answer to Question 4?", '["4"]')
    assert (one.finish_reason, one.prompt_tokens, one.output_tokens, one.truncated_tokens) == ("stop", 100, 10, 0)
    assert all(body["temperature"] == 0.0 and body["model"].endswith("-model") for body in server.bodies)
    assert all(24 in body.values() for body in server.bodies)
    paid = [json.loads(line) for line in run.paid_answers.read_text().splitlines()]
    assert {(answer["input_tokens"], answer["usd"]) for answer in paid} == {(100, 0.0101)}
    # a finished stage asks nothing more, and makes the same rows from what was paid for
    before = files_of(run)
    (run.predictions / "scierc_ner.jsonl").unlink()
    assert "12 answers are here already" in finish(run)
    assert files_of(run) == before
    assert server.asked.total() == 12


def test_the_key_is_in_no_file_and_no_log(tmp_path: Path, server: ApiServer, instances: Path):
    server.behave = lambda prompt, nth: Answer(f"I saw {KEY}") if nth > 1 else Error(500, message=f"no {KEY}")
    run = api_run(tmp_path / "run", server, instances)
    output = finish(run)
    assert "500 no [key]" in output
    assert KEY not in output
    assert server.keys <= {KEY, f"Bearer {KEY}"}
    for path in run.root.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes()
    assert {one.prediction for one in rows_of(run).values()} == {"I saw [key]"}


@pytest.mark.slow
def test_killed_and_resumed_no_prompt_is_paid_for_twice(tmp_path: Path, server: ApiServer):
    """Every trouble there is, two kills, a torn last line; the rows are those of an undisturbed run."""
    instances = write_instances(tmp_path / "instances.jsonl", 150)
    troubles = [Error(429, {"Retry-After": "0.1"}), Error(500), Error(529), Drop(), Raw(b"{"), Raw(b"[")]

    def behave(prompt: str, nth: int) -> Any:
        number = int(prompt.removeprefix("Question ").removesuffix("?"))
        trouble = dict(enumerate([troubles[number % 6]] if number % 4 == 0 else [], 1)).get(nth)
        return trouble or Answer(f"Answer to {prompt}", 100, 10)

    undisturbed = api_run(tmp_path / "undisturbed", server, instances)
    finish(undisturbed)
    server.behave = behave
    server.asked.clear()
    server.answered.clear()
    run = api_run(tmp_path / "run", server, instances, engine={"max_concurrency": 3})
    for kill_at in (20, 70):
        process = start(run)
        wait_for(lambda least=kill_at: server.answered.total() >= least)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with run.paid_answers.open("ab") as file:
        file.write(b'{"digest": "torn')
    process = start(run)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "its last line was only half written" in output
    assert files_of(run).keys() == files_of(undisturbed).keys()
    assert all(files_of(run)[name] == data for name, data in files_of(undisturbed).items() if name != "settings.json")
    # only an answer that was on its way when the process was killed is made again: at most 3 for each kill
    assert server.answered.total() <= 150 + 6
    assert max(server.answered.values()) <= 3
    lines = run.paid_answers.read_text().splitlines()
    assert len({json.loads(line)["digest"] for line in lines}) == len(lines) == 150


def test_the_cap_holds_and_a_higher_one_goes_on(tmp_path: Path, server: ApiServer, instances: Path):
    server.behave = lambda prompt, nth: Answer("Yes.", 0, 100)  # five times what an answer may have
    with pytest.raises(ValueError, match=r"answering may cost \$0\.29 in all, more than engine\.max_usd=0\.2: raise"):
        finish(api_run(tmp_path / "run", server, instances, engine={"max_usd": 0.2}))
    assert server.asked.total() == 0
    with pytest.raises(ValueError, match=r"engine\.max_usd=0\.3 is used up and \d+ prompts are not answered"):
        finish(api_run(tmp_path / "run", server, instances, engine={"max_usd": 0.3, "max_concurrency": 1}))
    paid = server.asked.total()
    assert paid == 3, "of $0.10 each; a fourth might have passed the cap"
    run = api_run(tmp_path / "run", server, instances, engine={"max_usd": 5})
    assert len(rows_of(run)) == paid
    output = finish(run)
    assert f"{12 - paid} calls, " in output
    assert f"${0.1 * paid:.2f} spent before" in output
    assert set(server.asked.values()) == {1}


def test_the_cap_holds_at_a_cloud_whose_answers_are_those_of_its_provider(
    tmp_path: Path, instances: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")
    with OpenAiServer(lambda prompt, nth: Answer("Yes.", 0, 100)) as server:
        plain = server.chat_path
        server.chat_path = "/openai/deployments/openai-model/chat/completions?api-version=2024-10-21"
        cloud = {"via": "azure", "base_url": server.base_url.removesuffix("/v1"), "max_concurrency": 1}
        with pytest.raises(ValueError, match=r"engine\.max_usd=0\.3 is used up and 9 prompts are not answered"):
            finish(api_run(tmp_path / "run", server, instances, engine={**cloud, "max_usd": 0.3}))
        assert server.asked.total() == 3
        run = api_run(tmp_path / "run", server, instances, engine={**cloud, "max_usd": 5})
        assert "$0.30 spent before" in finish(run)
        assert set(server.asked.values()) == {1}
        assert len(rows_of(run)) == 12
        server.chat_path = plain
        assert "12 answers are here already" in finish(api_run(tmp_path / "run", server, instances))


def test_a_price_that_is_not_known(tmp_path: Path, server: ApiServer, instances: Path):
    engine = {"input_usd": None, "output_usd": None, "max_usd": 3.0}
    with pytest.raises(ValueError, match=r"engine\.max_usd=3 cannot hold: the price of \w+-model is not known here"):
        finish(api_run(tmp_path / "run", server, instances, engine=engine))
    output = finish(api_run(tmp_path / "run", server, instances, engine={**engine, "max_usd": None}))
    assert "at a price not known here" in output


def test_no_key(tmp_path: Path, server: ApiServer, instances: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(KEY_NAME)
    with pytest.raises(ValueError, match=f"needs a key in the environment variable {KEY_NAME}"):
        finish(api_run(tmp_path / "run", server, instances))
    assert server.asked.total() == 0


def test_refused_and_filtered_answers_are_rows(tmp_path: Path, instances: Path):
    ends: dict[str, Any] = {
        "Question 0?": Answer("", 9, 0, "content_filter"),
        "Question 1?": Error(400, message="flagged", code="content_filter"),
        "Question 2?": Answer("Cut off", 9, 24, "length"),
        "Question 3?": Raw(b'{"choices": [{"message": {"content": null, "refusal": "I will not."}}]}'),
    }
    with OpenAiServer(lambda prompt, nth: ends.get(prompt, Answer("Fine."))) as server:
        run = api_run(tmp_path / "run", server, instances)
        output = finish(run)
        rows = {one.prompt: one for one in rows_of(run).values()}
        assert [rows[f"Question {n}?"].finish_reason for n in range(5)] == [
            *("content_filter", "content_filter", "length", "refusal", "stop")
        ]
        assert rows["Question 1?"].prediction == ""
        assert rows["Question 3?"].prediction == "I will not."
        assert "12 answers, 1 of them cut off at their limit, 3 refused or filtered" in output
        finish(run)
        assert server.asked.total() == 12


@pytest.mark.parametrize("batch", [False, True])
def test_answers_of_other_shapes(tmp_path: Path, server: ApiServer, instances: Path, batch: bool):
    """A list of text parts is an answer, one without text is counted by name, an unknown shape fails; each is asked for
    once, and a file of results may begin with the mark of UTF-8."""

    def of_shape(content: Any) -> Raw:
        if isinstance(server, OpenAiServer):
            answer: Any = {"choices": [{"message": {"content": content}, "finish_reason": "stop"}]}
        else:
            answer = {"content": content, "stop_reason": "end_turn"}
        return Raw(json.dumps(answer).encode())

    shapes = {
        "Question 0?": of_shape([{"type": "text", "text": "In"}, {"type": "text", "text": " parts"}]),
        "Question 1?": of_shape([]),
        "Question 2?": of_shape([{"type": "picture", "note": "\x1b[2J"}]),
    }
    server.behave = lambda prompt, nth: shapes.get(prompt, Answer("Fine."))
    send = server.send
    server.send = lambda handler, status, body, headers: send(handler, status, b"\xef\xbb\xbf" + body, headers)
    run = api_run(tmp_path / "run", server, instances, engine={"batch": batch}, allow_missing=True)
    output = finish(run)
    rows = {one.prompt: (one.prediction, one.finish_reason) for one in rows_of(run).values()}
    assert rows == {f"Question {n}?": ("Fine.", "stop") for n in range(3, 12)} | {
        "Question 0?": ("In parts", "stop"),
        "Question 1?": ("", "no_content"),
    }
    assert "0 refused or filtered, 1 ended without a word of text\n" in output
    assert "1 of 12 prompts are not answered; scifact_entailment:v:2: " in output
    assert 'what came is {"' in output and "picture" in output and "\x1b" not in output
    assert set(server.asked.values()) == {1}


def test_a_prompt_that_the_server_refuses(tmp_path: Path, server: ApiServer, instances: Path):
    server.behave = lambda prompt, nth: Error(400, message="too long") if prompt == "Question 7?" else Answer("Yes.")
    run = api_run(tmp_path / "run", server, instances)
    with pytest.raises(ValueError, match=r"1 of 12 prompts are not answered; scierc_ner:v:7: 400 too long\. "):
        finish(run)
    assert len(rows_of(run)) == 11
    output = finish(api_run(tmp_path / "run", server, instances, allow_missing=True))
    assert "1 of 12 prompts are not answered" in output
    assert server.asked == {f"Question {n}?": 1 + (n == 7) for n in range(12)}


@pytest.mark.slow
@pytest.mark.parametrize("listens", ["nobody", "another server"])
def test_an_address_where_no_such_server_is(tmp_path: Path, instances: Path, listens: str):
    """Its port is nobody's, or belongs to a program of another kind."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"http://127.0.0.1:{other.getsockname()[1]}/v1"
        if listens == "nobody":
            other.close()
        else:
            threading.Thread(target=greet, args=(other,), daemon=True).start()
        own = {"name": "local", "base_url": address, "model": "m", "attempts": 2}
        run = make_run(tmp_path / "run", path=str(instances), model=tiny_model(), engine=EngineConfig(**own))
        process = start(run)
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    last = output.splitlines()[-1]
    assert last.startswith(f"error: {address} gives no answers: ")
    assert last.endswith(" (after 2 attempts)")
    assert ("Connection refused" if listens == "nobody" else "220 mail.example.org ready") in last
    assert "Traceback" not in output


def greet(server: socket.socket) -> None:
    """Answer in a language that is not HTTP."""
    with contextlib.suppress(OSError):
        while True:
            connection, _ = server.accept()
            connection.recv(65536)
            connection.sendall(b"220 mail.example.org ready\r\n")
            connection.close()


def test_instances_that_ask_the_same_are_asked_once(tmp_path: Path, server: ApiServer):
    rows = [row("scierc_ner:v:0", "Same?"), row("scierc_ner:v:1", "Same?"), row("scierc_ner:v:2", "Other?")]
    run = api_run(tmp_path / "run", server, write_rows(tmp_path / "rows.jsonl", rows))
    finish(run)
    assert server.asked == {"Same?": 1, "Other?": 1}
    assert [one.prediction for one in rows_of(run).values()] == [
        *("Answer to Same?", "Answer to Same?", "Answer to Other?")
    ]


def test_other_prompts_and_other_settings_pay_only_for_what_is_new(tmp_path: Path, server: ApiServer, instances: Path):
    finish(api_run(tmp_path / "run", server, instances))
    finish(api_run(tmp_path / "run", server, write_instances(instances, 15)))
    assert set(server.asked.values()) == {1}
    finish(api_run(tmp_path / "run", server, instances, engine={"temperature": 0.5}))
    assert server.asked.total() == 30
    run = api_run(tmp_path / "run", server, instances)
    finish(run)
    assert server.asked.total() == 30
    assert len(rows_of(run)) == 15


def test_another_limit_pays_only_for_answers_that_it_changes(tmp_path: Path, server: ApiServer, instances: Path):
    """Question 1 is cut off at 24 tokens, question 2 ends after 20, the others after 10."""

    def behave(prompt: str, nth: int) -> Answer:
        limit = server.bodies[-1].get("max_tokens") or server.bodies[-1]["max_completion_tokens"]
        if prompt == "Question 1?" and limit < 30:
            return Answer("Cut", 9, limit, "length")
        return Answer("Whole.", 9, {"Question 1?": 30, "Question 2?": 20}.get(prompt, 10))

    server.behave = behave
    finish(api_run(tmp_path / "run", server, instances))
    output = finish(api_run(tmp_path / "run", server, instances, max_new_tokens=48))
    assert "1 answers are to another prompt or had another limit and are made again" in output
    assert "11 answers are here already" in output
    assert server.asked == {f"Question {n}?": 1 + (n == 1) for n in range(12)}
    run = api_run(tmp_path / "run", server, instances, max_new_tokens=15)
    output = finish(run)
    assert "10 answers are here already" in output
    assert server.asked == {f"Question {n}?": {1: 3, 2: 2}.get(n, 1) for n in range(12)}
    assert rows_of(run)["scierc_ner:v:1"].finish_reason == "length"
    # what was paid for under the first limits still answers under them
    for limit in (24, 48, 15):
        output = finish(api_run(tmp_path / "run", server, instances, max_new_tokens=limit))
        assert "12 answers are here already" in output
    assert server.asked.total() == 15


def test_rows_of_an_older_version_are_not_paid_for_again(tmp_path: Path, server: ApiServer, instances: Path):
    run = api_run(tmp_path / "run", server, instances)
    finish(run)
    rows = [json.loads(line) for line in run.paid_answers.read_text().splitlines()]
    older = [{key: value for key, value in one.items() if key not in ("question", "limit")} for one in rows]
    run.paid_answers.write_text("".join(json.dumps(one) + "\n" for one in older))
    assert "12 answers are here already" in finish(run)
    assert server.asked.total() == 12


def test_a_model_that_thinks(tmp_path: Path, server: ApiServer, instances: Path):
    """No temperature, room to think on top of the answer, and what else its requests need."""
    provider = "anthropic" if server.key_header == "x-api-key" else "openai"
    facts = {"takes_temperature": False, "thinking_tokens": 1000, "request": {"effort": {"level": "low"}}}
    run = api_run(tmp_path / "run", server, instances, model=api_model(provider, **facts), engine={"max_usd": 20.0})
    output = finish(run)
    assert "at most 12,288 of responses" in output
    for body in server.bodies:
        assert "temperature" not in body
        assert body["effort"] == {"level": "low"}
        assert 1024 in body.values()


def test_long_prompts_of_a_model_that_only_its_provider_counts(tmp_path: Path, server: ApiServer):
    """A context of 300 tokens, less 24 for the answer and 64 for the server's markup, at 3 bytes a token."""
    document = " ".join(f"word{n}" for n in range(300))
    rows = [row("scierc_ner:v:0", f"Find.\n\n{document}\n\nWhich?"), row("scierc_ner:v:1", "Short?")]
    instances = write_rows(tmp_path / "rows.jsonl", rows)
    provider = "anthropic" if server.key_header == "x-api-key" else "openai"
    model = api_model(provider, context=300)
    run = api_run(tmp_path / "cut", server, instances, model=model)
    assert "scierc_ner: 1 of 2 prompts were too long and lost " in finish(run)
    cut = rows_of(run)["scierc_ner:v:0"]
    assert cut.truncated_tokens > 0
    assert 500 < len(cut.prompt) <= 3 * 212
    assert cut.prompt in server.asked
    run = api_run(tmp_path / "skip", server, instances, model=model, truncation="skip")
    assert "1 of 2 prompts were too long and are not answered" in finish(run)
    assert [one.finish_reason for one in rows_of(run).values()] == ["skipped", "stop"]
    with pytest.raises(ValueError, match="does not fit the 212"):
        finish(api_run(tmp_path / "error", server, instances, model=model, truncation="error"))


def test_a_model_with_weights_is_measured_by_its_own_tokenizer(tmp_path: Path):
    document = " ".join(f"word{n}" for n in range(300))
    instances = write_rows(tmp_path / "rows.jsonl", [row("scierc_ner:v:0", f"Find.\n\n{document}\n\nWhich?")])
    with OpenAiServer() as server:
        engine = {"name": "local", "model": "tiny-served"}
        run = api_run(tmp_path / "run", server, instances, model=tiny_model(), engine=engine)
        finish(run)
        assert server.bodies[0]["model"] == "tiny-served"
        assert server.bodies[0]["max_tokens"] == 24
    assert rows_of(run)["scierc_ner:v:0"].truncated_tokens > 0


def test_the_reference_example_goes_before_the_prompt(tmp_path: Path, server: ApiServer):
    rows = [row(f"evidence_inference:v:{n}", f"Trial {n}?", f"[{n}]") for n in range(3)]
    server.behave = lambda prompt, nth: Answer("Mine.\n\n--------------------\n\nmore")
    run = api_run(tmp_path / "run", server, write_rows(tmp_path / "rows.jsonl", rows), parity="reference")
    finish(run)
    assert sorted(prompt.rpartition("\n\n\n")[2] for prompt in server.asked) == [f"Trial {n}?" for n in range(3)]
    assert all(prompt.count("Trial") == 2 for prompt in server.asked)
    line = json.loads((run.predictions / "evidence_inference.jsonl").read_text().splitlines()[0])
    assert line["prediction"] == "Mine."


def test_two_at_once_would_pay_twice(tmp_path: Path, server: ApiServer, instances: Path):
    run = api_run(tmp_path / "run", server, instances)
    with hold_or_refuse(run.predict_lock, ""), pytest.raises(ValueError, match="another stage asks for these answers"):
        finish(run)
    assert server.asked.total() == 0


@pytest.mark.parametrize("line", ["{", "[]", '{"digest": 5}', '{"digest": "x", "model": "m", "text": "t"}'])
def test_paid_answers_that_are_none(tmp_path: Path, server: ApiServer, instances: Path, line: str):
    run = api_run(tmp_path / "run", server, instances)
    run.paid_answers.parent.mkdir()
    run.paid_answers.write_text(line + "\n")
    with pytest.raises(ValueError, match=r"answers\.jsonl:1: "):
        finish(run)
    assert server.asked.total() == 0


# the batch interface


def batch_of(server: ApiServer, number: int = 0) -> str:
    return list(server.batches)[number]


def finish_batch(server: ApiServer) -> None:
    """From now on a batch has ended when it is looked at."""
    server.batch_behave = lambda looks: "completed" if isinstance(server, OpenAiServer) else "ended"


def kill_in_batch(run: RunDir, server: ApiServer, condition: Any) -> None:
    process = start(run)
    wait_for(condition)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def test_a_batch_costs_half_and_is_collected_once(tmp_path: Path, server: ApiServer, instances: Path):
    run = api_run(tmp_path / "run", server, instances, engine={"batch": True})
    output = finish(run)
    assert "$0.14 at most by estimate" in output
    assert f"batch {batch_of(server)}: " in output
    assert len(server.batches) == 1
    assert set(server.asked.values()) == {1}
    assert len(rows_of(run)) == 12
    assert json.loads(run.paid_answers.read_text().splitlines()[0])["usd"] == 0.00505
    assert not run.answer_batch.exists()
    finish(run)
    assert len(server.batches) == 1


def test_killed_while_the_batch_runs(tmp_path: Path, server: ApiServer, instances: Path):
    server.batch_behave = lambda looks: "in_progress"
    run = api_run(tmp_path / "run", server, instances, engine={"batch": True})
    kill_in_batch(run, server, lambda: server.looks.total() >= 2)
    with pytest.raises(ValueError, match=r"is in flight and would be paid twice: resume with engine\.batch=true"):
        finish(api_run(tmp_path / "run", server, instances))
    finish_batch(server)
    finish(api_run(tmp_path / "run", server, instances, engine={"batch": True}))
    assert len(server.batches) == 1
    assert set(server.asked.values()) == {1}
    assert len(rows_of(run)) == 12


@pytest.mark.parametrize("made", [True, False])
def test_killed_before_the_server_has_said_that_there_is_a_batch(
    tmp_path: Path, server: ApiServer, instances: Path, made: bool
):
    """Others have made batches before and after it, of as many calls; ours is found among them."""
    other = api_run(tmp_path / "other", server, write_instances(tmp_path / "others.jsonl", 12), engine={"batch": True})
    finish(other)
    server.asked.clear()
    path = server.made_at[-1]
    server.trouble[path], server.too_late = Hang(), made
    run = api_run(tmp_path / "run", server, instances, engine={"batch": True})
    kill_in_batch(run, server, lambda: server.posts[path] == 2)
    assert run.answer_batch.exists()
    (other.root / "paid" / "answers.jsonl").unlink()
    finish_batch(server)
    finish(other)
    server.asked.clear()
    assert len(server.batches) == 2 + made
    finish(run)
    assert len(server.batches) == 3
    assert set(server.asked.values()) == {1}
    assert len(rows_of(run)) == 12


@pytest.mark.parametrize("trouble", [Drop(), Error(504), Error(529), Raw(b"{"), Raw(b'{"id": 7}')])
@pytest.mark.parametrize("made", [True, False])
def test_an_answer_to_the_submission_that_says_nothing(
    tmp_path: Path, server: ApiServer, instances: Path, trouble: Any, made: bool
):
    path = server.made_at[-1]
    server.trouble[path], server.too_late = trouble, made
    run = api_run(tmp_path / "run", server, instances, engine={"batch": True})
    finish(run)
    assert len(server.batches) == 1
    assert server.posts[path] == (1 if made else 2)
    assert set(server.asked.values()) == {1}


def test_killed_while_answers_are_collected(tmp_path: Path, server: ApiServer, instances: Path):
    """Some are written, and the batch is not forgotten: the rest comes from the same batch."""
    state: list[bytes] = []
    run = api_run(tmp_path / "run", server, instances, engine={"batch": True})
    seen = server.batch_behave

    def look(looks: int) -> str:
        state.append(run.answer_batch.read_bytes())
        return seen(looks)

    server.batch_behave = look
    finish(run)
    lines = run.paid_answers.read_text().splitlines(keepends=True)
    run.paid_answers.write_text("".join(lines[:5]) + lines[5][:20])
    run.answer_batch.write_bytes(state[-1])
    finish(run)
    assert len(server.batches) == 1
    assert len(run.paid_answers.read_text().splitlines()) == len(rows_of(run)) == 12


def test_what_a_batch_does_not_answer_is_asked_in_the_next(tmp_path: Path, server: ApiServer, instances: Path):
    trouble: dict[str, Any] = {"Question 1?": Error(400, message="odd"), "Question 2?": Hang()}
    server.behave = lambda prompt, nth: trouble.get(prompt, Answer("Yes."))
    expired = {"OpenAiServer": "expired", "AnthropicServer": "ended"}[type(server).__name__]
    server.batch_behave = lambda looks: expired
    run = api_run(tmp_path / "run", server, instances, engine={"batch": True})
    with pytest.raises(ValueError, match="2 of 12 prompts are not answered; "):
        finish(run)
    assert len(rows_of(run)) == 10
    trouble.clear()
    finish(run)
    assert server.asked == {f"Question {n}?": 1 + (n in (1, 2)) for n in range(12)}
    assert len(rows_of(run)) == 12


def test_calls_that_do_not_fit_one_batch(
    tmp_path: Path, server: ApiServer, instances: Path, monkeypatch: pytest.MonkeyPatch
):
    for kind in (AnthropicBatches, OpenAiBatches):
        monkeypatch.setattr(kind, "most_calls", 5)
    run = api_run(tmp_path / "run", server, instances, engine={"batch": True})
    if isinstance(server, OpenAiServer):
        server.batch_behave = lambda looks: "failed"
        with pytest.raises(ValueError, match=r"12 of 12 prompts are not answered; .*the batch batch_0 has failed"):
            finish(run)
        assert len(server.batches) == 1
    finish_batch(server)
    server.batches.clear()
    finish(run)
    assert len(server.batches) == 3
    assert set(server.asked.values()) == {1}
    assert len(rows_of(run)) == 12


def test_killed_between_two_batches_the_rest_is_asked_for_in_the_next_start(
    tmp_path: Path, server: ApiServer, instances: Path, monkeypatch: pytest.MonkeyPatch
):
    """The batch in flight has 5 of 12 calls, so the other 7 are not given up but asked for in another."""
    server.batch_behave = lambda looks: "in_progress"
    few = api_run(tmp_path / "run", server, write_instances(tmp_path / "few.jsonl", 5), engine={"batch": True})
    kill_in_batch(few, server, lambda: server.looks.total() >= 1)
    finish_batch(server)
    run = api_run(tmp_path / "run", server, instances, engine={"batch": True})
    finish(run)
    assert len(server.batches) == 2
    assert set(server.asked.values()) == {1}
    assert len(rows_of(run)) == 12


def test_a_start_that_asks_for_less_throws_no_answer_of_the_batch_away(
    tmp_path: Path, server: ApiServer, instances: Path
):
    server.batch_behave = lambda looks: "in_progress"
    run = api_run(tmp_path / "run", server, instances, engine={"batch": True})
    kill_in_batch(run, server, lambda: server.looks.total() >= 1)
    finish_batch(server)
    finish(api_run(tmp_path / "run", server, instances, engine={"batch": True}, tasks=["bioasq_list_qa"]))
    assert len(rows_of(run)) == 4
    paid = [json.loads(line) for line in run.paid_answers.read_text().splitlines()]
    assert [answer["usd"] for answer in paid] == [0.00505] * 12
    finish(api_run(tmp_path / "run", server, instances, engine={"batch": True}))
    assert len(rows_of(run)) == 12
    assert len(server.batches) == 1
    assert set(server.asked.values()) == {1}


def test_the_cap_counts_what_a_batch_of_an_earlier_start_has_cost(tmp_path: Path, server: ApiServer, instances: Path):
    """Five answers for $0.06, then seven more that may cost $0.084, under a cap of $0.10."""
    server.behave = lambda prompt, nth: Answer("Yes.", 0, 24)
    server.batch_behave = lambda looks: "in_progress"
    engine = {"batch": True, "max_usd": 0.1}
    few = api_run(tmp_path / "run", server, write_instances(tmp_path / "few.jsonl", 5), engine=engine)
    kill_in_batch(few, server, lambda: server.looks.total() >= 1)
    finish_batch(server)
    run = api_run(tmp_path / "run", server, instances, engine=engine)
    with pytest.raises(ValueError, match=r"answering may cost \$0\.14 in all, more than engine\.max_usd=0\.1: raise"):
        finish(run)
    assert len(server.batches) == 1
    assert len(rows_of(run)) == 5


def test_a_batch_that_an_older_version_has_submitted(tmp_path: Path, server: ApiServer, instances: Path):
    """Its file does not say which calls are in it; those that are asked for now are found by their names."""
    server.batch_behave = lambda looks: "in_progress"
    run = api_run(tmp_path / "run", server, instances, engine={"batch": True})
    kill_in_batch(run, server, lambda: server.looks.total() >= 1)
    state = json.loads(run.answer_batch.read_text())
    assert len(state.pop("sent")) == 12
    run.answer_batch.write_text(json.dumps(state))
    finish_batch(server)
    finish(run)
    assert len(server.batches) == 1
    assert len(rows_of(run)) == 12


def test_a_prompt_that_fits_no_batch(
    tmp_path: Path, server: ApiServer, instances: Path, monkeypatch: pytest.MonkeyPatch
):
    for kind in (AnthropicBatches, OpenAiBatches):
        monkeypatch.setattr(kind, "most_bytes", 50)
    with pytest.raises(ValueError, match=r"a prompt of \d+ bytes does not fit a batch of 50"):
        finish(api_run(tmp_path / "run", server, instances, engine={"batch": True}))
    assert server.batches == {}


def test_a_key_that_does_not_open(tmp_path: Path, server: ApiServer, instances: Path):
    server.behave = lambda prompt, nth: Error(401, message=f"wrong key {KEY}")
    run = api_run(tmp_path / "run", server, instances)
    process = start(run)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert output.splitlines()[-1] == f"error: {server.base_url}: 401 wrong key [key]"
