"""The judge stage against a server on a real socket: who is asked, what it costs, what stays after a kill."""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from anthropic_server import AnthropicServer
from api_server import KEY, Answer, Drop, Error, Hang, Raw
from judge_runs import MUP, QASPER, judge_and_score, make_run, mup, qasper, rows_of, start, wait_for
from openai_server import OpenAiServer

from sciriff import score
from sciriff.config import Config, as_dict
from sciriff.config.keys import check_values
from sciriff.driver.stages import STAGES
from sciriff.judge.__main__ import main
from sciriff.judge.questions import Rows
from sciriff.models.api.prices import Price
from sciriff.models.api.service import judging_service
from sciriff.run.json_lines import repair_last_line
from sciriff.run.locks import hold_or_refuse
from sciriff.run.run_dir import RunDir
from sciriff.tasks.metrics.judge_rating import sample_of_100

JudgedConfig = Callable[..., Config]
GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden"


def by_number(texts: dict[int, str]) -> Callable[[str, int], Answer]:
    """Responses by the number of the question or paper; a rating of 4 to any other."""

    def behave(prompt: str, nth: int) -> Answer:
        for number, text in texts.items():
            if f"question {number}?" in prompt or f"Paper {number}\n" in prompt:
                return Answer(text)
        return Answer("Fine.\nRating: 4\nDecision: 4")

    return behave


def test_ratings_become_scores_and_everything_is_counted(judged: JudgedConfig, capsys: pytest.CaptureFixture[str]):
    texts = {0: "Same.\nRating: 5", 1: "No idea.", 2: "Rating: 9", 100: "Decision: 3", 101: "Decision: good"}
    rows = [*map(qasper, range(4)), qasper(4, ""), qasper(5, '{"answer": null, "evidence": []}')]
    with OpenAiServer(by_number(texts)) as server:
        config = judged(server)
        scores = judge_and_score(config, make_run(config, [*rows, mup(100), mup(101)]))
        assert server.asked.total() == 6
        assert all(body["model"] == "gpt-4o-2024-08-06" for body in server.bodies)
        assert all("temperature" not in body and body["max_completion_tokens"] == 512 for body in server.bodies)
    columns = scores["summary"]["columns"]
    # 5, two unreadable ones that count as 3, 4, and two missing answers that count as 1
    assert columns[f"{QASPER}/lm_judge_answer"]["value"] == pytest.approx((1 + 0.5 + 0.5 + 0.75 + 0 + 0) / 6)
    assert columns[f"{MUP}/lm_judge_reference"]["value"] == pytest.approx(0.5)
    counts = {"judge": "gpt-4o-2024-08-06", "not_judged": 0}
    assert scores["tasks"][QASPER]["judge"] == {**counts, "judged": 4, "unreadable": 2, "missing_answers": 2}
    assert scores["tasks"][MUP]["judge"] == {**counts, "judged": 2, "unreadable": 1, "missing_answers": 0}
    said = capsys.readouterr().out
    assert "6 calls, about " in said
    assert f"{QASPER}: 4 of 6 answers judged; 2 missing, rated 1 without a call; 2 unreadable" in said
    assert f"{MUP}: 2 of 2 answers judged; 1 unreadable in the response, left out of the mean" in said


@pytest.mark.parametrize("batch", [False, True])
def test_a_judge_at_anthropic(judged: JudgedConfig, batch: bool):
    with AnthropicServer(lambda prompt, nth: Answer("Good.\nRating: 5")) as server:
        model = "claude-haiku-4-5-20251001"
        config = judged(server, provider="anthropic", model=model, batch=batch)
        run = make_run(config, [qasper(n) for n in range(3)])
        main(config, run)
        main(config, run)
        assert set(server.asked.values()) == {1}
        assert {body["model"] for body in server.bodies} == {model}
        assert len(server.batches) == batch
    rows = rows_of(run)
    assert [row["rating"] for row in rows] == [5, 5, 5]
    # 100 tokens of prompt and 10 of response, at 1 and 5 dollars a million, half of it in a batch
    assert {row["usd"] for row in rows} == {0.00015 / (2 if batch else 1)}


