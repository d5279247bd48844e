"""Models that think before they answer, through the whole stage: rows, budgets, resume, general tasks, scores."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from predict_runs import files_of, finish, make_run, row, tiny_model, write_rows
from thinking_models import save_thinker, threads, tokenizer_like

from sciriff import score
from sciriff.config import EngineConfig, GeneralConfig, ModelConfig, load
from sciriff.data.general_rows import GeneralRequest, read_answers
from sciriff.data.records import Prediction
from sciriff.data.saved_answers import read_predictions
from sciriff.models.chat_markup import prompt_ids
from sciriff.models.engines import transformers
from sciriff.models.thoughts import thoughts_of
from sciriff.predict.__main__ import settings_of
from sciriff.run.finish_reasons import UNFINISHED_THOUGHT
from sciriff.run.json_lines import Message, read_jsonl, write_jsonl
from sciriff.run.run_dir import RunDir

ROWS = 12
LIMIT, BUDGET = 10, 14


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with threads(1):
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelConfig:
    """A random model in whose prompts a thought begins, and which ends it sooner or later, or never."""
    return save_thinker(tmp_path_factory.mktemp("thinking") / "model")


@pytest.fixture(scope="module")
def instances(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [row(f"scierc_ner:v:{i}", f"Find the names.\n\n{'word ' * (i % 9)}{i}\n\nWhich?", "{}") for i in range(ROWS)]
    return write_rows(tmp_path_factory.mktemp("rows") / "instances.jsonl", rows)


def run_of(folder: Path, model: ModelConfig, instances: Path, **more: Any) -> RunDir:
    return make_run(folder, model=model, path=str(instances), **{"max_new_tokens": LIMIT, **more})


def rows_of(run: RunDir) -> list[Prediction]:
    return list(read_jsonl(run.predictions / "scierc_ner.jsonl", Prediction))


def test_thoughts_are_kept_apart_and_have_a_budget(tmp_path: Path, model: ModelConfig, instances: Path) -> None:
    run = run_of(tmp_path / "run", model, instances, thinking_tokens=BUDGET)
    output = finish(run)
    said = "thoughts end with </think> (found by its token; every prompt begins one), within"
    assert f"{said} {BUDGET} tokens" in output
    rows = rows_of(run)
    ends = Counter(one.finish_reason for one in rows)
    assert ends[UNFINISHED_THOUGHT]
    assert ends["stop"] + ends["length"] > 2
    assert f"{ends[UNFINISHED_THOUGHT]} without an answer" in output
    for one in rows:
        assert one.thought is not None
        assert one.thought_tokens is not None
        assert "</think>" not in one.thought
        assert one.thought_tokens <= BUDGET
        written = one.output_tokens - one.thought_tokens
        if one.finish_reason == UNFINISHED_THOUGHT:
            assert (one.prediction, one.thought_tokens, written) == ("", BUDGET, 0)
        elif one.finish_reason == "length":
            assert written == LIMIT
    # the room of a prompt is the context without both
    assert f"prompts of at most {512 - LIMIT - BUDGET} tokens" in output
    # nothing of a thought is scored or judged, and it is counted
    before = files_of(run)
    finish(run)
    assert files_of(run) == before
    score.main(load(run.config), run)
    counts = json.loads(run.scores.read_text())["tasks"]["scierc_ner"]["thoughts"]
    assert (counts["answers"], counts["unfinished"]) == (ROWS, ends[UNFINISHED_THOUGHT])
    assert counts["mean_tokens"] == pytest.approx(sum(one.thought_tokens for one in rows) / ROWS)
    saved = read_predictions(run.predictions, None, False)["scierc_ner"].answers
    assert [one.thought for one in saved] == [one.thought for one in rows]


def test_another_budget_keeps_what_it_does_not_change(tmp_path: Path, model: ModelConfig, instances: Path) -> None:
    """Each row is that of a fresh run with the same budget."""
    engine = EngineConfig(name="transformers", batch_tokens=1)
    run = run_of(tmp_path / "run", model, instances, engine=engine, thinking_tokens=BUDGET)
    finish(run)
    unfinished = Counter(one.finish_reason for one in rows_of(run))[UNFINISHED_THOUGHT]
    for name, budget in (("more", 2 * BUDGET), ("none", 0)):
        fresh = run_of(tmp_path / name, model, instances, engine=engine, thinking_tokens=budget)
        finish(fresh)
        run_of(tmp_path / "run", model, instances, engine=engine, thinking_tokens=budget)
        output = finish(run)
        assert rows_of(run) == rows_of(fresh)
        if name == "more":
            assert f"{unfinished} answers are to another prompt or had another limit and are made again" in output
            assert f"{ROWS - unfinished} answers are here already" in output
    for one in rows_of(run):
        assert one.output_tokens <= LIMIT
        assert one.finish_reason != UNFINISHED_THOUGHT or one.thought_tokens == one.output_tokens == LIMIT


def test_general_answers_are_cut_too_and_stop_strings_wait(tmp_path: Path, model: ModelConfig, instances: Path) -> None:
    tokenizer = tokenizer_like("qwen3_5_think")
    prompts = [tokenizer(f"How much is {n} + 5?<think>", add_special_tokens=False)["input_ids"] for n in range(6)]
    general = GeneralConfig(name="tiny", tasks=["sums"])
    run = run_of(tmp_path / "free", model, instances, limit=1, general=general, thinking_tokens=40)
    write_jsonl(run.general_requests, [GeneralRequest("sums", n, ids, limit=8) for n, ids in enumerate(prompts)])
    finish(run)
    free = list(read_answers(run.general_answers))
    long = next(one for one in free if one.thought and len(one.thought) > 8 and one.text)
    inside = long.thought[2:6]
    run = run_of(tmp_path / "stops", model, instances, limit=1, general=general, thinking_tokens=40)
    stops = [inside, long.text[1:3]]
    requests = [GeneralRequest("sums", n, ids, limit=8, stops=stops) for n, ids in enumerate(prompts)]
    ended = tokenizer("</think>It is", add_special_tokens=False)["input_ids"]
    closed = [*prompt_ids("tokenizer", [Message("user", "How much?")], tokenizer), *ended]
    compared = [
        GeneralRequest("sums", 99 + n, ids, continuations=[[5], [6]]) for n, ids in enumerate((prompts[0], closed))
    ]
    write_jsonl(run.general_requests, [*requests, *compared])
    output = finish(run)
    assert "1 general prompts compare likelihoods of texts right after a prompt, which begins a thought" in output
    found = list(read_answers(run.general_answers))[: len(free)]
    assert len({one.finish_reason for one in found}) > 1
    for ours, theirs in zip(found, free, strict=True):
        assert (ours.thought, ours.thought_tokens) == (theirs.thought, theirs.thought_tokens)
        assert theirs.text.startswith(ours.text)
        assert not any(stop in ours.text for stop in stops)
    at = free.index(long)
    assert len(found[at].text) < len(long.text)


def test_answers_depend_on_marks_only_of_a_model_that_may_think(tmp_path: Path, instances: Path) -> None:
    """Else answers of earlier versions to a model with these marks in its vocabulary alone would be made again."""
    tokenizer = tokenizer_like("qwen3")

    def marks(**model: Any) -> Any:
        thinker = replace(tiny_model(), **model)
        config = load(run_of(tmp_path / "run", thinker, instances).config)
        settings = settings_of(config, transformers, [2], "id", thoughts_of(thinker, tokenizer))
        return settings.get("marks of thoughts")

    assert marks(chat="qwen") is None
    assert marks(chat="tokenizer") == marks(chat="qwen", thinking="qwen3") == ["<think>", "</think>"]
    assert marks(chat="qwen", thinking="none") == []


def test_what_is_refused(tmp_path: Path, instances: Path) -> None:
    run = run_of(tmp_path / "run", tiny_model(), instances, thinking_tokens=5)
    with pytest.raises(ValueError, match=r"eval\.thinking_tokens=5: this model's tokenizer has no known mark"):
        finish(run)
    finish(run_of(tmp_path / "run", replace(tiny_model(), thinking="none"), instances, thinking_tokens=5))
    assert "thought" not in (run.predictions / "scierc_ner.jsonl").read_text()
    with pytest.raises(ValueError, match="leave no room for a prompt"):
        finish(run_of(tmp_path / "full", replace(tiny_model(), thinking="none"), instances, thinking_tokens=250))
    with pytest.raises(ValueError, match=r"eval\.thinking_tokens=5 does not go with eval\.parity=reference"):
        run_of(tmp_path / "parity", tiny_model(), instances, thinking_tokens=5, parity="reference")
