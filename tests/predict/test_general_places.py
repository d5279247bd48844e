"""General prompts are answered behind those of science in one start of the engine, and change none of its bytes."""

import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from predict_runs import files_of, finish, make_run, row, save_lively_model, start, tiny_model, write_rows

from sciriff.config import EngineConfig, GeneralConfig
from sciriff.data.general_rows import GeneralAnswer, GeneralRequest, read_answers
from sciriff.models.loading import load_tokenizer
from sciriff.predict.general_places import GeneralPlaces
from sciriff.run.json_lines import write_jsonl
from sciriff.run.nodes.everywhere import START
from sciriff.run.run_dir import RunDir

GENERAL = GeneralConfig(name="tiny", tasks=["sums", "letters"])
ENGINE = EngineConfig(name="transformers", batch_tokens=400)
EXAMPLES = "Question: how much is 17 + 4?\nAnswer: 21\n\nQuestion: how much is 3 + 9?\nAnswer: 12\n\n"
STOPS = ["\n\n", "e"]
COUNT = 40


def general_requests() -> list[GeneralRequest]:
    """Sums to be answered, and questions with letters or words to be scored, in turn; the last repeats the first."""
    tokenizer = load_tokenizer(tiny_model())

    def ids(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    rows = []
    for number in range(COUNT):
        prompt = ids(f"{EXAMPLES}Question: how much is {number} + 5?\nAnswer:")
        if number % 2:
            choices = [ids(letter) for letter in "ABCD"] if number % 4 == 1 else [ids(" the sum"), ids(" a number")]
            rows.append(GeneralRequest("letters", number, prompt, continuations=choices))
        else:
            rows.append(GeneralRequest("sums", number, prompt, limit=20, stops=STOPS if number % 4 else []))
    return [*rows, replace(rows[0], task="more", doc_id=COUNT)]


@pytest.fixture(scope="module")
def asked() -> list[GeneralRequest]:
    return general_requests()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("made")
    save_lively_model(folder / "model")
    rows = [row(f"scierc_ner:v:{i}", f"Find the names.\n\n{'word ' * (i % 23)}{i}\n\nWhich?") for i in range(20)]
    model = replace(tiny_model(), path=str(folder / "model"))
    return {"model": model, "path": str(write_rows(folder / "instances.jsonl", rows)), "engine": ENGINE}


def run_of(folder: Path, made: dict[str, Any], asked: list[GeneralRequest], **more: Any) -> RunDir:
    run = make_run(folder, **{"general": GENERAL, **made, **more})
    write_jsonl(run.general_requests, asked)
    return run


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, made: dict[str, Any], asked: list[GeneralRequest]
) -> tuple[RunDir, str]:
    run = run_of(tmp_path_factory.mktemp("undisturbed") / "run", made, asked)
    return run, finish(run)


def copy_of(run: RunDir, folder: Path, made: dict[str, Any], asked: list[GeneralRequest], **more: Any) -> RunDir:
    shutil.copytree(run.root, folder)
    return run_of(folder, made, asked, **more)


def answers_of(run: RunDir) -> list[GeneralAnswer]:
    return list(read_answers(run.general_answers))


def test_every_prompt_has_an_answer_and_those_of_science_are_the_same(
    tmp_path: Path, made: dict[str, Any], asked: list[GeneralRequest], undisturbed: tuple[RunDir, str]
) -> None:
    run, output = undisturbed
    assert f"[{20 + COUNT}/{20 + COUNT}] answers" in output
    assert f"{COUNT} general answers, " in output
    science = make_run(tmp_path / "science", **made)
    assert "general" not in finish(science)
    assert files_of(run) == files_of(science)
    assert not science.general.exists()
    assert not run.general_requests.exists()
    answers = answers_of(run)
    assert [answer.request for answer in answers] == [request.digest for request in asked[:COUNT]]
    for request, answer in zip(asked, answers, strict=False):
        if request.continuations:
            assert (answer.finish_reason, answer.text) == ("scored", "")
            assert len(answer.log_likelihoods) == len(answer.greedy) == len(request.continuations)
        else:
            assert answer.finish_reason in ("stop", "length")
            assert not any(stop in answer.text for stop in request.stops)
            assert 0 < answer.output_tokens <= 20
    assert len({answer.text for answer in answers}) > 3
    assert {answer.finish_reason for answer in answers} == {"scored", "stop", "length"}


@pytest.mark.slow
def test_a_killed_stage_ends_in_the_same_bytes(
    tmp_path: Path, made: dict[str, Any], asked: list[GeneralRequest], undisturbed: tuple[RunDir, str]
) -> None:
    whole = undisturbed[0]
    run = run_of(tmp_path / "run", made, asked)
    process = start(run)
    while not (run.general_answers.exists() and run.general_answers.stat().st_size) and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = run.general_answers.read_bytes().count(b"\n")
    assert 0 < kept < COUNT
    with run.general_answers.open("ab") as file:
        file.write(whole.general_answers.read_bytes()[:70])
    output = finish(run)
    assert "20 answers are here already" in output
    assert f"{kept} general answers are here already" in output
    assert run.general_answers.read_bytes() == whole.general_answers.read_bytes()
    assert files_of(run) == files_of(whole)