def test_what_the_judge_is_asked(judged: JudgedConfig):
    with OpenAiServer() as server:
        config = judged(server)
        main(config, make_run(config, [qasper(3, '{"answer": ["x", "y"]} trailing</s>'), mup(7, "Short.</s>")]))
        prompts = sorted(server.asked, key=len)
    question, summary = sorted(prompts, key=lambda prompt: "<paper>" in prompt)
    for part in ("question 3?", "passage 3\nmore\n", "answer 3", "<answer_to_grade>\nx y\n</answer_to_grade>"):
        assert part in question
    assert "not this one" not in question
    assert question.rstrip().endswith("Rating: N")
    for part in ("Paper 7", "<expert_summary>\nExpert.\n", "<summary_to_grade>\nShort.\n</summary_to_grade>"):
        assert part in summary
    assert summary.rstrip().endswith("Decision: N")
    assert "$" not in question + summary


def test_half_a_character_does_not_reach_the_server(judged: JudgedConfig):
    with OpenAiServer() as server:
        config = judged(server)
        scores = judge_and_score(
            config, make_run(config, [mup(1, "A \ud800 summary."), qasper(1, '{"answer": "\\udfff"}')])
        )
        texts = [body["messages"][-1]["content"] for body in server.bodies]
    assert sum("A \ufffd summary." in text for text in texts) == 1
    assert "\ud800" not in "".join(texts) and "\udfff" not in "".join(texts)
    assert scores["tasks"][MUP]["judge"]["judged"] == scores["tasks"][QASPER]["judge"]["judged"] == 1


def test_only_the_sample_of_mup_is_judged(judged: JudgedConfig, capsys: pytest.CaptureFixture[str]):
    with OpenAiServer(lambda prompt, nth: Answer("Decision: 2")) as server:
        config = judged(server)
        run = make_run(config, [mup(n) for n in range(150)])
        scores = judge_and_score(config, run)
        assert server.asked.total() == 100
    assert sorted(row["instance_id"] for row in rows_of(run, MUP)) == sorted(f"{MUP}:{n}" for n in sample_of_100(150))
    assert scores["tasks"][MUP]["details"]["lm_judge_reference_comparison_n_samples"] == 100
    assert f"{MUP}: 100 of 100 answers judged, a sample of 150" in capsys.readouterr().out


def test_trouble_on_the_way_changes_nothing(judged: JudgedConfig, capsys: pytest.CaptureFixture[str]):
    troubles: list[Any] = [Error(429, {"Retry-After": "0.1"}), Error(500), Raw(b"{"), Drop()]

    def behave(prompt: str, nth: int) -> Any:
        return troubles.pop(0) if troubles else Answer("Rating: 4")

    with OpenAiServer(behave) as server:
        config = judged(server)
        run = make_run(config, [qasper(n) for n in range(10)])
        scores = judge_and_score(config, run)
        assert set(server.answered.values()) == {1}
        assert server.asked.total() == 14
    assert len(rows_of(run)) == 10
    assert scores["summary"]["columns"][f"{QASPER}/lm_judge_answer"]["value"] == pytest.approx(0.75)
    said = "calls that were made again: 1 x broken response, 1 x no response, 1 x status 429, 1 x status 500"
    assert said in capsys.readouterr().out


def test_a_rerun_pays_for_nothing_twice(judged: JudgedConfig):
    with OpenAiServer() as server:
        config = judged(server)
        rows = [qasper(n) for n in range(4)]
        run = make_run(config, rows)
        main(config, run)
        before = (run.judgements / f"{QASPER}.jsonl").read_bytes()
        main(config, run)
        assert (run.judgements / f"{QASPER}.jsonl").read_bytes() == before
        changed = [*rows[:3], qasper(3, '{"answer": "another"}')]
        scores = judge_and_score(config, make_run(config, changed))
        assert server.asked.total() == 5
        assert (run.judgements / f"{QASPER}.jsonl").read_bytes().startswith(before), "rows are only added"
        assert scores["tasks"][QASPER]["judge"]["judged"] == 4
        judge_and_score(config, make_run(config, rows))
        assert server.asked.total() == 5, "the first answers' row is still there"
        main(judged(server, model="gpt-4.1"), run)
        assert server.asked.total() == 9, "another judge is asked anew"


