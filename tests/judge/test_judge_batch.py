"""The judge through the batch interface: submitted once, collected once, whatever is killed in between."""

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from api_server import Answer, Drop, Error, Hang, Raw
from judge_runs import QASPER, judge_and_score, make_run, qasper, rows_of, start, wait_for
from openai_server import OpenAiServer

from sciriff.config import Config
from sciriff.judge.__main__ import main
from sciriff.models.api.batch import BatchState, read_state, write_state

JudgedConfig = Callable[..., Config]


def test_a_batch_is_submitted_and_collected(judged: JudgedConfig, capsys: pytest.CaptureFixture[str]):
    def behave(prompt: str, nth: int) -> Answer:
        return Answer("Good.\u2028Rating: 5" if "question 0?" in prompt else "Rating: 1")

    with OpenAiServer(behave) as server:
        config = judged(server, batch=True)
        run = make_run(config, [qasper(n) for n in range(5)])
        scores = judge_and_score(config, run)
        assert len(server.batches) == 1
        assert set(server.asked.values()) == {1}
        main(config, run)
        assert len(server.batches) == 1
    assert scores["summary"]["columns"][f"{QASPER}/lm_judge_answer"]["value"] == pytest.approx(1 / 5)
    assert {row["instance_id"]: row["rating"] for row in rows_of(run)}[f"{QASPER}:0"] == 5
    assert not run.judge_batch.exists()
    assert "batch batch_0: completed" in capsys.readouterr().out


def test_a_batch_costs_half(judged: JudgedConfig):
    with OpenAiServer() as server:
        rows = [qasper(n) for n in range(10)]
        for batch, dollars in ((False, r"0\.06"), (True, r"0\.03")):
            config = judged(server, max_usd=0.01, batch=batch)
            with pytest.raises(ValueError, match=rf"judging may cost \${dollars} in all"):
                main(config, make_run(config, rows))
        assert server.files == {}


def test_killed_while_the_batch_is_submitted(judged: JudgedConfig):
    """The server has made the batch, and its name was never heard."""
    with OpenAiServer() as server:
        server.trouble["/v1/batches"] = Hang()
        config = judged(server, batch=True)
        run = make_run(config, [qasper(n) for n in range(3)])
        process = start(config, run)
        wait_for(lambda: len(server.batches) == 1)
        state = read_state(run.judge_batch)
        assert state is not None
        assert state.batch is None
        assert server.batches["batch_0"]["metadata"] == {"sciriff": state.mark}
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        # others' batches lie before and behind it in the list, which comes in pages
        server.batches = {"other": {"id": "other", "metadata": None}, **server.batches, "last": {"id": "last"}}
        scores = judge_and_score(config, run)
        assert len(server.batches) == 3
        assert set(server.asked.values()) == {1}
    assert scores["tasks"][QASPER]["judge"]["judged"] == 3


def test_killed_while_the_batch_runs(judged: JudgedConfig):
    with OpenAiServer() as server:
        server.batch_behave = lambda looks: "in_progress"
        config = judged(server, batch=True)
        run = make_run(config, [qasper(n) for n in range(3)])
        process = start(config, run)
        wait_for(lambda: server.looks["batch_0"] >= 2)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with pytest.raises(ValueError, match=r"the batch batch_0 is in flight .* resume with judge\.batch=true"):
            main(judged(server), run)
        server.batch_behave = lambda looks: "completed"
        main(config, run)
        assert len(server.batches) == 1
        assert set(server.asked.values()) == {1}
    assert len(rows_of(run)) == 3


def test_a_start_that_judges_less_throws_no_answer_of_the_batch_away(judged: JudgedConfig):
    """Their rows wait for the answers that they are of; those of another model cost that one's price."""
    with OpenAiServer() as server:
        server.batch_behave = lambda looks: "in_progress"
        config = judged(server, batch=True)
        rows = [qasper(n) for n in range(4)]
        run = make_run(config, rows)
        process = start(config, run)
        wait_for(lambda: server.looks["batch_0"] >= 1)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        server.batch_behave = lambda looks: "completed"
        make_run(config, rows[:1])
        other = judged(server, batch=True, model="gpt-4o-mini")
        scored = judge_and_score(other, run)["tasks"][QASPER]["judge"]
        assert (scored["judge"], scored["judged"]) == ("gpt-4o-mini", 1)
        assert len(server.batches) == 2
        make_run(config, rows)
        assert judge_and_score(config, run)["tasks"][QASPER]["judge"]["judged"] == 4
        assert len(server.batches) == 2
    written = rows_of(run)
    assert [row["judge"] for row in written].count("gpt-4o-mini") == 1
    assert len({row["usd"] for row in written}) == 2