def test_a_start_with_all_answers_asks_nothing(
    tmp_path: Path, made: dict[str, Any], asked: list[GeneralRequest], undisturbed: tuple[RunDir, str]
) -> None:
    whole = undisturbed[0]
    run = copy_of(whole, tmp_path / "run", made, asked)
    output = finish(run)
    assert f"{COUNT} general answers are here already" in output
    assert "] answers" not in output, "the engine does not start for nothing"
    assert not run.general_requests.exists()
    assert run.general_answers.read_bytes() == whole.general_answers.read_bytes()


def test_other_weights_under_the_same_path_reuse_nothing_and_the_same_under_another_path_everything(
    tmp_path: Path, made: dict[str, Any], asked: list[GeneralRequest], undisturbed: tuple[RunDir, str]
) -> None:
    shutil.copytree(made["model"].path, tmp_path / "model")
    moved = {**made, "model": replace(made["model"], path=str(tmp_path / "model"))}
    run = copy_of(undisturbed[0], tmp_path / "run", moved, asked)
    assert f"{COUNT} general answers are here already" in finish(run)
    weights = tmp_path / "model" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-4000:] = bytes(4000)
    weights.write_bytes(data)
    write_jsonl(run.general_requests, asked)
    output = finish(run)
    assert "here already" not in output
    made_with = {answer.made_with for answer in answers_of(run)}
    assert len(made_with) == 1
    assert made_with != {answer.made_with for answer in answers_of(undisturbed[0])}


@pytest.mark.slow
def test_more_prompts_keep_the_answers_and_sampling_science_changes_none(
    tmp_path: Path, made: dict[str, Any], asked: list[GeneralRequest], undisturbed: tuple[RunDir, str]
) -> None:
    warm = replace(ENGINE, temperature=1.5)
    run = run_of(tmp_path / "run", {**made, "engine": warm}, asked[:10])
    finish(run)
    assert files_of(run) != files_of(undisturbed[0])
    cold = run_of(tmp_path / "run", made, asked)
    output = finish(cold)
    assert "10 general answers are here already" in output
    assert files_of(cold) == files_of(undisturbed[0])
    texts = {answer.request: answer.text for answer in answers_of(undisturbed[0])}
    assert {answer.request: answer.text for answer in answers_of(cold)} == texts


def test_prompts_that_nobody_has_written_are_named(tmp_path: Path, made: dict[str, Any]) -> None:
    run = make_run(tmp_path / "run", general=GENERAL, **made)
    with pytest.raises(ValueError, match=r"requests\.jsonl.*python -m sciriff\.general\.requests"):
        finish(run)


@pytest.mark.parametrize("change", [{"prompt": []}, {"limit": 0}, {"continuations": [[5], []]}], ids=str)
def test_a_prompt_that_is_none_for_an_engine_is_refused(asked: list[GeneralRequest], change: dict[str, Any]) -> None:
    wrong = replace(asked[0], **change)
    with pytest.raises(ValueError, match="document 0 of sums has no tokens or asks for none"):
        GeneralPlaces({wrong.digest: wrong}, 20)


@pytest.mark.slow
def test_answers_in_another_precision_are_others(
    tmp_path: Path, made: dict[str, Any], asked: list[GeneralRequest]
) -> None:
    run = run_of(tmp_path / "run", made, asked[:4])
    finish(run)
    other = replace(made["model"], dtype="bfloat16")
    output = finish(run_of(tmp_path / "run", {**made, "model": other}, asked[:4]))
    assert "general answers are here already" not in output


@pytest.mark.slow
def test_replicas_and_nodes_end_in_the_same_bytes(
    tmp_path: Path, made: dict[str, Any], asked: list[GeneralRequest], undisturbed: tuple[RunDir, str]
) -> None:
    whole = undisturbed[0]
    two = run_of(tmp_path / "two", {**made, "engine": replace(ENGINE, replicas=2)}, asked)
    finish(two)
    run = run_of(tmp_path / "nodes", made, asked)
    variables = {"NODES": "2", "MASTER_ADDR": "127.0.0.1", START: "one"}
    nodes = [start(run, **variables, NODE_RANK=str(rank)) for rank in (0, 1)]
    outputs = [node.communicate(timeout=300)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], outputs
    assert run.general_answers.read_bytes() == whole.general_answers.read_bytes()
    for other, answer in zip(answers_of(two), answers_of(whole), strict=True):
        # Its threads share out a sum otherwise.
        assert other.log_likelihoods == pytest.approx(answer.log_likelihoods, abs=1e-3)
        assert replace(other, log_likelihoods=[]) == replace(answer, log_likelihoods=[])
    for some in (two, run):
        assert files_of(some)["scierc_ner.jsonl"] == files_of(whole)["scierc_ner.jsonl"]
        assert not some.general_requests.exists()