def test_equal_prompts_are_asked_once(judged: JudgedConfig):
    with OpenAiServer() as server:
        config = judged(server)
        twins = [qasper(1), replace(qasper(1), instance_id="twin")]
        run = make_run(config, twins)
        scores = judge_and_score(config, run)
        assert server.asked.total() == 1
    assert scores["tasks"][QASPER]["judge"]["judged"] == 2
    assert [(row["instance_id"], row["input_tokens"]) for row in rows_of(run)] == [(f"{QASPER}:1", 100), ("twin", 0)]


def test_a_response_that_was_cut_off_is_asked_for_again_with_more_room(
    judged: JudgedConfig, capsys: pytest.CaptureFixture[str]
):
    """Two instances ask the same; question 1 needs 600 tokens to come to a rating, the others 10."""

    def behave(prompt: str, nth: int) -> Answer:
        limit = server.bodies[-1]["max_completion_tokens"]
        if "question 1?" in prompt:
            return Answer("Well,", 100, limit, "length") if limit < 600 else Answer("Rating: 1", 100, 600)
        return Answer("Rating: 5")

    with OpenAiServer(behave) as server:
        config = judged(server, max_tokens=20)
        run = make_run(config, [qasper(0), qasper(1), replace(qasper(1), instance_id="twin")])
        assert judge_and_score(config, run)["tasks"][QASPER]["judge"]["unreadable"] == 2
        said = "2 of these ran into judge.max_tokens=20, and a larger one asks for them again"
        assert said in capsys.readouterr().out
        main(config, run)
        assert server.asked.total() == 2
        first = STAGES["judge"].inputs(config, run)
        config = judged(server, max_tokens=500)
        assert STAGES["judge"].inputs(config, run) != first
        main(config, run)
        assert server.asked.total() == 3
        config = judged(server, max_tokens=600)
        scores = judge_and_score(config, run)
        assert scores["tasks"][QASPER]["judge"]["unreadable"] == 0
        assert scores["summary"]["columns"][f"{QASPER}/lm_judge_answer"]["value"] == pytest.approx(1 / 3)
        assert server.asked.total() == 4
        main(judged(server, max_tokens=20), run)
        assert server.asked.total() == 4
        spent = Rows.read(run, 600).spent("another", Price(0, 0))
        assert spent == pytest.approx(sum(2.5 * 100 + 10 * n for n in (10, 20, 500, 600)) / 1e6), "all are paid for"
    assert [row["limit"] for row in rows_of(run)] == [20, 20, 20, 500, 500, 600, 600]


def test_a_question_that_a_filter_holds_back(judged: JudgedConfig, capsys: pytest.CaptureFixture[str]):
    held = Error(400, message="flagged", code="content_filter")
    with OpenAiServer(lambda prompt, nth: held if "question 1?" in prompt else Answer("Rating: 5")) as server:
        config = judged(server)
        run = make_run(config, [qasper(0), qasper(1)])
        scores = judge_and_score(config, run)
        main(config, run)
        assert server.asked.total() == 2
    assert scores["tasks"][QASPER]["judge"]["unreadable"] == 1
    assert "1 unreadable in the response, counted as 3; 1 of these held back by a filter" in capsys.readouterr().out


def test_an_answer_that_is_missing_changes_none_of_those_that_are_drawn(judged: JudgedConfig):
    with OpenAiServer(lambda prompt, nth: Answer("Decision: 4")) as server:
        config = replace(judged(server), allow_missing=True)
        drawn = {f"{MUP}:{n}" for n in sample_of_100(150)}
        run = make_run(config, [mup(n) for n in range(150) if n != 10])
        run.expected.write_text(json.dumps({MUP: [f"{MUP}:{n}" for n in range(150)]}))
        scores = judge_and_score(config, run)
        assert {row["instance_id"] for row in rows_of(run, MUP)} == drawn - {f"{MUP}:10"}
    assert scores["tasks"][MUP]["judge"]["not_judged"] == 0


