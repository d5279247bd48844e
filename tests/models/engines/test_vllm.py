"""The same model answers the same under vLLM and transformers. Needs an interpreter with vLLM: SCIRIFF_VLLM_PYTHON."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import finetune_runs
import pytest
from predict_runs import (
    ROOT,
    files_of,
    finish,
    make_run,
    processes_below,
    row,
    save_lively_model,
    tiny_model,
    write_rows,
)
from safetensors.torch import load_file, save_file
from thinking_models import save_thinker
from told_by_driver import told

from sciriff.config import SAMPLE, Config, EngineConfig, GeneralConfig, ModelConfig
from sciriff.data.general_rows import GeneralAnswer, GeneralRequest, read_answers
from sciriff.models.engines import Request
from sciriff.models.engines.vllm import Scores, _finished, plan_batches
from sciriff.models.loading import load_tokenizer
from sciriff.run import machine
from sciriff.run.json_lines import write_jsonl
from sciriff.run.run_dir import RunDir

VLLM_PYTHON = os.environ.get("SCIRIFF_VLLM_PYTHON", "")
needs_vllm = pytest.mark.skipif(not VLLM_PYTHON, reason="SCIRIFF_VLLM_PYTHON names no interpreter with vLLM")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "VLLM_CPU_KVCACHE_SPACE": "1"}
VLLM = EngineConfig(name="vllm")
WARM = EngineConfig(name="vllm", temperature=0.9, top_p=0.95)
GENERAL = GeneralConfig(name="tiny", tasks=["letters"])
LETTERS = 30


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelConfig:
    folder = tmp_path_factory.mktemp("lively") / "model"
    save_lively_model(folder)
    return ModelConfig(
        name="tiny",
        path=str(folder),
        tokenizer=str(SAMPLE / "tokenizer"),
        chat="tulu",
        dtype="float32",
        shape=tiny_model().shape,
    )


@pytest.fixture(scope="module")
def instances(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(
        tmp_path_factory.mktemp("rows") / "instances.jsonl",
        [row(f"scierc_ner:v:{i}", "Find the names.\n\n" + f"word{i} " * (i % 40 + 1)) for i in range(80)],
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, model: ModelConfig, instances: Path) -> list[bytes]:
    """What transformers answers."""
    run = make_run(tmp_path_factory.mktemp("plain") / "run", path=str(instances), model=model)
    finish(run)
    return rows_of(run)


@pytest.fixture(scope="module")
def with_towers(
    tmp_path_factory: pytest.TempPathFactory, composed: Callable[..., Config], model: ModelConfig
) -> ModelConfig:
    """What training has made of a tiny Gemma 3 with a vision tower."""
    import torch
    from accelerate.state import AcceleratorState

    root = tmp_path_factory.mktemp("towers")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        patch.setattr(torch.cuda, "is_available", lambda: False)
        import tiny_families

        tiny_families.save("gemma3", root / "base", SAMPLE / "tokenizer")
        trained = finetune_runs.tiny_model(path=str(root / "base"))
        run = finetune_runs.finetune(finetune_runs.make_run(composed, root / "run", model=trained, max_steps=2))
        AcceleratorState._reset_state(reset_partial_state=True)
    return replace(model, path=str(run.model), tokenizer=None)


def general_requests(model: ModelConfig) -> list[GeneralRequest]:
    """Letters to be scored behind common examples, words of several tokens to be scored up to the last token of the
    context, and answers that end at a stop string, at the limit, or by themselves."""
    tokenizer = load_tokenizer(model)

    def ids(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    examples = ids("Question: how much is 17 + 4?\nAnswer: B\n\n" * 3)
    questions = [[*examples, *ids(f"Question: how much is {number} + {number % 7}?\nAnswer:")] for number in range(60)]
    words = [ids(" the whole sum"), ids(" 4"), ids(" a number")]
    rows = [
        *(GeneralRequest("letters", n, questions[n], continuations=[[35], [36], [37], [38]]) for n in range(LETTERS)),
        *(GeneralRequest("words", n, questions[n], continuations=words) for n in range(LETTERS, LETTERS + 9)),
        *(GeneralRequest("sums", n, questions[n], limit=30, stops=["e", "ing", "\n\n"]) for n in range(40, 50)),
        *(GeneralRequest("sums", n, questions[n], limit=30) for n in range(50, 60)),
    ]
    full = (questions[0] * 9)[: 256 - max(map(len, words))]
    return [*rows, GeneralRequest("words", 99, full, continuations=words)]


def general_answers(run: RunDir) -> list[GeneralAnswer]:
    return list(read_answers(run.general_answers))


def broken_copy(model: ModelConfig, folder: Path) -> Path:
    """The same model with one layer that computes NaN."""
    shutil.copytree(str(model.path), folder)
    weights = load_file(folder / "model.safetensors")
    next(weight for name, weight in weights.items() if "down_proj" in name).fill_(math.nan)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def rows_of(run: RunDir) -> list[bytes]:
    return (run.predictions / "scierc_ner.jsonl").read_bytes().splitlines()


def start_vllm(run: RunDir) -> "subprocess.Popen[bytes]":
    """The stage under the other interpreter. It writes to a file: a pipe would stay open as long as a child lives."""
    with (run.root / "log").open("wb") as log:
        return subprocess.Popen(
            [VLLM_PYTHON, "-m", "sciriff.predict", str(run.root)],
            env={**ENVIRONMENT, **told(run)},
            stdout=log,
            stderr=log,
        )


def finish_vllm(run: RunDir) -> str:
    status = start_vllm(run).wait(timeout=500)
    output = (run.root / "log").read_text()
    assert status == 0, output
    return output


@dataclass(frozen=True)
class Ended:
    """What became of one of the runs that one process of vLLM was given."""

    run: RunDir
    output: str
    error: str | None
    rows: list[bytes]
    """As they were when it had ended."""


class InOneProcess:
    """Runs that are answered one after the other, each with the config that it has when it is added."""

    def __init__(self, folder: Path, model: ModelConfig, instances: Path) -> None:
        self.folder = folder
        self.made_of = {"model": model, "path": str(instances)}
        self.cases: dict[str, dict[str, Any]] = {}

    def add(self, name: str, engine: EngineConfig, folder: str | None = None, **more: Any) -> None:
        environment = more.pop("environment", {})
        run = make_run(self.folder / (folder or name), engine=engine, **{**self.made_of, **more})
        config = self.folder / f"{name}.yaml"
        config.write_bytes(run.config.read_bytes())
        self.cases[name] = {"folder": str(run.root), "config": str(config), "environment": environment}

    def finish(self) -> dict[str, Ended]:
        file, log = self.folder / "cases.json", self.folder / "log"
        file.write_text(json.dumps(list(self.cases.values())))
        with log.open("wb") as output:
            script = Path(__file__).with_name("vllm_process.py")
            process = subprocess.Popen(
                [VLLM_PYTHON, str(script), str(file)], env=ENVIRONMENT, stdout=output, stderr=output
            )
        said, ended = "", {}
        assert process.wait(timeout=900) == 0, log.read_text()[-5000:]
        for line in log.read_text().splitlines(keepends=True):
            said += line
            if line.startswith("ended "):
                name = list(self.cases)[len(ended)]
                run = RunDir(Path(self.cases[name]["folder"]))
                kept = Path(self.cases[name]["config"]).with_suffix(".jsonl")
                ended[name] = Ended(run, said, json.loads(line[6:]), kept.read_bytes().splitlines())
                said = ""
        return ended


@pytest.fixture(scope="module")
def ended(
    tmp_path_factory: pytest.TempPathFactory, model: ModelConfig, instances: Path, with_towers: ModelConfig
) -> dict[str, Ended]:
    """All that one process can try: its first engine takes as long as the ten others."""
    runs = InOneProcess(tmp_path_factory.mktemp("vllm"), model, instances)
    runs.add("one", VLLM)
    runs.add("again", VLLM, "one")
    runs.add("general", replace(WARM, extra={"max_num_seqs": 8}), limit=10, general=GENERAL)
    write_jsonl(RunDir(runs.folder / "general").general_requests, general_requests(model))
    runs.add("without general", replace(WARM, extra={"max_num_seqs": 8}), limit=10)
    runs.add("two samples", WARM, "sampled", samples=2, limit=10)
    runs.add("four samples", WARM, "sampled", samples=4, limit=10)
    runs.add("few at a time", replace(WARM, extra={"max_num_seqs": 4}), samples=4, limit=10)
    flag = runs.folder / "flag"
    flag.touch()
    fails = replace(VLLM, extra={"max_num_seqs": 8, "logits_processors": ["vllm_process:FailsOnce"]})
    runs.add("fails", fails, environment={"FAILS_WHILE_THIS_EXISTS": str(flag)})
    runs.add("goes on", fails, "fails")
    runs.add("NaN", VLLM, model=replace(model, path=str(broken_copy(model, runs.folder / "broken"))), limit=10)
    runs.add("with towers", VLLM, model=with_towers, limit=20)
    runs.add("no such format", replace(VLLM, extra={"load_format": "no_such_format"}))
    cores = sorted(os.sched_getaffinity(0))
    bound = {"VLLM_CPU_OMP_THREADS_BIND": f"{cores[0]}|{cores[-1]}"}
    runs.add("two workers", replace(VLLM, tensor_parallel=2), limit=10, environment=bound)
    # last: what it sets stays set in that process
    runs.add("batch invariant", replace(VLLM, batch_invariant=True))
    return runs.finish()


def test_every_prompt_is_a_batch_of_its_own_beside_those_that_begin_alike() -> None:
    prompts = [[5, 1, 1], [3, 9], [5, 1], [3, 8, 8], [5, 1, 0]]
    assert plan_batches(prompts, [10] * 5, VLLM) == [[3], [1], [2], [4], [0]]


def test_an_answer_that_an_error_has_ended_is_none() -> None:
    """vLLM hands it on like any other, when the memory that it had computed is lost."""

    def output(place: int, reason: str) -> SimpleNamespace:
        return SimpleNamespace(request_id=str(place), outputs=[SimpleNamespace(token_ids=[7], finish_reason=reason)])

    steps = iter([[output(0, "stop"), output(1, "length")], [output(2, "error")]])
    engine = SimpleNamespace(
        has_unfinished_requests=lambda: True, get_num_unfinished_requests=lambda: 0, step=lambda: next(steps)
    )
    stream = _finished(engine, lambda place: None, [[0], [1], [2]], math.inf)
    assert [answer.place for answer in next(stream)] == [0, 1]
    with pytest.raises(RuntimeError, match="an answer has ended with 'error'"):
        next(stream)


@needs_vllm
@pytest.mark.vllm
def test_vllm_answers_as_transformers_does(ended: dict[str, Ended], plain: list[bytes]) -> None:
    assert len(set(plain)) == 80
    assert {json.loads(line)["finish_reason"] for line in plain} == {"stop", "length"}
    assert ended["one"].rows == plain
    assert "80 answers are here already" in ended["again"].output


@needs_vllm
@pytest.mark.vllm
def test_thoughts_end_where_they_do_in_transformers(tmp_path: Path, instances: Path) -> None:
    model = save_thinker(tmp_path / "model")
    runs = InOneProcess(tmp_path, model, instances)
    for name, budget in (("budget", 14), ("none", 0)):
        runs.add(name, VLLM, max_new_tokens=10, thinking_tokens=budget, limit=40)
    for name, one in runs.finish().items():
        assert one.error is None
        thinking = {"max_new_tokens": 10, "thinking_tokens": 14 if name == "budget" else 0}
        run = make_run(tmp_path / f"{name} of transformers", model=model, path=str(instances), limit=40, **thinking)
        finish(run)
        assert one.rows == rows_of(run)
        assert {json.loads(line)["finish_reason"] for line in one.rows} >= {"length", "unfinished_thought"}


@needs_vllm
@pytest.mark.vllm
def test_a_trained_model_with_towers_answers_as_with_transformers(
    ended: dict[str, Ended], with_towers: ModelConfig, instances: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", path=str(instances), model=with_towers, limit=20)
    finish(run)
    assert ended["with towers"].error is None
    assert ended["with towers"].rows == rows_of(run)
    assert len({json.loads(line)["prediction"] for line in rows_of(run)}) > 10


@needs_vllm
@pytest.mark.vllm
def test_general_prompts_are_scored_and_answered_as_by_transformers(
    ended: dict[str, Ended], tmp_path: Path, model: ModelConfig, instances: Path
) -> None:
    assert ended["general"].error is None
    assert ended["general"].rows == ended["without general"].rows
    requests = general_requests(model)
    run = make_run(tmp_path / "run", path=str(instances), model=model, limit=1, general=GENERAL)
    write_jsonl(run.general_requests, requests)
    finish(run)
    same = 0
    pairs = zip(requests, general_answers(ended["general"].run), general_answers(run), strict=True)
    for request, ours, theirs in pairs:
        assert ours.finish_reason == theirs.finish_reason
        assert (ours.text, ours.output_tokens) == (theirs.text, theirs.output_tokens)
        assert ours.log_likelihoods == pytest.approx(theirs.log_likelihoods, abs=1e-3)
        assert ours.greedy == theirs.greedy
        if request.task == "letters":
            same += ranking(ours) == ranking(theirs)
    assert same >= 0.95 * LETTERS
    assert {answer.finish_reason for answer in general_answers(run)} == {"scored", "stop", "length"}


def ranking(answer: GeneralAnswer) -> list[int]:
    return sorted(range(len(answer.log_likelihoods)), key=lambda number: -answer.log_likelihoods[number])


def test_without_a_way_to_name_tokens_each_continuation_is_asked_alone() -> None:
    """As older versions of vLLM have none; the prompt and a continuation take no more room than they have."""
    request = Request(
        model=tiny_model(),
        engine=VLLM,
        prompts=[[5, 6]],
        limits=[3],
        batches=[],
        context=5,
        end_ids=[2],
        seed=0,
        continuations={0: [[7], [8, 9, 10], [7]]},
    )
    scores = Scores(request, names_tokens=False)
    parts = list(scores.parts(0))
    assert [(prompt, wanted["allowed_token_ids"]) for _, prompt, wanted in parts] == [
        ([5, 6], [7]),
        ([5, 6, 8, 9], [10]),
        ([5, 6], [7]),
    ]

    def output(name: str, last: int, prompt: list[dict[int, Any] | None]) -> SimpleNamespace:
        completion = SimpleNamespace(token_ids=[last], logprobs=[{last: SimpleNamespace(logprob=-0.5, rank=1)}])
        return SimpleNamespace(request_id=name, outputs=[completion], prompt_logprobs=prompt)

    before = [{8: SimpleNamespace(logprob=-1.0, rank=1)}, {9: SimpleNamespace(logprob=-2.0, rank=2)}]
    assert scores.read(output(parts[0][0], 7, [])) is None
    assert scores.read(output(parts[2][0], 7, [])) is None
    answer = scores.read(output(parts[1][0], 10, [None, {6: None}, *before]))
    assert answer is not None
    assert (answer.log_likelihoods, answer.greedy) == ([-0.5, -3.5, -0.5], [True, False, True])


def test_later_prompts_wait_until_those_before_have_their_answers() -> None:
    class Engine:
        """Finishes a prompt in each step."""

        def __init__(self) -> None:
            self.open: list[int] = []
            self.begun: list[tuple[int, int]] = []

        def add(self, place: int) -> None:
            self.begun.append((place, len(self.open)))
            self.open.append(place)

        def has_unfinished_requests(self) -> bool:
            return bool(self.open)

        def get_num_unfinished_requests(self) -> int:
            return len(self.open)

        def step(self) -> list[SimpleNamespace]:
            completion = SimpleNamespace(token_ids=[7], finish_reason="stop")
            return [SimpleNamespace(request_id=str(self.open.pop(0)), outputs=[completion])]

    engine = Engine()
    stream = _finished(engine, engine.add, [[0], [1], [2], [3], [4]], math.inf, waits=3)
    assert [answer.place for batch in stream for answer in batch] == [0, 1, 2, 3, 4]
    assert engine.begun == [(0, 0), (1, 1), (2, 2), (3, 0), (4, 1)]


@needs_vllm
@pytest.mark.vllm
def test_samples_are_the_same_however_they_are_asked_for(ended: dict[str, Ended]) -> None:
    two, four, few = (ended[name].rows for name in ("two samples", "four samples", "few at a time"))
    assert "20 answers are here already" in ended["four samples"].output
    assert set(two) < set(four)
    assert few == four
    texts: dict[str, set[str]] = {}
    for line in four:
        texts.setdefault(json.loads(line)["instance_id"], set()).add(json.loads(line)["prediction"])
    assert len(texts) == 10
    assert all(len(given) > 1 for given in texts.values())


@needs_vllm
@pytest.mark.vllm
def test_an_engine_that_fails_on_the_way_is_said_in_a_line_and_loses_no_answer(
    ended: dict[str, Ended], plain: list[bytes]
) -> None:
    failed = ended["fails"]
    assert failed.error == (
        "vLLM failed on the way; what it answered before is kept (RuntimeError: a kernel has failed)"
    )
    assert "and says much more about it" in failed.output, "the log has all of it"
    assert 0 < len(failed.rows) < 80
    assert set(failed.rows) < set(plain)
    assert f"{len(failed.rows)} answers are here already" in ended["goes on"].output
    assert ended["goes on"].rows == plain


@needs_vllm
@pytest.mark.vllm
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("batch invariant", r"engine\.batch_invariant=true needs an NVIDIA GPU"),
        ("NaN", "the model computes NaN: its training diverged"),
        ("no such format", r"vLLM does not start \(\w+: .*no_such_format"),
    ],
)
def test_what_vllm_cannot_do_is_said_in_a_line(ended: dict[str, Ended], name: str, message: str) -> None:
    assert re.match(message, ended[name].error or "")
    assert ended[name].rows == []


@needs_vllm
@pytest.mark.vllm
def test_two_workers_that_share_a_model_answer_as_one_does(ended: dict[str, Ended], plain: list[bytes]) -> None:
    assert len(ended["two workers"].rows) == 10
    assert set(ended["two workers"].rows) < set(plain)


@needs_vllm
@pytest.mark.vllm
def test_a_killed_stage_leaves_no_process_behind_and_two_engines_end_in_the_same_bytes(
    tmp_path: Path, model: ModelConfig, instances: Path, plain: list[bytes]
) -> None:
    few = replace(VLLM, extra={"max_num_seqs": 8})
    run = make_run(tmp_path / "run", path=str(instances), model=model, engine=few)
    process = start_vllm(run)
    deadline = time.monotonic() + 400
    while not list(run.predictions.glob("*.jsonl")) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.01)
    children = processes_below(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert [child for child in children if Path(f"/proc/{child}").exists()] == []
    path = run.predictions / "scierc_ner.jsonl"
    kept = path.read_bytes().count(b"\n")
    assert 0 < kept < 80
    with path.open("ab") as file:
        file.write(plain[-1][:30])
    two = make_run(tmp_path / "run", path=str(instances), model=model, engine=replace(few, replicas=2))
    assert f"{kept} answers are here already" in finish_vllm(two)
    assert rows_of(two) == plain


@pytest.mark.gpu
@pytest.mark.vllm
@pytest.mark.skipif(not VLLM_PYTHON or not machine.gpus(), reason="needs a GPU and an interpreter with vLLM")
def test_batch_invariant_answers_are_the_same_however_they_are_asked(
    tmp_path: Path, model: ModelConfig, instances: Path
) -> None:
    engine = EngineConfig(name="vllm", batch_invariant=True, replicas=1)
    together = make_run(tmp_path / "together", path=str(instances), model=model, engine=engine)
    finish_vllm(together)
    first = make_run(tmp_path / "parts", path=str(instances), model=model, engine=engine, limit=7)
    finish_vllm(first)
    rest = make_run(tmp_path / "parts", path=str(instances), model=model, engine=engine)
    assert "7 answers are here already" in finish_vllm(rest)
    assert files_of(rest)["scierc_ner.jsonl"] == files_of(together)["scierc_ner.jsonl"]


@pytest.mark.gpu
@pytest.mark.vllm
@pytest.mark.skipif(not VLLM_PYTHON or len(machine.gpus()) < 2, reason="needs two GPUs and an interpreter with vLLM")
def test_every_gpu_has_an_engine(tmp_path: Path, model: ModelConfig, instances: Path) -> None:
    run = make_run(tmp_path / "run", path=str(instances), model=model, engine=EngineConfig(name="vllm"))
    output = finish_vllm(run)
    assert "[80/80] answers" in output
    made_with = json.loads(run.answered_with.read_text())["made with"]
    assert len(made_with[0]["devices"]) == len(machine.gpus())