def test_killed_while_answers_are_written(judged: JudgedConfig, monkeypatch: pytest.MonkeyPatch):
    """Some rows are there, and the batch is not forgotten: the rest comes from the same batch."""
    with OpenAiServer() as server:
        config = judged(server, batch=True)
        run = make_run(config, [qasper(n) for n in range(4)])
        main(config, run)
        path = run.judgements / f"{QASPER}.jsonl"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]) + '{"half')
        write_state(run.judge_batch, BatchState("mark", "file-0", "batch_0"))
        main(config, run)
        assert len(server.batches) == 1
        assert set(server.asked.values()) == {1}
    assert len(rows_of(run)) == 4


@pytest.mark.parametrize("path", ["/v1/files", "/v1/batches"])
def test_killed_before_the_server_has_done_what_it_was_asked(judged: JudgedConfig, path: str):
    with OpenAiServer() as server:
        server.trouble[path] = Hang()
        server.too_late = False
        config = judged(server, batch=True)
        run = make_run(config, [qasper(n) for n in range(3)])
        process = start(config, run)
        wait_for(lambda: server.posts[path] == 1)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert server.batches == {}
        assert run.judge_batch.exists() == (path == "/v1/batches")
        main(config, run)
        assert len(server.batches) == 1
        assert set(server.asked.values()) == {1}
    assert len(rows_of(run)) == 3


@pytest.mark.parametrize("trouble", [Drop(), Error(504), Error(429), Raw(b"{"), Raw(b'{"id": 7}')])
@pytest.mark.parametrize("made", [True, False])
def test_an_answer_to_the_submission_that_says_nothing(judged: JudgedConfig, trouble: Any, made: bool):
    """Whether there is a batch or not, in the end there is one."""
    with OpenAiServer() as server:
        server.trouble["/v1/batches"] = trouble
        server.too_late = made
        config = judged(server, batch=True)
        run = make_run(config, [qasper(1)])
        main(config, run)
        assert len(server.batches) == 1
        assert server.posts["/v1/batches"] == (1 if made else 2)
    assert len(rows_of(run)) == 1


def test_a_batch_that_is_made_long_after_its_submission_seemed_to_fail(judged: JudgedConfig):
    """The answer is lost, and the server still at work."""
    with OpenAiServer() as server:
        server.trouble["/v1/batches"] = Drop()
        server.seconds_late = 0.4
        config = judged(server, batch=True, poll_seconds=1.5)
        run = make_run(config, [qasper(1)])
        main(config, run)
        assert server.posts["/v1/batches"] == len(server.batches) == 1


def test_a_server_that_wants_to_be_left_alone_may_have_made_the_batch(judged: JudgedConfig):
    with OpenAiServer() as server:
        server.trouble["/v1/batches"] = Error(503, {"Retry-After": "1e9"}, "overloaded")
        config = judged(server, batch=True)
        run = make_run(config, [qasper(1)])
        with pytest.raises(ValueError, match="503 overloaded"):
            main(config, run)
        assert run.judge_batch.exists()
        main(config, run)
        assert len(server.batches) == 1


def test_lines_of_the_result_that_are_broken(judged: JudgedConfig):
    """The others are kept; the batch is not forgotten, so nothing is paid twice without a word."""
    with OpenAiServer() as server:
        server.batch_behave = lambda looks: "in_progress" if looks == 1 else "completed"
        config = judged(server, batch=True)
        run = make_run(config, [qasper(n) for n in range(4)])
        main(config, run)
        path = run.judgements / f"{QASPER}.jsonl"
        path.unlink()
        write_state(run.judge_batch, BatchState("mark", "file-0", "batch_0"))
        name = server.batches["batch_0"]["output_file_id"]
        whole = server.files[name]
        first, second, *others = whole.splitlines()
        server.files[name] = "\n".join([first, second[:50], '{"custom_id": []}', "[]", *others])
        with pytest.raises(ValueError, match=r"3 lines of the batch's result are broken .*or remove .*batch\.json"):
            main(config, run)
        assert len(rows_of(run)) == 3
        server.files[name] = whole
        main(config, run)
        assert len(server.batches) == 1
    assert len(rows_of(run)) == 4
    assert not run.judge_batch.exists()


