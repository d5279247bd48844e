"""What a general task lacks is said before a run starts, one line each."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import datasets
import nltk
import pytest
from huggingface_hub import constants

from sciriff.config import Config, GeneralConfig, as_dict
from sciriff.general import sentence_model
from sciriff.general.check import problems
from sciriff.general.datasets_at_hand import reading
from sciriff.general.loaded_tasks import load_tasks
from sciriff.general.task_index import leaves, task_manager
from sciriff.run.user_error import UserError

TASK = """
task: {name}
dataset_path: {dataset}
test_split: test
output_type: {kind}
doc_to_text: question
doc_to_target: answer
{more}
metric_list:
  - metric: {metric}
    aggregation: mean
    higher_is_better: true
"""


def write_task(
    folder: Path,
    name: str,
    *,
    kind: str = "generate_until",
    dataset: str = "own/data",
    more: str = "",
    metric="exact_match",
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text(TASK.format(name=name, dataset=dataset, kind=kind, more=more, metric=metric))


def write_data(folder: Path, dataset: str = "own/data") -> Path:
    place = folder / dataset
    place.mkdir(parents=True)
    (place / "test.jsonl").write_text('{"question": "1 + 1?", "answer": "2"}\n')
    return folder


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check keeps its process off the network; here that ends with the test."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def checked(composed: Callable[..., Config], tmp_path: Path) -> Callable[..., list[str]]:
    """`checked("general.tasks=[x]")`: the problems of the demo with these overrides, whose own tasks are in tasks/ and
    data in data/ of the test's folder."""

    def check(*overrides: str) -> list[str]:
        own = [f"general.include=[{tmp_path / 'tasks'}]", f"general.data={tmp_path / 'data'}"]
        return list(problems(composed("experiment=demo", *own, *overrides)))

    (tmp_path / "tasks").mkdir()
    write_data(tmp_path / "data")
    return check


def test_tasks_that_can_be_asked_have_no_problem(checked, tmp_path):
    write_task(tmp_path / "tasks", "own_sums")
    assert checked("general.tasks=[own_sums]") == []


def test_what_cannot_be_asked_is_named_with_a_way_out(checked, tmp_path):
    tasks = tmp_path / "tasks"
    write_task(tasks, "runs_it", more="unsafe_code: true")
    write_task(tasks, "draws_it", more="generation_kwargs: {do_sample: true, temperature: 0.8}")
    write_task(tasks, "whole_texts", kind="loglikelihood_rolling", metric="word_perplexity")
    write_task(tasks, "long_ones", more="generation_kwargs: {max_gen_toks: 1280}")
    write_task(tasks, "far_away", dataset="nobody/has_this")
    names = "runs_it,draws_it,whole_texts,long_ones,far_away"
    lines = checked(f"general.tasks=[{names}]", "+general.metrics.draws_it=accuracy")
    expected = [
        ("runs_it", "general.run_code=true"),
        ("whole_texts", "likelihood of whole texts"),
        ("draws_it", "temperature"),
        ("draws_it has no metric accuracy", "it has exact_match"),
        ("long_ones may have 1,280 tokens", "the model takes 1,024"),
        ("has no nobody/has_this", f"hf download --repo-type dataset nobody/has_this --local-dir {tmp_path}"),
    ]
    assert len(lines) == len(expected), lines
    for line, parts in zip(lines, expected, strict=True):
        assert all(part in line for part in parts), line
    assert checked("general.tasks=[long_ones]", "general.max_new_tokens=64") == []
    assert checked("general.tasks=[runs_it]", "general.run_code=true") == []


def test_a_misspelt_name_comes_with_the_nearest(checked):
    with pytest.raises(UserError, match="gsm8k_cott is no task or group of lm-eval; did you mean 'gsm8k_cot'"):
        checked("general.tasks=[gsm8k_cott]")