def test_a_killed_stage_asks_nothing_twice(judged: JudgedConfig):
    stuck: Any = Hang()

    def behave(prompt: str, nth: int) -> Any:
        return stuck if server.answered.total() == 3 else Answer()

    with OpenAiServer(behave) as server:
        config = judged(server, max_concurrency=1)
        run = make_run(config, [qasper(n) for n in range(8)])
        process = start(config, run)
        wait_for(lambda: server.asked.total() == 4)
        assert len(rows_of(run)) == 3, "an answer is on the disk before the next question is asked"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with (run.judgements / f"{QASPER}.jsonl").open("a") as file:
            file.write('{"instance_id": "qasper_abs')  # as a kill in the middle of a write leaves it
        stuck = Answer()
        process = start(config, run)
        output = process.communicate(timeout=60)[0]
        assert process.returncode == 0, output
        assert set(server.answered.values()) == {1}
        assert server.asked.total() == 8 + 1, "only the call that the kill cut off was made again"
    assert "its last line was only half written" in output
    assert "5 calls" in output
    rows = rows_of(run)
    assert len({row["instance_id"] for row in rows}) == len(rows) == 8


def test_ctrl_c_ends_at_once_and_leaves_whole_rows(judged: JudgedConfig):
    """Although answers are awaited for two minutes yet, and most questions were not asked."""

    def behave(prompt: str, nth: int) -> Any:
        return Answer() if len(server.asked) <= 3 else Hang()

    with OpenAiServer(behave) as server:
        config = judged(server, max_concurrency=2)
        run = make_run(config, [qasper(n) for n in range(8)])
        process = start(config, run)
        wait_for(lambda: server.asked.total() == 5)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode != 0
        assert server.asked.total() == 5
    text = (run.judgements / f"{QASPER}.jsonl").read_text()
    assert text.endswith("\n")
    assert len(rows_of(run)) == 3


def test_a_second_judge_is_refused(judged: JudgedConfig):
    with OpenAiServer() as server:
        config = judged(server)
        run = make_run(config, [qasper(1)])
        with (
            hold_or_refuse(run.judge_lock, ""),
            pytest.raises(ValueError, match="another judge is at work"),
        ):
            main(config, run)
        assert server.asked.total() == 0
        main(config, run)
    assert len(rows_of(run)) == 1


@pytest.mark.parametrize(
    "message",
    [
        {"content": ""},
        {"content": None},
        {"content": None, "refusal": "I cannot rate this. Rating: yes"},
        {"content": "\x00\ud800 \u2028 Rating:"},
    ],
)
def test_an_answer_that_says_nothing_is_an_unreadable_rating(judged: JudgedConfig, message: dict[str, Any]):
    """And is paid for, so it is not asked again."""
    body = json.dumps({"choices": [{"message": message, "finish_reason": "content_filter"}]})
    with OpenAiServer(lambda prompt, nth: Raw(body.encode())) as server:
        config = judged(server)
        run = make_run(config, [qasper(1)])
        for _ in range(2):
            scores = judge_and_score(config, run)
        assert server.asked.total() == 1
    assert scores["tasks"][QASPER]["judge"]["unreadable"] == 1
    assert scores["summary"]["columns"][f"{QASPER}/lm_judge_answer"]["value"] == 0.5


@pytest.mark.parametrize("begins", ["<think>\n", ""])
def test_a_thought_that_the_server_leaves_in_the_response_rates_nothing(judged: JudgedConfig, begins: str):
    """Servers without a reasoning parser do, and without its beginning where their template writes that."""
    content = begins + "Rating: 1 would be too low.\n</think>\n\nRating: 5"
    body = json.dumps({"choices": [{"message": {"content": content}, "finish_reason": "stop"}]})
    with OpenAiServer(lambda prompt, nth: Raw(body.encode())) as server:
        config = judged(server)
        scores = judge_and_score(config, make_run(config, [qasper(1)]))
    assert scores["summary"]["columns"][f"{QASPER}/lm_judge_answer"]["value"] == 1


def test_a_response_without_a_word_is_counted_by_name(judged: JudgedConfig, capsys: pytest.CaptureFixture[str]):
    body = json.dumps({"choices": [{"message": {"content": None}, "finish_reason": "stop"}]})
    with OpenAiServer(lambda prompt, nth: Raw(body.encode())) as server:
        config = judged(server)
        main(config, make_run(config, [qasper(1)]))
        assert server.asked.total() == 1
    assert "1 unreadable in the response" in (out := capsys.readouterr().out)
    assert "1 of these ended without a word of text" in out