def test_a_batch_that_the_server_does_not_know(judged: JudgedConfig):
    with OpenAiServer() as server:
        config = judged(server, batch=True)
        run = make_run(config, [qasper(1)])
        write_state(run.judge_batch, BatchState("mark", "file-0", "batch_7"))
        with pytest.raises(ValueError, match=r"404 no such batch; .*batch\.json .*batch_7"):
            main(config, run)
        assert server.posts == {}


@pytest.mark.parametrize("listed", [[], {}, {"data": 5}, {"data": [5]}, {"data": [{"metadata": "x"}]}])
def test_a_list_of_batches_that_is_none(judged: JudgedConfig, monkeypatch: pytest.MonkeyPatch, listed: Any):
    with OpenAiServer() as server:
        monkeypatch.setattr(server, "get", lambda handler: server.send_json(handler, listed))
        config = judged(server, batch=True)
        run = make_run(config, [qasper(1)])
        write_state(run.judge_batch, BatchState("mark", "file-0"))
        with pytest.raises(ValueError, match="not what a batch interface answers"):
            main(config, run)
        assert run.judge_batch.exists()
        assert server.posts == {}


def test_a_submission_that_never_arrived_is_made_again(judged: JudgedConfig):
    with OpenAiServer() as server:
        config = judged(server, batch=True)
        run = make_run(config, [qasper(1)])
        write_state(run.judge_batch, BatchState("a mark that no batch has", "file-9"))
        main(config, run)
        assert len(server.batches) == 1
    assert len(rows_of(run)) == 1


def test_what_a_batch_does_not_answer_is_asked_in_the_next(judged: JudgedConfig):
    """One call is refused, one is left over when the batch runs out of time."""
    trouble: dict[str, Any] = {"question 1?": Error(400, message="odd"), "question 2?": Hang()}

    def behave(prompt: str, nth: int) -> Any:
        return next((action for key, action in trouble.items() if key in prompt), Answer())

    with OpenAiServer(behave) as server:
        server.batch_behave = lambda looks: "expired"
        config = judged(server, batch=True)
        run = make_run(config, [qasper(n) for n in range(4)])
        with pytest.raises(ValueError, match=rf"{QASPER}:\d, {QASPER}:\d are not judged"):
            main(config, run)
        assert len(rows_of(run)) == 2
        assert not run.judge_batch.exists()
        trouble.clear()
        main(config, run)
        assert len(server.batches) == 2
        assert len(server.files[server.batches["batch_1"]["input_file_id"]].splitlines()) == 2
    assert len(rows_of(run)) == 4


def test_a_batch_that_failed_says_why(judged: JudgedConfig):
    with OpenAiServer() as server:
        server.batch_behave = lambda looks: "failed"
        config = judged(server, batch=True)
        run = make_run(config, [qasper(1)])
        with pytest.raises(ValueError, match="the batch batch_0 has failed"):
            main(config, run)


def test_a_server_without_batches(judged: JudgedConfig, monkeypatch: pytest.MonkeyPatch):
    with OpenAiServer() as server:
        monkeypatch.setattr(server, "post", lambda handler: server.send_json(handler, {"detail": "Not Found"}, 404))
        config = judged(server, batch=True)
        run = make_run(config, [qasper(1)])
        with pytest.raises(ValueError, match=r"404 .*Not Found"):
            main(config, run)
        assert not run.judge_batch.exists()


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"mark": 1, "input_file": "f", "batch": null}'])
def test_a_state_file_that_says_nothing(judged: JudgedConfig, text: str):
    with OpenAiServer() as server:
        config = judged(server, batch=True)
        run = make_run(config, [qasper(1)])
        run.judgements.mkdir()
        run.judge_batch.write_text(text)
        with pytest.raises(ValueError, match=r"not a batch in flight .*look it up at the server"):
            main(config, run)
        assert server.files == {}
