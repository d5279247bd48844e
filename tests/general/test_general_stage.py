"""From prompts to scores of general tasks, with answers that the test writes in place of an engine."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import datasets
import pytest
from huggingface_hub import constants
from predict_runs import make_run, tiny_model

from sciriff.config import SAMPLE, Config, GeneralConfig, load
from sciriff.data.general_rows import GeneralAnswer, GeneralRequest, read_items, read_requests, read_settings
from sciriff.general import __main__ as general
from sciriff.general import requests
from sciriff.run.json_lines import read_json_objects, write_jsonl
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

TASKS = ["sample_common_sense", "sample_arithmetic", "sample_instructions"]
DATA = SAMPLE / "general"


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The stage keeps its process off the network; here that ends with the test."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def sample_run(folder: Path, *, context: int = 1024, allow_missing: bool = False, **changes: object) -> RunDir:
    """A run that is to measure the bundled items."""
    settings = GeneralConfig(name="sample", tasks=TASKS, data=str(DATA), include=[str(DATA / "tasks")])
    chosen = replace(settings, **changes)
    return make_run(folder, model=tiny_model(context), general=chosen, allow_missing=allow_missing)


def asked(run: RunDir) -> list[GeneralRequest]:
    requests.main(load(run.config), run)
    return read_requests(run)


def save(run: RunDir, rows: list[GeneralAnswer]) -> None:
    write_jsonl(run.general_answers, rows)


def generated(request: GeneralRequest, text: str) -> GeneralAnswer:
    return GeneralAnswer(request.digest, "model", "start", "stop", 3, text)


def compared(request: GeneralRequest, best: int) -> GeneralAnswer:
    values = [-1.0 if place == best else -2.0 for place in range(len(request.continuations))]
    greedy = [place == best for place in range(len(values))]
    return GeneralAnswer(request.digest, "model", "start", "scored", log_likelihoods=values, greedy=greedy)


def documents(name: str) -> list[dict[str, object]]:
    return [row for _, row in read_json_objects(DATA / f"sciriff/general_sample/{name}/test.jsonl")]


def right(request: GeneralRequest, *, wrong: frozenset[int] = frozenset()) -> GeneralAnswer:
    """The right answer, or a wrong one to the documents in `wrong`."""
    kind = request.task.removeprefix("sample_")
    document = documents(kind)[request.doc_id]
    answer = document["answer"]
    if request.continuations:
        return compared(request, (answer + (request.doc_id in wrong)) % 4)
    if request.doc_id in wrong:
        return generated(request, "no idea")
    return generated(request, f"so it is = {answer}" if kind == "arithmetic" else str(answer))


def test_right_and_wrong_answers_are_scored_by_document(tmp_path):
    run = sample_run(tmp_path)
    wrong = frozenset({0, 3, 4})
    rows = asked(run)
    assert not [row for row in rows if len(row.prompt) + row.limit > 1024]
    save(run, [right(row, wrong=wrong) for row in rows])
    general.main(load(run.config), run)
    settings = read_settings(run)
    assert list(settings.tasks) == TASKS
    for name in TASKS:
        items = read_items(run, name)
        assert [item.doc_id for item in items] == list(range(len(documents(name.removeprefix("sample_")))))
        assert {item.doc_id for item in items if item.value == 0} == wrong, name
        assert {item.value for item in items} == {0.0, 1.0}
    leaf = settings.tasks["sample_common_sense"].leaves["sample_common_sense"]
    assert (leaf.shots, leaf.chance) == (3, 0.25)
    [first, *_] = read_items(run, "sample_common_sense")
    assert first.target in "ABCD"
    assert first.answer in "ABCD"
    assert first.answer != first.target
    assert first.question.startswith(str(documents("common_sense")[0]["question"]))


def test_a_limit_draws_the_same_documents_and_a_larger_one_contains_them(tmp_path):
    chosen = []
    for number, limit in enumerate((5, 5, {"sample_arithmetic": 9, "sample_common_sense": 5})):
        rows = asked(sample_run(tmp_path / str(number), limit=limit))
        chosen.append({task: {row.doc_id for row in rows if row.task == task} for task in TASKS})
    assert chosen[0] == chosen[1]
    assert {task: len(ids) for task, ids in chosen[0].items()} == dict.fromkeys(TASKS, 5)
    assert chosen[0]["sample_arithmetic"] < chosen[2]["sample_arithmetic"]
    assert chosen[0]["sample_arithmetic"] != set(range(5)), "not the first"
    assert len(chosen[2]["sample_instructions"]) == len(documents("instructions")), "no limit of its own"


def test_prompts_that_are_too_long_are_counted(tmp_path, capsys):
    run = sample_run(tmp_path, context=110, tasks=["sample_arithmetic"])
    rows = asked(run)
    save(run, [right(row) for row in rows])
    general.main(load(run.config), run)
    items = read_items(run, "sample_arithmetic")
    assert {item.truncated for item in items} > {0} or min(item.truncated for item in items) > 0
    assert "prompts were too long and lost" in capsys.readouterr().out
    shorter = sample_run(tmp_path / "shorter", context=45, tasks=["sample_arithmetic"])
    rows = asked(shorter)
    save(shorter, [right(row) for row in rows])
    general.main(load(shorter.config), shorter)
    skipped = [item for item in read_items(shorter, "sample_arithmetic") if item.finish == "skipped"]
    assert skipped
    assert {(item.value, item.truncated) for item in skipped} == {(0.0, 3)}
    assert len(skipped) + len(rows) == len(documents("arithmetic"))


def test_answers_must_be_there_and_of_one_model(tmp_path):
    run = sample_run(tmp_path, tasks=["sample_arithmetic"])
    with pytest.raises(UserError, match="no answers yet; run the predict stage"):
        general.main(load(run.config), run)
    rows = [right(row) for row in asked(run)]
    save(run, rows[:-2])
    with pytest.raises(UserError, match=r"sample_arithmetic:\d+, sample_arithmetic:\d+ have no answer.*allow_missing"):
        general.main(load(run.config), run)
    save(run, [*rows[:-1], replace(rows[-1], made_with="another model")])
    with pytest.raises(UserError, match="answers of several models"):
        general.main(load(run.config), run)


def test_documents_without_an_answer_are_left_out_if_that_is_allowed(tmp_path):
    run = sample_run(tmp_path, tasks=["sample_arithmetic"], allow_missing=True)
    rows = [right(row) for row in asked(run)]
    save(run, rows[2:])
    general.main(load(run.config), run)
    items = read_items(run, "sample_arithmetic")
    assert len(items) == len(rows) - 2
    assert {item.value for item in items} == {1.0}
    leaf = read_settings(run).tasks["sample_arithmetic"].leaves["sample_arithmetic"]
    assert (leaf.items, leaf.documents) == (len(rows) - 2, len(rows))


def test_a_document_that_lacks_one_of_its_answers_is_left_out(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "fill.py").write_text(
        "def texts(doc):\n    return [f'{doc[\"instruction\"]} first', f'{doc[\"instruction\"]} second']\n"
        "def which(doc):\n    return 0\n"
        "def rest(doc):\n    return 'the rest'\n"
    )
    (own / "own_fill.yaml").write_text(
        "task: own_fill\ndataset_path: sciriff/general_sample\ndataset_name: instructions\ntest_split: test\n"
        "output_type: multiple_choice\ndoc_to_text: !function fill.which\ndoc_to_choice: !function fill.texts\n"
        "doc_to_target: !function fill.rest\nmetric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]\n"
    )
    run = sample_run(tmp_path, tasks=["own_fill"], include=[str(own)], allow_missing=True)
    rows = asked(run)
    assert len(rows) == 2 * len(documents("instructions"))
    save(run, [compared(row, 0) for row in rows[:1] + rows[2:]])
    general.main(load(run.config), run)
    assert [item.doc_id for item in read_items(run, "own_fill")] == list(range(1, len(rows) // 2))


def test_an_answer_with_too_few_likelihoods_is_named(tmp_path):
    run = sample_run(tmp_path, tasks=["sample_common_sense"])
    rows = [right(row) for row in asked(run)]
    save(run, [replace(rows[0], log_likelihoods=[-1.0]), *rows[1:]])
    with pytest.raises(UserError, match=r"sample_common_sense:0 has 1 log-likelihoods.* 4 choices"):
        general.main(load(run.config), run)


def test_other_tasks_leave_no_file_of_earlier_ones(tmp_path):
    run = sample_run(tmp_path)
    save(run, [right(row) for row in asked(run)])
    general.main(load(run.config), run)
    fewer = sample_run(tmp_path, tasks=["sample_instructions"])
    general.main(load(fewer.config), fewer)
    files = {path.name for path in run.general.glob("*.jsonl")}
    assert files == {"answers.jsonl", "requests.jsonl", "sample_instructions.jsonl"}


def test_the_same_config_writes_the_same_bytes(tmp_path):
    written = []
    for name in ("one", "two"):
        run = sample_run(tmp_path / name)
        save(run, [right(row) for row in asked(run)])
        general.main(load(run.config), run)
        written.append({path.name: path.read_bytes() for path in sorted(run.general.iterdir())})
    assert written[0] == written[1]


def test_a_value_that_is_no_share_is_refused(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "counts.py").write_text("def process(doc, results):\n    return {'exact_match': 7.0}\n")
    base = (DATA / "tasks/sample_instructions.yaml").read_text().replace("sample_instructions", "own_counts")
    (own / "own_counts.yaml").write_text(f"{base}process_results: !function counts.process\n")
    run = sample_run(tmp_path, tasks=["own_counts"], include=[str(own)])
    save(run, [generated(row, "x") for row in asked(run)])
    with pytest.raises(UserError, match="exact_match of own_counts is 7 for document 0"):
        general.main(load(run.config), run)


def test_code_of_saved_answers_runs_only_where_that_is_allowed(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "runs.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\ndef process(doc, results):\n    return {{'exact_match': 1.0}}\n"
    )
    base = (DATA / "tasks/sample_instructions.yaml").read_text().replace("sample_instructions", "own_code")
    (own / "own_code.yaml").write_text(f"{base}unsafe_code: true\nprocess_results: !function runs.process\n")
    run = sample_run(tmp_path, tasks=["own_code"], include=[str(own)], run_code=True)
    save(run, [generated(row, "x") for row in asked(run)])
    (tmp_path / "ran").unlink()
    refused = sample_run(tmp_path, tasks=["own_code"], include=[str(own)])
    with pytest.raises(UserError, match=r"own_code runs code that the model writes.*general\.run_code=true"):
        general.main(load(refused.config), refused)
    assert not (tmp_path / "ran").exists()


def test_data_that_changed_is_read_anew(tmp_path):
    data = tmp_path / "data"
    shutil.copytree(DATA, data)
    path = data / "sciriff/general_sample/instructions/test.jsonl"
    first = asked(sample_run(tmp_path / "one", tasks=["sample_instructions"], data=str(data)))
    path.write_text('{"instruction": "Say nothing but no.", "answer": "no"}\n')
    [changed] = asked(sample_run(tmp_path / "two", tasks=["sample_instructions"], data=str(data)))
    assert changed.digest not in {row.digest for row in first}


def test_a_metric_that_is_no_mean_is_refused(tmp_path):
    run = sample_run(tmp_path, tasks=["sample_arithmetic"], metrics={"sample_arithmetic": "f1"})
    with pytest.raises(UserError, match="no metric f1 that is a mean over documents; it has exact_match"):
        asked(run)


def test_a_prefix_and_shots_of_the_config_are_used(tmp_path):
    prefix = {"sample_common_sense": "The answer is:"}
    run = sample_run(tmp_path, tasks=["sample_common_sense"], prefixes=prefix, shots={"sample_common_sense": 1})
    one = asked(run)[0]
    plain = asked(sample_run(tmp_path / "plain", tasks=["sample_common_sense"], shots={"sample_common_sense": 1}))[0]
    assert len(one.prompt) > len(plain.prompt)
    assert one.continuations != plain.continuations, "a letter after the prefix has a blank before it"


def test_lm_eval_is_loaded_by_this_stage_alone():
    code = "import sys, sciriff.train, sciriff.predict.__main__, sciriff.score; sys.exit('lm_eval' in sys.modules)"
    import subprocess

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def served(composed: Callable[..., Config], tmp_path: Path) -> RunDir:
    """A run whose model is behind a server."""
    from sciriff.config import to_yaml

    config = composed("experiment=demo", "train=none", "model=gpt_4o_mini", "engine=openai", "general=sample")
    run = RunDir(tmp_path / "served")
    run.root.mkdir()
    run.config.write_text(to_yaml(replace(config, run_dir=str(run.root), name="served")))
    return run


def test_a_server_gets_conversations_and_writes_letters(served):
    rows = asked(served)
    letters = [row for row in rows if row.task == "sample_common_sense"]
    assert all(row.prompt == [] and row.messages[-1].role == "user" for row in rows)
    assert [message.role for message in letters[0].messages] == ["system", *["user", "assistant"] * 3, "user"]
    answers = [documents("common_sense")[row.doc_id]["answer"] for row in letters]
    texts = [f"({'ABCD'[answer]})" for answer in answers]
    texts[0] = "It depends."
    others = [right(row) for row in rows if row.task != "sample_common_sense"]
    save(served, [*(generated(row, text) for row, text in zip(letters, texts, strict=True)), *others])
    general.main(load(served.config), served)
    items = read_items(served, "sample_common_sense")
    assert [item.value for item in items] == [0.0, *[1.0] * (len(items) - 1)]
    assert items[0].answer == "It depends."
    assert json.loads(served.general_settings.read_text())["chat"] == "server"
