"""Samples: several answers to each prompt, each drawn from random numbers of its own, none made or paid for twice."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from api_runs import KEY_NAME, SERVERS, api_model, api_run, write_instances
from api_server import KEY, Answer, ApiServer
from openai_server import OpenAiServer
from predict_runs import files_of, finish, make_run, row, tiny_model, write_rows

from sciriff.config import EngineConfig
from sciriff.data.records import AnswerKey, Prediction
from sciriff.models.engines import Sampling
from sciriff.models.engines.sampling import random_bits, seed_of, stream_of
from sciriff.models.engines.transformers import draw, most_likely
from sciriff.run.json_lines import read_jsonl
from sciriff.run.run_dir import RunDir

TASKS = ("bioasq_list_qa", "scierc_ner", "scifact_entailment")
WARM = EngineConfig(name="transformers", temperature=0.9, top_p=0.95, batch_tokens=400)


@pytest.fixture
def instances(tmp_path: Path) -> Path:
    """Six prompts of three tasks."""
    rows = [row(f"{TASKS[i % 3]}:v:{i}", f"Find the names.\n\n{'word ' * (i % 7)}{i}\n\nWhich?") for i in range(6)]
    return write_rows(tmp_path / "instances.jsonl", rows)


def answers_of(run: RunDir) -> dict[AnswerKey, Prediction]:
    paths = [run.predictions / f"{task}.jsonl" for task in TASKS]
    return {one.key: one for path in paths if path.exists() for one in read_jsonl(path, Prediction)}


def lines_of(run: RunDir) -> dict[AnswerKey, bytes]:
    """Answer -> its line as it is on the disk."""
    paths = [run.predictions / f"{task}.jsonl" for task in TASKS]
    lines = [line for path in paths if path.exists() for line in path.read_bytes().splitlines()]
    return {Prediction(**json.loads(line)).key: line for line in lines}


def test_random_numbers_are_a_function_of_seed_instance_sample_and_step() -> None:
    """The numbers themselves, which no version of anything may change: answers that are made again must come out so."""
    stream = stream_of(42, "scierc_ner", ("scierc_ner:v:0", 1))
    assert random_bits(stream, 0, 3).tolist() == [1239374806, 107497994, -718668781]
    assert seed_of(stream) == 2110849077
    others = [
        stream_of(43, "scierc_ner", ("scierc_ner:v:0", 1)),
        stream_of(42, "biored_ner", ("scierc_ner:v:0", 1)),
        stream_of(42, "scierc_ner", ("scierc_ner:v:1", 1)),
        stream_of(42, "scierc_ner", ("scierc_ner:v:0", 2)),
    ]
    first = {tuple(random_bits(one, step, 4).tolist()) for one in (stream, *others) for step in range(3)}
    assert len(first) == 15


def test_tokens_are_drawn_by_their_probabilities() -> None:
    """Each token's share of 20,000 draws is within four standard errors of its probability, and what nucleus sampling
    leaves out is never drawn."""
    logits = torch.tensor([[2.0, 0.5, 1.0, -1.0, 1.5]])
    streams = [stream_of(1, "task", (str(n), 1)) for n in range(20_000)]
    for top_p, left in ((1.0, [0, 1, 2, 3, 4]), (0.9, [0, 2, 4])):
        drawn = draw(logits.expand(len(streams), -1), Sampling(0.7, top_p, streams), step=3)
        counts = torch.bincount(drawn, minlength=5) / len(streams)
        due = torch.zeros(5)
        due[left] = (logits[0, left] / 0.7).softmax(dim=0)
        assert (counts - due).abs().max() < 4 * 0.5 / len(streams) ** 0.5
        assert counts[due == 0].sum() == 0


def test_nucleus_sampling_keeps_the_fewest_tokens_with_that_share() -> None:
    scores = torch.tensor([[0.1, 0.5, 0.25, 0.15], [0.25, 0.25, 0.25, 0.25]]).log()
    assert most_likely(scores, 0.7).isinf().tolist() == [[True, False, False, True], [False, False, False, True]]
    assert most_likely(scores, 0.01).isinf().sum(dim=1).tolist() == [3, 3], "one token at least"
    assert most_likely(scores, 1.0).isinf().sum() == 0


@pytest.mark.slow
def test_samples_have_rows_of_their_own_and_more_of_them_leave_the_first_as_they_are(
    tmp_path: Path, instances: Path
) -> None:
    single = make_run(tmp_path / "single", path=str(instances), engine=WARM)
    finish(single)
    assert all(b'"sample"' not in line for line in lines_of(single).values()), "one answer is no sample"
    # two, then four: what is here stays to the byte, but that the first answer is now the first of several
    run = make_run(tmp_path / "run", path=str(instances), engine=WARM)
    finish(run)
    output = finish(make_run(tmp_path / "run", path=str(instances), engine=WARM, samples=2))
    assert "2 samples of each answer: 12 answers" in output
    assert "6 answers are here already" in output
    two = lines_of(run)
    assert list(two) == [(i, n) for (i, _) in lines_of(single) for n in (1, 2)]
    assert [json.loads(line)["sample"] for line in two.values()] == [1, 2] * 6
    assert "12 answers are here already" in finish(
        make_run(tmp_path / "run", path=str(instances), engine=WARM, samples=4)
    )
    four = lines_of(run)
    assert len(four) == 24
    assert {key: four[key] for key in two} == two
    assert json.loads(run.expected.read_text())["samples"] == 4
    texts = {i: [answers_of(run)[i, n].prediction for n in (1, 2, 3, 4)] for i, n in four if n == 1}
    assert all(len(set(given)) > 1 for given in texts.values())
    assert {i: given[0] for i, given in texts.items()} == {
        i: one.prediction for (i, _), one in answers_of(single).items()
    }
    # all at once, in other batches, the answers are the same
    at_once = make_run(tmp_path / "at once", path=str(instances), engine=replace(WARM, batch_tokens=3000), samples=4)
    finish(at_once)
    assert lines_of(at_once) == four
    # fewer again: the others are kept aside, for when they are asked for again
    assert "6 answers are here already" in finish(make_run(tmp_path / "run", path=str(instances), engine=WARM))
    assert lines_of(run) == lines_of(single)
    assert "24 answers are here already" in finish(
        make_run(tmp_path / "run", path=str(instances), engine=WARM, samples=4)
    )
    assert lines_of(run) == four


@pytest.mark.slow
def test_other_settings_of_chance_make_other_answers(tmp_path: Path, instances: Path) -> None:
    folder, asked = tmp_path / "run", {"path": str(instances), "limit": 1, "samples": 2}
    finish(make_run(folder, engine=WARM, **asked))
    assert "another sampling: starting afresh" in finish(
        make_run(folder, engine=replace(WARM, temperature=1.0), **asked)
    )
    finish(make_run(folder, engine=WARM, **asked))
    warm = answers_of(RunDir(folder))
    greedy = make_run(folder, path=str(instances), limit=1)
    assert "another engine and sampling: starting afresh" in finish(greedy)
    assert "sampling" not in json.loads(greedy.answered_with.read_text())
    assert {one.prediction for one in warm.values()} != {one.prediction for one in answers_of(greedy).values()}


@pytest.mark.slow
def test_what_a_kill_has_lost_is_drawn_again_as_it_was(tmp_path: Path, instances: Path) -> None:
    run = make_run(tmp_path / "run", path=str(instances), engine=WARM, samples=3)
    finish(run)
    before = files_of(run)
    path = run.predictions / "scierc_ner.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]) + b'{"task": "scierc_ner", "inst')
    assert "answers are here already" in finish(run)
    assert files_of(run) == before


def test_a_prompt_that_is_too_long_is_skipped_in_every_sample(tmp_path: Path) -> None:
    rows = [row("scierc_ner:v:0", "word " * 400), row("scierc_ner:v:1", "Which?")]
    path = write_rows(tmp_path / "instances.jsonl", rows)
    run = make_run(tmp_path / "run", path=str(path), engine=WARM, samples=2, truncation="skip")
    finish(run)
    skipped = [key for key, one in answers_of(run).items() if one.finish_reason == "skipped"]
    assert skipped == [("scierc_ner:v:0", 1), ("scierc_ner:v:0", 2)]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv(KEY_NAME, KEY)


@pytest.fixture(params=["openai", "anthropic"])
def server(request: pytest.FixtureRequest, environment: None) -> Iterator[ApiServer]:
    with SERVERS[request.param](lambda prompt, nth: Answer(f"Answer {nth} to {prompt}", 100, 10)) as started:
        yield started


@pytest.mark.parametrize("batch", [False, True])
def test_no_sample_is_paid_for_twice(tmp_path: Path, server: ApiServer, batch: bool) -> None:
    instances = write_instances(tmp_path / "instances.jsonl", 6)
    engine = {"temperature": 0.7, "batch": batch}
    folder = tmp_path / "run"
    finish(api_run(folder, server, instances, engine=engine))
    assert set(server.asked.values()) == {1}
    output = finish(api_run(folder, server, instances, engine=engine, samples=3))
    assert "6 answers are here already" in output
    assert "12 calls" in output
    assert set(server.asked.values()) == {3}
    run = api_run(folder, server, instances, engine=engine, samples=4)
    finish(run)
    assert set(server.asked.values()) == {4}
    given = answers_of(run)
    assert [key[1] for key in given] == [1, 2, 3, 4] * 6
    assert all(len({given[i, n].prediction for n in (1, 2, 3, 4)}) == 4 for i, _ in given)
    before = lines_of(run)
    (run.predictions / "scierc_ner.jsonl").unlink()
    finish(run)
    assert lines_of(run) == before
    assert set(server.asked.values()) == {4}
    assert all(body["temperature"] == 0.7 and "top_p" not in body for body in server.bodies)
    seeds = [body.get("seed") for body in server.bodies]
    if isinstance(server, OpenAiServer):
        assert len(set(seeds)) == 24
        assert all(0 <= seed < 2**31 for seed in seeds)
    else:
        assert set(seeds) == {None}


def test_what_a_server_is_told_of_chance(tmp_path: Path, environment: None) -> None:
    instances = write_instances(tmp_path / "instances.jsonl", 1)
    with OpenAiServer() as server:
        finish(api_run(tmp_path / "greedy", server, instances))
        finish(api_run(tmp_path / "warm", server, instances, engine={"temperature": 0.7, "top_p": 0.9}))
        own = {"name": "local", "model": "m", "temperature": None}
        finish(api_run(tmp_path / "own", server, instances, model=tiny_model(), engine=own, samples=2))
        thinks = api_model("openai", takes_temperature=False)
        finish(api_run(tmp_path / "thinks", server, instances, model=thinks, samples=2))
        told = [{key for key in body if key in ("temperature", "top_p", "seed")} for body in server.bodies]
    assert told == [{"temperature"}, {"temperature", "top_p", "seed"}, {"seed"}, {"seed"}, set(), set()]
