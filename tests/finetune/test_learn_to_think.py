"""A tiny Qwen3 with its real template is taught to think by rows with thoughts, and then answers with budgets."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import finetune_runs
import predict_runs
import pytest
from predict_runs import ROOT, files_of, row, write_rows
from thinking_models import tokenizer_like

from sciriff import score
from sciriff.config import ChatSettings, Config, ModelConfig, load
from sciriff.data.records import Prediction
from sciriff.data.token_file import write_token_file
from sciriff.models.chat_markup import Markup
from sciriff.run.json_lines import Message, read_jsonl
from sciriff.run.run_dir import RunDir

WORDS = ("parsing", "translation", "retrieval", "tagging")
SILENT = ChatSettings({"enable_thinking": False})


def prompt_of(word: str) -> str:
    return f"Find the names.\n\nWe study {word}.\n\nWhich?"


def answer_of(word: str) -> str:
    return json.dumps({"Task": [word]})


def rows(tokenizer: object) -> Iterator[tuple[str, list[int], list[bool]]]:
    """Each question with a thought before its answer, and without one where the prompt has an empty one."""
    for settings, thought in ((ChatSettings(), "The text names {}."), (SILENT, None)):
        markup = Markup("tokenizer", tokenizer, settings)
        for word in WORDS:
            said = thought.format(word) if thought else None
            messages = [Message("user", prompt_of(word)), Message("assistant", answer_of(word), said)]
            rendered = markup.render(messages)
            made = markup.row(rendered, markup.encode([rendered])[0])
            yield f"science.x/{word}-{bool(thought)}", made.ids.tolist(), made.targets.tolist()


def predictions(run: RunDir) -> list[Prediction]:
    return list(read_jsonl(run.predictions / "scierc_ner.jsonl", Prediction))


@pytest.mark.slow
def test_a_model_that_is_taught_to_think(
    tmp_path: Path, composed: Callable[..., Config], in_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import tiny_families

    tokenizer = tokenizer_like("qwen3")
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    tiny_families.save("qwen3", tmp_path / "base", tmp_path / "tokenizer")
    shape = replace(finetune_runs.SHAPE, vocabulary=len(tokenizer), context=256)
    base = ModelConfig(name="thinker", path=str(tmp_path / "base"), chat="tokenizer", dtype="float32", shape=shape)
    taught = finetune_runs.make_run(composed, tmp_path / "taught", model=base, max_steps=150, warmup_ratio=0.05)
    write_token_file(taught.tokens, rows(tokenizer))
    finetune_runs.finetune(taught, learning_rate=5e-3, global_batch_size=8, micro_batch_tokens=1024, max_length=256)
    model = replace(base, path=str(taught.model))
    instances = write_rows(
        tmp_path / "instances.jsonl", [row(f"scierc_ner:v:{w}", prompt_of(w), answer_of(w)) for w in WORDS]
    )

    def answered(name: str, model: ModelConfig = model, **evaluation: int) -> RunDir:
        run = predict_runs.make_run(tmp_path / name, model=model, path=str(instances), **evaluation)
        predict_runs.finish(run)
        return run

    enough = answered("enough", max_new_tokens=24, thinking_tokens=64)
    for word, one in zip(WORDS, predictions(enough), strict=True):
        assert (one.prediction, one.thought, one.finish_reason) == (answer_of(word), f"The text names {word}.", "stop")
    score.main(load(enough.config), enough)
    result = json.loads(enough.scores.read_text())["tasks"]["scierc_ner"]
    assert result["headline"]["f1"] == 1
    assert result["thoughts"]["unfinished"] == 0

    long = max(one.thought_tokens for one in predictions(enough))
    little = answered("little", max_new_tokens=24, thinking_tokens=long // 2)
    for word, one in zip(WORDS, predictions(little), strict=True):
        assert (one.prediction, one.finish_reason) == ("", "unfinished_thought")
        assert one.thought_tokens == one.output_tokens == long // 2
        assert f"The text names {word}.".startswith(one.thought)
    score.main(load(little.config), little)
    result = json.loads(little.scores.read_text())["tasks"]["scierc_ner"]
    assert (result["readable"], result["thoughts"]["unfinished"], result["cut_answers"]) == (0, len(WORDS), 0)

    # a larger budget for the same run ends in the rows of a run that had it from the beginning
    assert answered("little", max_new_tokens=24, thinking_tokens=64).root == little.root
    rows_now = {name: data for name, data in files_of(little).items() if name.endswith(".jsonl")}
    assert rows_now == {name: data for name, data in files_of(enough).items() if name.endswith(".jsonl")}

    silent = answered("silent", replace(model, chat_arguments={"enable_thinking": False}), max_new_tokens=24)
    for word, one in zip(WORDS, predictions(silent), strict=True):
        assert (one.prediction, one.thought) == (answer_of(word), None)
