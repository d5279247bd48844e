"""The stage as a process: what it writes, how it resumes after a kill, what makes it start afresh."""

import http.server
import json
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from predict_runs import files_of, finish, make_run, row, start, tiny_model, write_rows

from sciriff.config import EngineConfig
from sciriff.data.records import Prediction
from sciriff.run.json_lines import read_jsonl
from sciriff.run.run_dir import RunDir

TASKS = ("scierc_ner", "bioasq_list_qa", "scifact_entailment")


@pytest.fixture
def instances(tmp_path: Path) -> Path:
    """Sixty instances of three tasks; every tenth is too long for the model's context of 256 tokens."""
    rows = []
    for i in range(60):
        words = " ".join(f"word{i}x{j}" for j in range(200 if i % 10 == 9 else 3 + i % 7))
        rows.append(row(f"{TASKS[i % 3]}:validation:{i}", f"Find the names.\n\n{words}\n\nWhich?", f'["{i}"]'))
    return write_rows(tmp_path / "instances.jsonl", rows)


def predictions_of(run: RunDir, task: str) -> list[Prediction]:
    return list(read_jsonl(run.predictions / f"{task}.jsonl", Prediction))


def saved(run: RunDir) -> int:
    return sum(path.read_bytes().count(b"\n") for path in run.predictions.glob("*.jsonl"))


def test_the_stage_writes_all_predictions_in_order(tmp_path: Path, instances: Path) -> None:
    run = make_run(tmp_path / "run", path=str(instances))
    output = finish(run)
    assert "60 instances of 3 tasks, prompts of at most 232 tokens" in output
    assert "[60/60] answers" in output
    expected = json.loads((run.predictions / "expected.json").read_text())
    assert list(expected) == ["bioasq_list_qa", "scierc_ner", "scifact_entailment"]
    for task, instance_ids in expected.items():
        rows = predictions_of(run, task)
        assert (
            [r.instance_id for r in rows]
            == instance_ids
            == [f"{task}:validation:{i}" for i in range(60) if TASKS[i % 3] == task]
        )
        for r in rows:
            assert r.task == task
            assert r.reference == f'["{r.instance_id.split(":")[2]}"]'
            assert r.finish_reason in ("stop", "length")
            assert 0 < r.output_tokens <= 24
            assert r.prompt_tokens <= 232
            assert (r.truncated_tokens > 0) == (int(r.instance_id.split(":")[2]) % 10 == 9)
            assert r.prompt.startswith("Find the names.\n\n")
            assert r.prompt.endswith("\n\nWhich?")


@pytest.mark.slow
def test_a_killed_stage_ends_in_the_same_bytes(tmp_path: Path, instances: Path) -> None:
    engine = EngineConfig(name="transformers", batch_tokens=200)
    undisturbed = make_run(tmp_path / "undisturbed", path=str(instances), engine=engine)
    finish(undisturbed)
    killed = make_run(tmp_path / "killed", path=str(instances), engine=engine)
    process = start(killed)
    while saved(killed) < 10 and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert 10 <= saved(killed) < 60
    with next(killed.predictions.glob("*.jsonl")).open("ab") as file:
        file.write(b'{"task": "scierc_ner", "inst')
    resumed = start(killed)
    output, _ = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, output
    assert "answers are here already" in output
    assert files_of(killed) == files_of(undisturbed)
    # A finished stage does not even load the model.
    output = finish(killed)
    assert "60 answers are here already" in output
    assert "[60/60]" not in output
    assert files_of(killed) == files_of(undisturbed)


@pytest.mark.slow
def test_a_disk_that_fills_up_is_reported_in_one_line_and_loses_no_answer(
    tmp_path: Path, instances: Path, small_disk: Callable[[str], Path]
) -> None:
    engine = EngineConfig(name="transformers", batch_tokens=200)
    undisturbed = make_run(tmp_path / "undisturbed", path=str(instances), engine=engine)
    finish(undisturbed)
    run = make_run(small_disk("40k") / "run", path=str(instances), engine=engine)
    process = start(run)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 2, output
    last = output.splitlines()[-1]
    assert last.startswith(f"error: {run.predictions}/")
    assert ".jsonl could not be written (No space left on device); what was there before is kept" in last
    assert "Traceback" not in output
    kept = saved(run)
    assert 0 < kept < 60
    assert all(path.read_bytes().endswith(b"\n") for path in run.predictions.glob("*.jsonl")), "only whole rows"
    small_disk("1m")
    assert "answers are here already" in finish(run)
    assert files_of(run) == files_of(undisturbed)


@pytest.mark.slow
def test_a_batch_with_a_missing_row_is_answered_again(tmp_path: Path, instances: Path) -> None:
    run = make_run(
        tmp_path / "run", path=str(instances), engine=EngineConfig(name="transformers", batch_tokens=100_000)
    )
    finish(run)
    before = files_of(run)
    path = run.predictions / "scierc_ner.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    output = finish(run)
    assert "here already" not in output
    assert files_of(run) == before