def test_rows_say_what_they_cost_and_the_cap_counts_them_all(judged: JudgedConfig):
    """Half of it in a batch, and another judge's, too."""
    with OpenAiServer(lambda prompt, nth: Answer(input_tokens=100_000, output_tokens=10_000)) as server:
        batch = judged(server, batch=True)
        run = make_run(batch, [qasper(1)])
        main(batch, run)
        make_run(batch, [qasper(1), qasper(2)])
        main(judged(server), run)
        assert [row["usd"] for row in rows_of(run)] == [0.175, 0.35]
        with pytest.raises(ValueError, match=r"judging may cost \$0\.5\d in all, more than judge\.max_usd=0\.5"):
            main(judged(server, model="gpt-4.1-nano", max_usd=0.5), run)
        unpriced = judged(server, model="unheard-of", max_usd=None)
        main(unpriced, run)
        assert [row["usd"] for row in rows_of(run)][2:] == [None, None]
        priced = judged(server, model="unheard-of", input_usd=1, output_usd=1)
        price = judging_service(priced.judge).price()
        assert price is not None
        assert Rows.read(run, 512).spent("unheard-of", price) == pytest.approx(0.525 + 0.22)
        assert Rows.read(run, 512).spent("gpt-4.1", price) == pytest.approx(0.525)


@pytest.mark.parametrize("usd", ['"1"', "-1", "NaN", "1e999", "true"])
def test_a_cost_that_is_none(judged: JudgedConfig, usd: str):
    with OpenAiServer() as server:
        config = judged(server)
        run = make_run(config, [qasper(1)])
        main(config, run)
        path = run.judgements / f"{QASPER}.jsonl"
        path.write_text(path.read_text().replace('"usd": 0.00035', f'"usd": {usd}'))
        with pytest.raises(ValueError, match=r":1: usd=.*: (expected float|number out of range)"):
            main(config, run)


def test_the_cap_refuses_before_anything_is_spent(judged: JudgedConfig):
    with OpenAiServer() as server:
        config = judged(server, max_usd=0.01)
        run = make_run(config, [qasper(n) for n in range(10)])
        with pytest.raises(ValueError, match=r"judging may cost \$0\.\d\d in all, more than judge\.max_usd=0\.01"):
            main(config, run)
        assert server.asked.total() == 0


def test_the_cap_stops_what_costs_more_than_was_thought_and_a_higher_one_goes_on(judged: JudgedConfig):
    # 4 calls of at most 512 tokens are estimated at 0.02 dollars; each costs 0.1
    with OpenAiServer(lambda prompt, nth: Answer(output_tokens=10_000)) as server:
        config = judged(server, max_usd=0.15, max_concurrency=1)
        run = make_run(config, [qasper(n) for n in range(4)])
        with pytest.raises(ValueError, match=r"max_usd=0\.15 is used up and 2 answers are not judged"):
            main(config, run)
        assert server.asked.total() == 2
        with pytest.raises(ValueError, match=r"judging may cost \$0\.\d\d in all"):
            main(config, run)
        assert server.asked.total() == 2, "what earlier starts spent counts"
        with pytest.raises(ValueError, match=r"max_usd=0\.25 is used up and 1 answers are not judged"):
            main(judged(server, max_usd=0.25, max_concurrency=1), run)
        assert server.asked.total() == 3, "there too where the cap is met on the way"
        main(judged(server, max_usd=1), run)
        assert set(server.asked.values()) == {1}


def test_a_call_that_is_refused_is_named_and_the_rest_kept(judged: JudgedConfig, capsys: pytest.CaptureFixture[str]):
    def behave(prompt: str, nth: int) -> Any:
        return Error(400, message="too long for me") if "question 2?" in prompt else Answer()

    with OpenAiServer(behave) as server:
        config = judged(server)
        run = make_run(config, [qasper(n) for n in range(4)])
        with pytest.raises(ValueError, match=rf"{QASPER}:2 is not judged; .*: 400 too long for me.*allow_missing=true"):
            main(config, run)
        assert len(rows_of(run)) == 3
        scores = judge_and_score(replace(judged(server), allow_missing=True), run)
        assert "too long for me" in capsys.readouterr().out
    assert scores["tasks"][QASPER]["judge"]["not_judged"] == 1


