"""Names of runs: readable, short, the same each time."""

import pytest

from sciriff.driver.run_name import LONGEST, run_name

CHOICES = {"model": "llama2_7b", "mix": "scitulu", "train": "full", "log": "offline", "deepspeed": "zero3"}


@pytest.mark.parametrize(
    ("typed", "choices", "name"),
    [
        ([], {}, "llama2_7b-scitulu"),
        (["train.learning_rate=1e-5", "seed=2"], {}, "llama2_7b-scitulu-s2-lr1e-5"),
        (["seed=2", "train.learning_rate=1e-5"], {}, "llama2_7b-scitulu-s2-lr1e-5"),
        (["mix.per_task=100", "mix.tulu=none"], {}, "llama2_7b-scitulu-per_task-100-tulu-none"),
        (["train=none", "model=scitulu_7b"], {"model": "scitulu_7b", "train": "none"}, "scitulu_7b"),
        (["experiment=demo"], {"model": "tiny", "experiment": "demo"}, "demo"),
        (["experiment=demo", "seed=1"], {"model": "tiny", "experiment": "demo"}, "demo-s1"),
        (["experiment=demo", "mix=science_only"], {"mix": "science_only"}, "demo-science_only"),
        (["experiment=demo", "train=none"], {"train": "none"}, "demo-untrained"),
        (
            [
                "deepspeed=zero2",
                "log=none",
                "stages=[mix]",
                "plan.gpus=8",
                "eval.resamples=9",
                "judge=openai",
                "allow_missing=true",
            ],
            {},
            "llama2_7b-scitulu-zero2",
        ),
        (
            ["predictions=out/answers", "train=none", "model=scitulu_7b"],
            {"model": "scitulu_7b", "train": "none"},
            "scitulu_7b-predictions-answers",
        ),
        (["+mix.sources.lab.weight=2"], {}, "llama2_7b-scitulu-lab-weight-2"),
        (["eval.model=/a/b/my model/"], {}, "llama2_7b-scitulu-model-my_model"),
        (
            ["predictions=results/predictions/scitulu-7b/", "train=none", "eval.parity=reference"],
            {"train": "none"},
            "scitulu-7b-parity-reference",
        ),
        (["predictions=."], {}, "predictions"),
        (["eval.model=runs/a/model"], {}, "llama2_7b-scitulu-model-a-model"),
        (["eval.model=runs/a/checkpoints/step-50/"], {}, "llama2_7b-scitulu-model-a-checkpoints-step-50"),
        (["eval.model=../model"], {}, "llama2_7b-scitulu-model-model"),
        (["mix.path=runs/a/mix/train.jsonl"], {}, "llama2_7b-scitulu-path-a-mix-train.jsonl"),
        (["predictions=runs/a/predictions", "train=none"], {"train": "none"}, "a-predictions"),
        (["predictions=old", "model=tiny", "train=none"], {"model": "tiny", "train": "none"}, "tiny-predictions-old"),
        (["eval.tasks=[biored_ner,scierc_ner]"], {}, "llama2_7b-scitulu-tasks-biored_ner+scierc_ner"),
    ],
)
def test_name(typed, choices, name):
    assert run_name(typed, {**CHOICES, **choices}) == name


@pytest.mark.parametrize("letter", ["x", "é", "文"])
def test_long_names_stay_distinct(letter):
    names = {run_name([f"mix.path=/{letter * 90}{i}"], CHOICES) for i in range(3)}
    assert len(names) == 3
    assert all(len(name.encode()) <= LONGEST for name in names)