def test_own_rows_are_found_from_the_working_directory(composed, tmp_path, monkeypatch):
    more = "dataset_kwargs:\n  data_files:\n    test: rows.jsonl"
    write_task(tmp_path / "tasks", "own_sums", dataset="json", more=more)
    overrides = ["experiment=demo", f"general.include=[{tmp_path / 'tasks'}]", "general.tasks=[own_sums]"]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (line,) = problems(composed(*overrides))
    for part in ("own_sums", "rows.jsonl", f"the working directory, {tmp_path / 'elsewhere'}"):
        assert part in line
    (tmp_path / "rows.jsonl").write_text('{"question": "1 + 1?", "answer": "2"}\n')
    monkeypatch.chdir(tmp_path)
    assert list(problems(composed(*overrides))) == []
    (line,) = problems(composed(*overrides, f"general.data={tmp_path / 'tasks'}"))
    assert f"starts at general.data={tmp_path / 'tasks'}" in line


def test_an_own_file_that_cannot_be_read_is_named(checked, tmp_path):
    (tmp_path / "tasks/broken.yaml").write_text("task: broken_one\ndataset_path: [\n")
    with pytest.raises(UserError, match=r"broken\.yaml.* cannot be read"):
        checked("general.tasks=[broken_one]")


def test_a_template_that_names_no_column_is_told_without_a_traceback(composed, tmp_path):
    write_task(tmp_path / "tasks", "own_sums")
    file = tmp_path / "tasks/own_sums.yaml"
    file.write_text(file.read_text().replace("doc_to_target: answer", 'doc_to_target: "{{answr}}"'))
    places = [f"general.include=[{tmp_path / 'tasks'}]", f"general.data={write_data(tmp_path / 'data')}"]
    general = composed("experiment=demo", *places, "general.tasks=[own_sums]").general
    with (
        reading(general, str(tmp_path / "cache")),
        pytest.raises(UserError, match=r"own_sums cannot be loaded .*answr"),
    ):
        load_tasks(general)


def test_an_own_task_with_a_broken_template_is_found_before_the_run(checked, tmp_path):
    write_task(tmp_path / "tasks", "own_sums")
    path = tmp_path / "tasks/own_sums.yaml"
    path.write_text(path.read_text().replace("doc_to_target: answer", 'doc_to_target: "{{answr}}"'))
    [line] = checked("general.tasks=[own_sums]")
    assert "own_sums cannot be loaded" in line
    assert "answr" in line


def test_entries_of_a_preset_for_its_own_tasks_are_no_mistake(checked, tmp_path):
    write_task(tmp_path / "tasks", "own_sums")
    own = [f"general.include=[{tmp_path / 'tasks'}]", "general.data=null", f"general.data={tmp_path / 'data'}"]
    assert checked("general=sample", *own, "general.tasks=[own_sums]") == []


def test_a_leaf_belongs_to_one_entry(checked):
    with pytest.raises(UserError, match="mmlu_anatomy belongs to mmlu and to mmlu_anatomy"):
        checked("general.tasks=[mmlu,mmlu_anatomy]")


def test_a_key_that_is_no_task_is_named(checked, tmp_path):
    write_task(tmp_path / "tasks", "own_sums")
    own = ("general.tasks=[own_sums]", "+general.shots.own_sums=0")
    assert checked(*own, "+general.shots.mmlu=5") == [], "as in a preset of which only some tasks are asked"
    [line] = checked(*own, "+general.shots.own_sumz=3")
    assert line == "general.shots: own_sumz is no task or group of lm-eval; did you mean 'own_sums'?"
    [line] = checked(*own, "general.limit={own_sum: 3}")
    assert line.startswith("general.limit: own_sum is no task or group of lm-eval; did you mean 'own_sums'")


def test_the_closest_group_decides():
    general = GeneralConfig(tasks=["mmlu", "tydiqa_goldp"], limit={"mmlu": 2, "mmlu_stem": 1, "tydiqa_goldp": 3})
    found = {leaf.name: leaf.names for leaf in leaves(general, task_manager(general))}
    assert found["mmlu_anatomy"] == ("mmlu_anatomy", "mmlu_stem", "mmlu")
    limits = [general.of(general.limit, *found[leaf]) for leaf in ("mmlu_anatomy", "mmlu_virology", "tydiqa_goldp_fi")]
    assert limits == [1, 2, 3]