def test_judgements_of_other_answers_are_not_scored(judged: JudgedConfig):
    with OpenAiServer() as server:
        config = judged(server)
        run = make_run(config, [qasper(1), mup(1)])
        main(config, run)
        make_run(config, [qasper(1, '{"answer": "another"}'), mup(1)])
        with pytest.raises(ValueError, match="the judge rated other answers than these; run the judge stage again"):
            score.main(config, run)


@pytest.mark.parametrize(
    ("before", "after", "cut"),
    [
        (b"", b"", False),
        (b'{"a": 1}\n', b'{"a": 1}\n', False),
        (b'{"a": 1}\n{"b": 2}', b'{"a": 1}\n{"b": 2}\n', False),
        (b'{"a": 1}\n{"b": "caf\xc3', b'{"a": 1}\n', True),
        (b'{"a', b"", True),
        (b"7", b"", True),
    ],
)
def test_a_half_written_last_line_is_repaired(tmp_path: Path, before: bytes, after: bytes, cut: bool):
    path = tmp_path / "x.jsonl"
    path.write_bytes(before)
    assert repair_last_line(path) == cut
    assert path.read_bytes() == after
    assert not repair_last_line(tmp_path / "none")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r":1: not a line of JSON"),
        ('{"instance_id": "x", "rating": 4}', ":1: .* is missing; not a judgement as this stage writes them"),
    ],
)
def test_rows_that_the_stage_cannot_go_on_from(judged: JudgedConfig, line: str, message: str):
    with OpenAiServer() as server:
        config = judged(server)
        run = make_run(config, [qasper(1)])
        run.judgements.mkdir()
        (run.judgements / f"{QASPER}.jsonl").write_text(line + "\n")
        with pytest.raises(ValueError, match=message):
            main(config, run)
        assert server.asked.total() == 0


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"base_url": "https://me:secret@host/v1"}, "judge.base_url must be http"),
        ({"base_url": "https://host/v1?key=secret"}, "judge.base_url must be http"),
        ({"base_url": "host"}, "judge.base_url must be http"),
        ({"base_url": "http://[::1/v1"}, "judge.base_url must be http"),
        ({"base_url": "http://]/v1"}, "judge.base_url must be http"),
        ({"base_url": "http://host:99999/v1"}, "judge.base_url must be http"),
        ({"api_key_env": "sk-1234"}, "must be the name of an environment variable"),
        ({"input_usd": 1}, "judge.input_usd and judge.output_usd must be given together"),
        ({"max_concurrency": 0}, r"judge.max_concurrency=0 must be at least"),
        ({"timeout": 0}, r"judge.timeout=0.* must be above 0"),
        ({"model": None}, "judge=openai needs judge.model"),
        ({"provider": "open"}, "judge.provider=open is not known"),
    ],
)
def test_settings_that_are_refused(judged: JudgedConfig, setting: dict[str, Any], message: str):
    with OpenAiServer() as server:
        judge = judged(server).judge
    with pytest.raises(ValueError, match=message) as caught:
        check_values({"judge": as_dict(replace(judge, **setting))})
    assert "secret" not in str(caught.value)
    assert "sk-1234" not in str(caught.value)


def test_a_judge_without_its_key_is_refused_before_the_first_stage(
    cli: Callable[..., Any], monkeypatch, tmp_path: Path
):
    monkeypatch.delenv("OPENAI_API_KEY")
    (tmp_path / "p").mkdir()
    command = ("train=none", "model=tiny", "predictions=p", "run_dir=out", "log=none", "judge=openai")
    result = cli(*command)
    assert result.returncode == 2
    assert "judge=openai needs a key in the environment variable OPENAI_API_KEY" in result.stderr


def test_a_judge_whose_price_is_not_known(judged: JudgedConfig, capsys: pytest.CaptureFixture[str]):
    """A cap would mean nothing, and says so; without one, what the calls cost stays unsaid and they are made."""
    with OpenAiServer() as server:
        config = judged(server, model="unheard-of")
        run = make_run(config, [qasper(1)])
        with pytest.raises(
            ValueError, match=r"judge\.max_usd=10 cannot hold: the price of unheard-of is not known here"
        ):
            main(config, run)
        main(judged(server, model="unheard-of", max_usd=None), run)
    assert "1 calls, about " in (said := capsys.readouterr().out)
    assert "at a price not known here, $0.00 spent before" in said


