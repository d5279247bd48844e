"""The prompts that choose the best model: where they come from, and that none is trained on or reported."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from predict_runs import row, write_rows

from sciriff.config import Config
from sciriff.data.instances import read_instances
from sciriff.data.selection import origin_of_prompts
from sciriff.predict.selection_prompts import main
from sciriff.run.json_lines import write_jsonl
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

Compose = Callable[..., Config]

CHOOSES = ("experiment=demo", "name=a", "train.keep=best", "train.best_by=task_mean", "train.eval_every=5")
BIOASQ = "bioasq_list_qa"


def conversation(dataset: str, row_id: str, question: str, answer: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"dataset": dataset, "id": row_id, "messages": messages}


def run_with(folder: Path, mix: list[dict[str, Any]], validation: list[dict[str, Any]]) -> RunDir:
    run = RunDir(folder)
    run.mix.parent.mkdir(parents=True)
    write_jsonl(run.mix, mix)
    write_jsonl(run.validation, validation)
    return run


def written(run: RunDir) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.selection_prompts.read_text().splitlines()]


def test_the_train_split_without_what_is_trained_on_or_reported(
    composed: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "instances"
    folder.mkdir()
    questions = [f"Which proteins? {number}" for number in range(6)]
    train = [row(f"{BIOASQ}:train:{n}", question, '["a"]') for n, question in enumerate(questions)]
    no_json = row(f"{BIOASQ}:train:9", "Which others?", "none")
    judged = row("mup_single_document_summarization:train:0", "Summarise this.", "A summary.")
    write_rows(folder / "train.jsonl", [*train, no_json, judged])
    write_rows(folder / "validation.jsonl", [row(f"{BIOASQ}:validation:0", questions[0], '["a"]')])
    config = composed(*CHOOSES, f"eval.path={folder}", "train.best_rows=3")
    assert origin_of_prompts(config) == "train_split"
    run = run_with(tmp_path / "run", [conversation("science.other", "o:0", questions[1], "x")], [])
    main(config, run)
    rows = written(run)
    assert len(rows) == 3
    assert {line["input"] for line in rows} <= set(questions[2:])
    assert all(line["metric"] is None and line["limit"] == config.eval.max_new_tokens and line["ids"] for line in rows)
    assert "2 prompts left out" in capsys.readouterr().out
    assert [one.instance_id for one in read_instances(composed(f"eval.path={run.selection_prompts}").eval)[BIOASQ]] == [
        line["_instance_id"] for line in rows
    ], "the file can be answered again as an evaluation"
    before = run.selection_prompts.read_bytes()
    main(composed(*CHOOSES, f"eval.path={folder}", "train.best_rows=2"), run)
    assert run.selection_prompts.read_bytes() == before, "what has begun to choose stays"


def test_validation_rows_have_the_metric_of_their_form(composed: Compose, tmp_path: Path) -> None:
    config = composed(*CHOOSES, "mix.validation_rows=9", "mix.per_task=9")
    assert origin_of_prompts(config) == "validation_rows"
    rows = [
        *(conversation("science.cells_ner", f"cells_ner:train:{n}", f"Find {n}", '{"Cell": ["x"]}') for n in range(2)),
        conversation("science.mine", "file:3", "Yes or no?", "yes"),
        conversation("tulu", "t:1", "A general question", "An answer"),
    ]
    run = run_with(tmp_path / "run", [], rows)
    main(config, run)
    assert {line["_instance_id"]: line["metric"] for line in written(run)} == {
        "cells_ner:train:0": "entity_f1",
        "cells_ner:train:1": "entity_f1",
        "mine:file:3": "label_accuracy",
    }


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([], r"no prompts but those that are reported .*validation\.jsonl has no rows of the split train"),
        (["mix.path=m.jsonl"], r"mix\.path=m\.jsonl brings no validation rows.*train\.best_from=reported"),
        (["train.best_from=train_split"], r"train\.best_from=train_split: eval\.path=.* has no rows of the split"),
        (["train.best_from=validation_rows"], r"mix\.validation_rows=0 draws none"),
        (["eval.split=train", "mix.validation_rows=0"], r"eval\.split=train reports it"),
    ],
)
def test_only_what_is_reported_is_refused_unless_it_is_typed(
    composed: Compose, overrides: list[str], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        origin_of_prompts(composed(*CHOOSES, *overrides))
    assert origin_of_prompts(composed(*CHOOSES, "train.best_from=reported")) == "reported"


def test_training_on_the_train_split_rules_it_out(composed: Compose) -> None:
    from_hub = [*CHOOSES, "eval=sciriff", "eval.path=null"]
    assert origin_of_prompts(composed(*from_hub)) == "train_split"
    with pytest.raises(ValueError, match=r"mix\.include_heldout=true trains on"):
        origin_of_prompts(composed(*from_hub, "mix.include_heldout=true"))
    assert origin_of_prompts(composed(*from_hub, "mix.include_heldout=true", "mix.validation_rows=4")) == (
        "validation_rows"
    )


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["train.best_by=task_mean"], r"train\.best_by=task_mean says .* train\.keep=last writes the last .*keep=best"),
        (["train=none", "train.best_by=task_mean"], r"train=none trains nothing"),
        (["train.best_rows=3"], r"train\.best_rows=3 is about the prompts of train\.best_by=task_mean.*is null"),
        (
            [
                "train.keep=best",
                "train.eval_every=5",
                "train.best_by=general_loss",
                "mix.validation_rows=5",
                "mix.sources.tulu.path=null",
            ],
            r"train\.best_by=general_loss needs general validation rows, and mix=sample has no general source",
        ),
        (
            ["train.keep=best", "train.eval_every=5", "train.best_by=general_loss"],
            r"train\.best_by=general_loss chooses by the loss on validation rows, and mix\.validation_rows=0",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(composed: Compose, overrides: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        composed("experiment=demo", *overrides)


def test_prompts_of_a_damaged_file_are_refused(composed: Compose, tmp_path: Path) -> None:
    """A run folder may be somebody else's."""
    config = composed(*CHOOSES, "mix.validation_rows=9")
    run = run_with(
        tmp_path / "run", [], [conversation("science.mine", f"mine:{n}", f"Is it {n}?", "yes") for n in "ab"]
    )
    main(config, run)
    good = written(run)
    main(config, run)
    changes: list[tuple[dict[str, Any], str]] = [
        ({"ids": [10**9]}, r":2: ids are not the tokens"),
        ({"ids": []}, r":2: ids are not the tokens"),
        ({"limit": 10**9}, r":2: limit=1000000000 and thinking=0: the model takes"),
        ({"thinking": -1}, r":2: limit=\d+ and thinking=-1: the model takes"),
        ({"metric": "x\u202e"}, r":2: metric=x\ufffd of the task mine is not known"),
        ({"metric": None}, r":2: metric=None of the task mine is not known"),
        ({"limit": "2"}, r":2: limit"),
    ]
    for change, said in changes:
        write_jsonl(run.selection_prompts, [good[0], {**good[1], **change}])
        with pytest.raises(UserError, match=said):
            main(config, run)
    run.selection_prompts.write_text("")
    with pytest.raises(UserError, match=r"prompts\.jsonl is empty; remove the file"):
        main(config, run)
