"""Mistakes of a user, and a full disk: one line names the problem, and finished work is kept."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from finetune_runs import SHAPE, Compose, finetune, losses, make_run, rows_of, tiny_model, train, weights

from sciriff.config import SAMPLE
from sciriff.data.token_file import write_token_file
from sciriff.run.run_dir import RunDir

pytestmark = pytest.mark.usefixtures("in_process")

Make = Callable[..., RunDir]


def test_a_mix_of_no_rows(make: Make) -> None:
    run = make()
    write_token_file(run.tokens, [])
    with pytest.raises(ValueError, match=r"none of the mix's 0 rows can be trained on.*mix/card\.json"):
        finetune(run)


@pytest.fixture
def model_folder(make: Make) -> Path:
    """A model trained here, with its tokenizer."""
    return finetune(make("made", max_steps=1)).model


def test_a_model_folder_without_a_tokenizer(make: Make, model_folder: Path) -> None:
    for file in model_folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(
        ValueError, match=r"model\.path=.*made/model has no tokenizer\.json; name a tokenizer: model\.t"
    ):
        finetune(make(model=tiny_model(path=str(model_folder), tokenizer=None)))


def test_a_vocabulary_that_does_not_match_the_tokenizer(make: Make, model_folder: Path) -> None:
    tokenizer = model_folder / "tokenizer.json"
    content = json.loads(tokenizer.read_text())
    content["model"]["vocab"]["beyond"] = 5000
    tokenizer.write_text(json.dumps(content))
    match = (
        r"model\.path=.*made/model has embeddings for 4096 tokens, and its tokenizer makes 5001; set model\.tokenizer"
    )
    with pytest.raises(ValueError, match=match):
        finetune(make(model=tiny_model(path=str(model_folder), tokenizer=None)))
    small = tiny_model(tokenizer=str(SAMPLE / "tokenizer"), shape=replace(SHAPE, vocabulary=300))
    with pytest.raises(
        ValueError, match=r"model\.shape has embeddings for 300 tokens, and its tokenizer makes \d+; set"
    ):
        finetune(make("small", model=small))


def test_tokens_of_another_model(make: Make) -> None:
    run = make()
    write_token_file(run.tokens, [("science.a/0", [1, 2], [False, True]), ("science.a/1", [1, 9000], [False, True])])
    with pytest.raises(ValueError, match=r"row science\.a/1 has token 9000, but the model has embeddings for 4096"):
        finetune(run)


def test_a_disk_that_fills_up_in_the_middle_of_a_checkpoint(
    make: Make, composed: Compose, small_disk: Callable[[str], Path]
) -> None:
    """Two checkpoints fit and the third does not: the oldest is removed only after it."""
    run = make_run(composed, small_disk("11m") / "run", checkpoint_every=2)
    with pytest.raises(OSError, match=r"step-6\.partial could not be written: the disk is full.*Free some space"):
        finetune(run)
    assert sorted(folder.name for folder in run.checkpoints.iterdir()) == ["step-2", "step-4"]
    assert not run.model.exists()
    small_disk("64m")
    finetune(run)
    whole = finetune(make("whole"))
    assert [row["step"] for row in rows_of(run)] == list(range(1, 11))
    assert losses(run) == losses(whole)
    assert weights(run) == weights(whole)


def test_a_disk_that_fills_up_while_the_model_is_written(
    make: Make, composed: Compose, small_disk: Callable[[str], Path]
) -> None:
    run = make_run(composed, small_disk("5m") / "run", checkpoint_every=4, max_steps=4)
    with pytest.raises(
        OSError, match=r"run/model could not be written: .*(full|quota).*the checkpoints are still there"
    ):
        finetune(run)
    assert [folder.name for folder in run.checkpoints.iterdir()] == ["step-4"]
    assert not run.model.exists()
    before = run.metrics.read_bytes()
    small_disk("64m")
    finetune(run)
    assert run.metrics.read_bytes() == before, "no step was done again"
    assert weights(run) == weights(finetune(make("whole", max_steps=4)))
    assert not run.checkpoints.exists()


@pytest.mark.slow
def test_a_full_disk_is_one_line_for_a_person_and_ends_all_processes(
    composed: Compose, small_disk: Callable[[str], Path]
) -> None:
    run = make_run(composed, small_disk("11m") / "run", checkpoint_every=2, num_processes=2)
    output = train(run, fails=True)
    errors = {line for line in output.splitlines() if line.startswith("error: ")}
    assert len(errors) == 1, output
    assert "step-6.partial could not be written: the disk is full" in errors.pop()
    assert sorted(folder.name for folder in run.checkpoints.iterdir()) == ["step-2", "step-4"]