@pytest.mark.parametrize("key", ["sk-with a-blank", "sk-with\nanother-line", "sk-ünusual"])
def test_a_key_that_no_header_takes_is_not_shown(judged: JudgedConfig, monkeypatch: pytest.MonkeyPatch, key: str):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with OpenAiServer() as server:
        config = judged(server)
        run = make_run(config, [qasper(1)])
        with pytest.raises(ValueError, match="OPENAI_API_KEY holds characters that no key has") as caught:
            main(config, run)
    assert "sk-" not in str(caught.value)


def test_a_run_without_a_judge_has_no_such_stage(composed: Callable[..., Config], tmp_path: Path):
    config = composed("experiment=demo", f"run_dir={tmp_path}")
    with pytest.raises(ValueError, match="this run has no judge; add judge=openai, local or recorded"):
        main(config, make_run(config, [qasper(1)]))


@pytest.mark.slow
def test_the_key_is_found_nowhere_below_the_run(cli: Callable[..., Any], tmp_path: Path):
    """The server repeats it in an answer and in an error. The whole job: judge, scores, report, an offline tracker."""

    def behave(prompt: str, nth: int) -> Any:
        if nth == 1 and "question 1?" in prompt:
            return Error(500, message=f"what is {KEY}?")
        return Answer(f"Your key is {KEY}.\nRating: 5\nDecision: 5")

    with OpenAiServer(behave) as server:
        rows = [qasper(1), qasper(2), mup(1)]
        for task in (QASPER, MUP):
            path = tmp_path / "given" / f"{task}.jsonl"
            path.parent.mkdir(exist_ok=True)
            path.write_text("".join(json.dumps(vars(row)) + "\n" for row in rows if row.task == task))
        settings = ("train=none", "model=tiny", "predictions=given", "run_dir=out", "log=offline", "judge=openai")
        result = cli(*settings, f"judge.base_url={server.base_url}")
        assert result.returncode == 0, result.stderr
        assert server.keys == {f"Bearer {KEY}"}
    found = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {"config.yaml", "scores.json", "report.html", "judge.log"} <= {path.name for path in found}
    assert any("wandb" in path.parts for path in found)
    assert [path for path in found if KEY.encode() in path.read_bytes()] == []
    assert KEY not in result.stdout + result.stderr
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["summary"]["columns"][f"{QASPER}/lm_judge_answer"]["value"] == 1
    assert "1 x status 500" in (tmp_path / "out" / "logs" / "judge.log").read_text()


@pytest.mark.slow
def test_the_driver_removes_no_judgement(cli: Callable[..., Any], tmp_path: Path):
    """Another judge, another cap: the folder takes them, and what was paid for stays."""
    path = tmp_path / "given" / f"{QASPER}.jsonl"
    path.parent.mkdir()
    path.write_text(json.dumps(vars(qasper(1))) + "\n")
    command = ("train=none", "model=tiny", "predictions=given", "run_dir=out", "log=none")
    with OpenAiServer() as server:
        command = (*command, "judge=openai", f"judge.base_url={server.base_url}")
        assert "judge: done" in cli(*command, "stages=[judge]").stderr
        assert "judge: up to date" in cli(*command, "stages=[judge]", "judge.max_usd=20").stderr
        result = cli(*command, "stages=[judge,score]", "judge.model=gpt-4.1")
        assert "judge: its judge changed, so it runs again on what it has" in result.stderr
        assert "judged by gpt-4.1: 1 answers" in result.stdout
        assert server.asked.total() == 2
    assert [row["judge"] for row in rows_of(RunDir(tmp_path / "out"))] == ["gpt-4o-2024-08-06", "gpt-4.1"]