def test_a_group_without_a_task_is_refused(checked, tmp_path):
    (tmp_path / "tasks/nothing.yaml").write_text("group: own_nothing\ntask: []\n")
    with pytest.raises(UserError, match="own_nothing is a group without a task"):
        checked("general.tasks=[own_nothing]")


@pytest.mark.parametrize("name", ["own/sums", "answers", "requests", ".hidden"])
def test_a_name_that_no_file_can_have_is_refused(checked, tmp_path, name):
    write_task(tmp_path / "tasks", "own_sums")
    file = tmp_path / "tasks/own_sums.yaml"
    file.write_text(file.read_text().replace("task: own_sums", f"task: {name}"))
    with pytest.raises(UserError, match=f"'{name}' cannot be the name of a file"):
        checked(f"general.tasks=['{name}']")


def test_a_part_of_a_dataset_is_not_there(checked, tmp_path):
    write_task(tmp_path / "tasks", "own_first", more="dataset_name: first")
    write_task(tmp_path / "tasks", "own_second", more="dataset_name: second")
    parts = [
        f"- config_name: {name}\n  data_files: [{{split: test, path: {name}.jsonl}}]" for name in ("first", "second")
    ]
    folder = tmp_path / "data/own/data"
    (folder / "README.md").write_text("---\nconfigs:\n" + "\n".join(parts) + "\n---\n")
    (folder / "test.jsonl").rename(folder / "first.jsonl")
    assert checked("general.tasks=[own_first]") == []
    [line] = checked("general.tasks=[own_first,own_second]")
    assert "own/data cannot be read there (second: " in line
    (folder / "second.jsonl").write_bytes((folder / "first.jsonl").read_bytes())
    assert checked("general.tasks=[own_first,own_second]") == []


def test_the_hub_and_its_cache_lack_a_dataset(composed, tmp_path):
    write_task(tmp_path / "tasks", "own_sums")
    config = composed("experiment=demo", f"general.include=[{tmp_path / 'tasks'}]", "general.tasks=[own_sums]")
    [line] = problems(config)
    for part in ("own/data", "HF_HUB_OFFLINE is set", "hf download --repo-type dataset own/data", "general.data=DATA"):
        assert part in line


def test_sentences_cannot_be_counted(checked, tmp_path, monkeypatch):
    (tmp_path / "data/google/IFEval").mkdir(parents=True)
    (tmp_path / "data/google/IFEval/train.jsonl").write_text('{"prompt": "x", "key": 1}\n')
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    monkeypatch.setattr(sentence_model, "COPY", "nowhere")  # where llama-index-core is installed
    [line] = checked("general.tasks=[ifeval]", "general.max_new_tokens=64")
    assert "punkt_tab" in line
    assert "NLTK_DATA" in line
    (tmp_path / "tokenizers/punkt_tab").mkdir(parents=True)
    assert checked("general.tasks=[ifeval]", "general.max_new_tokens=64") == []


def test_the_command_prints_a_line_for_each_problem(composed, tmp_path):
    config = composed("experiment=demo", "general.tasks=[no_such_task]", f"general.include=[{tmp_path}]")
    command = [sys.executable, "-m", "sciriff.general.check"]
    result = subprocess.run(command, input=json.dumps(as_dict(config)), capture_output=True, text=True, check=True)
    assert result.stdout.startswith("general.tasks: no_such_task is no task or group of lm-eval")
    assert result.stdout.count("\n") == 1


def test_a_server_is_asked_for_letters_alone(checked, tmp_path):
    write_task(tmp_path / "tasks", "letters", kind="multiple_choice", more='doc_to_choice: ["A", "B"]', metric="acc")
    write_task(tmp_path / "tasks", "texts", kind="multiple_choice", more="doc_to_choice: choices", metric="acc")
    line, *_ = checked("general.tasks=[letters,texts]", "train=none", "model=gpt_4o_mini", "engine=openai")
    assert "texts compares likelihoods" in line