@pytest.mark.slow
def test_changes_remake_only_the_answers_they_affect(tmp_path: Path, instances: Path) -> None:
    folder = tmp_path / "run"
    finish(make_run(folder, path=str(instances), limit=5))
    output = finish(make_run(folder, path=str(instances), tasks=list(TASKS), limit=8))
    assert "15 answers are here already" in output
    assert "[24/24] answers" in output
    # Only a corrected instance is answered again.
    rows = [json.loads(line) for line in instances.read_text().splitlines()]
    first = json.loads((folder / "predictions" / "expected.json").read_text())["scierc_ner"][0]
    for changed in rows:
        if changed["_instance_id"] == first:
            changed["input"] = "Find all names.\n\nword\n\nWhich?"
    write_rows(instances, rows)
    run = make_run(folder, path=str(instances), limit=8)
    output = finish(run)
    assert "1 answers are to another prompt" in output
    assert "23 answers are here already" in output
    assert predictions_of(run, "scierc_ner")[0].prompt.startswith("Find all names.")
    # Answers that ended within twenty tokens stay valid under that limit; the rest are made again.
    short = sum(
        r.finish_reason == "stop" and (r.output_tokens or 0) <= 20 for t in TASKS for r in predictions_of(run, t)
    )
    output = finish(make_run(folder, path=str(instances), limit=8, max_new_tokens=20))
    assert f"{24 - short} answers are to another prompt or had another limit" in output
    output = finish(make_run(folder, path=str(instances), limit=8, max_new_tokens=20, tasks=["scierc_ner"]))
    assert "8 answers are here already" in output
    assert [path.name for path in run.predictions.glob("*.jsonl")] == ["scierc_ner.jsonl"]
    assert "another model: starting afresh" in finish(make_run(folder, path=str(instances), limit=2, seed=43))
    other_markup = replace(tiny_model(), chat="general")
    output = finish(make_run(folder, path=str(instances), limit=2, seed=43, model=other_markup))
    assert "6 answers are to another prompt" in output, "every prompt has another markup"


def test_max_new_tokens_of_one_task(tmp_path: Path, instances: Path) -> None:
    run = make_run(tmp_path / "run", path=str(instances), max_new_tokens_of={"scierc_ner": 7})
    assert "prompts of at most 232 to 249 tokens" in finish(run)
    assert max(r.output_tokens or 0 for r in predictions_of(run, "scierc_ner")) == 7
    assert max(r.output_tokens or 0 for r in predictions_of(run, "bioasq_list_qa")) == 24
    with pytest.raises(ValueError, match=r"eval\.max_new_tokens_of: scierc is not a held-out task; did you mean"):
        finish(make_run(tmp_path / "misspelt", path=str(instances), max_new_tokens_of={"scierc": 7}))


def test_settings_and_versions_are_recorded(tmp_path: Path, instances: Path) -> None:
    run = make_run(tmp_path / "run", path=str(instances), limit=1)
    finish(run)
    settings = json.loads(run.answered_with.read_text())
    assert settings["dtype"] == "float32"
    assert settings["engine"] == ["transformers", 16384]
    (made_with,) = settings["made with"]
    assert {"python", "torch", "transformers", "tokenizers", "devices"} <= made_with.keys()


BAD_MODELS = {
    "no such folder": ({"path": "/no/such/model"}, "model.path=/no/such/model: there is no such folder"),
    "no chat template": ({"chat": "tokenizer"}, "model.chat=tokenizer: this tokenizer has no chat template"),
}


@pytest.mark.parametrize(("changes", "message"), BAD_MODELS.values(), ids=BAD_MODELS.keys())
def test_a_model_that_cannot_answer_is_refused_in_one_line(
    tmp_path: Path, instances: Path, changes: dict[str, str], message: str
) -> None:
    run = make_run(tmp_path / "run", path=str(instances), limit=2)
    finish(run)
    before = files_of(run)
    model = replace(tiny_model(), **changes)
    process = start(make_run(tmp_path / "run", path=str(instances), limit=2, model=model))
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 2
    assert output.splitlines()[-1].startswith(f"error: {message}")
    assert "Traceback" not in output
    assert files_of(run) == before


@pytest.mark.parametrize("status", [401, pytest.param(403, marks=pytest.mark.slow)])
def test_a_gated_model_without_a_token_is_refused_with_advice(tmp_path: Path, instances: Path, status: int) -> None:
    class Hub(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", "GatedRepo")
            self.end_headers()

        do_GET = do_HEAD

        def log_message(self, *args: object) -> None:
            pass

    run = make_run(
        tmp_path / "run", path=str(instances), model=replace(tiny_model(), path="some/gated", tokenizer=None)
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        process = start(run, HF_ENDPOINT=address, HF_HOME=str(tmp_path / "hf"), HF_HUB_OFFLINE="0")
        output, _ = process.communicate(timeout=300)
        server.shutdown()
    assert process.returncode == 2
    assert output.splitlines()[-1] == (
        "error: model.path=some/gated: is gated; ask for access at https://huggingface.co/some/gated, then "
        "`hf auth login`"
    )
    assert "Traceback" not in output


def test_prompts_that_are_too_long_can_be_skipped_or_refused(tmp_path: Path, instances: Path) -> None:
    run = make_run(tmp_path / "run", path=str(instances), truncation="skip")
    assert "scierc_ner: 2 of 20 prompts were too long and are not answered" in finish(run)
    skipped = [r for task in TASKS for r in predictions_of(run, task) if r.finish_reason == "skipped"]
    assert len(skipped) == 6
    assert all(r.prediction == "" and r.output_tokens == 0 and r.prompt_tokens > 232 for r in skipped)
    with pytest.raises(ValueError, match="bioasq_list_qa:validation:19: its prompt of "):
        finish(make_run(tmp_path / "refused", path=str(instances), truncation="error"))


def test_a_missing_vllm_is_reported_in_one_line(tmp_path: Path, instances: Path) -> None:
    if find_spec("vllm"):
        pytest.skip("vLLM is installed here")
    process = start(make_run(tmp_path / "run", path=str(instances), engine=EngineConfig(name="vllm")))
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "error: engine=vllm is not installed here" in output