def test_a_local_judge_needs_no_key_and_costs_nothing(composed, tmp_path: Path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with OpenAiServer() as server:
        config = composed(
            "experiment=demo", f"run_dir={tmp_path / 'run'}", "judge=local", f"judge.base_url={server.base_url}/"
        )
        main(config, make_run(config, [qasper(1)]))
        assert server.keys == {None}
        assert server.bodies[0]["max_tokens"] == 512


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the reference's results are not here")
def test_recorded_responses_give_the_numbers_of_the_reference(composed, tmp_path: Path):
    for task in (QASPER, MUP):
        path = tmp_path / "given" / f"{task}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes((GOLDEN / task / "perturbed" / "predictions.jsonl").read_bytes())
    config = composed(
        "experiment=demo",
        f"run_dir={tmp_path / 'run'}",
        f"predictions={tmp_path / 'given'}",
        "judge=recorded",
        f"judge.path={GOLDEN}",
        "eval.parity=reference",
        "eval.resamples=0",
    )
    run = RunDir(tmp_path / "run")
    run.root.mkdir()
    for _ in range(2):
        scores = judge_and_score(config, run)
    assert len(rows_of(run, MUP)) == 100, "a second start adds nothing"
    for task, column in ((QASPER, "lm_judge_answer"), (MUP, "lm_judge_reference")):
        expected = json.loads((GOLDEN / task / "perturbed" / "expected.json").read_text())
        value = scores["summary"]["columns"][f"{task}/{column}"]["value"]
        assert value == pytest.approx(expected["summary"][column], abs=1e-9)
    details = scores["tasks"][MUP]["details"]
    assert details["lm_judge_reference_comparison_n_samples"] == 40


def test_recorded_responses_of_another_set(composed, tmp_path: Path):
    row = {"custom_id": "task-0", "response": {"body": {"choices": [{"message": {"content": "Rating: 5"}}]}}}
    config = composed("experiment=demo", f"run_dir={tmp_path / 'run'}", "judge=recorded", f"judge.path={tmp_path}")
    run = make_run(config, [qasper(1), qasper(2)])
    (tmp_path / QASPER).mkdir()
    path = tmp_path / QASPER / "lm_judge_raw.json"
    path.write_text(json.dumps([row]))
    with pytest.raises(ValueError, match="1 responses, but 2 of these answers are judged"):
        main(config, run)
    path.write_text(json.dumps([row, {"response": None}]))
    with pytest.raises(ValueError, match=r"lm_judge_raw\.json: not the responses of a judge"):
        main(config, run)
    path.write_text(json.dumps([row, row]))
    assert judge_and_score(config, run)["summary"]["columns"][f"{QASPER}/lm_judge_answer"]["value"] == 1


def test_every_sample_is_judged_and_more_of_them_ask_for_theirs_alone(judged: JudgedConfig):
    texts = ["Short.", "Longer.", "Short.", "Longest."]
    with OpenAiServer(lambda prompt, nth: Answer("Decision: 4")) as server:
        config = judged(server)
        run = make_run(config, [mup(n, texts[0]) for n in (100, 101)])
        judge_and_score(config, run)
        samples = [replace(mup(n, text), sample=k) for n in (100, 101) for k, text in enumerate(texts, 1)]
        make_run(config, [row for row in samples if row.sample in (1, 2)])
        assert judge_and_score(config, run)["tasks"][MUP]["judge"]["judged"] == 4
        assert server.asked.total() == 4, "the first answers are judged already"
        make_run(config, samples)
        scores = judge_and_score(config, run)
        assert server.asked.total() == 6, "a sample that says the same as another has its rating"
        main(config, run)
        assert server.asked.total() == 6
    assert scores["tasks"][MUP]["judge"]["judged"] == 8
    column = scores["summary"]["columns"][f"{MUP}/lm_judge_reference"]
    low, high = column.pop("ci95")
    assert column == {"value": 0.75, "sd_over_samples": 0.0}
    assert low < 0.1 and high > 0.9, "two equal ratings say nothing of the others"
    rows = rows_of(run, MUP)
    assert [row.get("sample") for row in rows if row["instance_id"].endswith(":100")] == [None, 2, 3, 4]
    asked = json.loads(run.asked_of_judge.read_text())[MUP]["prompts"]
    assert asked[f"{MUP}:100"].keys() == {"1", "2", "3", "4"}
    # other answers than those that were judged are refused, whichever sample they are of
    make_run(config, [replace(row, prediction="Other.") if row.sample == 3 else row for row in samples])
    with pytest.raises(ValueError, match="the judge rated other answers than these"):
        score.main(config, run)
