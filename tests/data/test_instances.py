"""Choice of instances, and refused rows."""

from pathlib import Path
from typing import Any

import pytest

from sciriff.config import EvalConfig
from sciriff.data.instances import choose, read_instances, wanted_tasks
from sciriff.data.records import Instance
from sciriff.run.json_lines import write_jsonl


def row(instance_id: str, prompt: str, reference: str = "[]") -> dict[str, Any]:
    return {"input": prompt, "output": reference, "metadata": {}, "_instance_id": instance_id}


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    write_jsonl(path, rows)
    return path


def test_only_held_out_tasks_are_read_in_the_papers_order(tmp_path: Path) -> None:
    path = write_rows(
        tmp_path / "rows.jsonl",
        [
            row("scierc_ner:validation:0", "a"),
            row("chemprot_re:validation:0", "no held-out task"),
            row("bioasq_list_qa:train:7", "b", "x"),
            row("scierc_ner:validation:1", "c"),
        ],
    )
    instances = read_instances(EvalConfig(path=str(path)))
    assert list(instances) == ["bioasq_list_qa", "scierc_ner"]
    assert instances["bioasq_list_qa"] == [Instance("bioasq_list_qa", "bioasq_list_qa:train:7", "b", "x")]
    assert [i.prompt for i in instances["scierc_ner"]] == ["a", "c"]


def test_only_the_tasks_that_were_asked_for(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [row("scierc_ner:v:0", "a"), row("bioasq_list_qa:v:0", "b")])
    assert list(read_instances(EvalConfig(path=str(path), tasks=["scierc_ner"]))) == ["scierc_ner"]
    with pytest.raises(ValueError, match="no instances of biored_ner"):
        read_instances(EvalConfig(path=str(path), tasks=["scierc_ner", "biored_ner"]))


def test_an_unknown_task_is_named_with_the_nearest_one() -> None:
    with pytest.raises(ValueError, match="'scirec_ner' is not a held-out task; did you mean 'scierc_ner'"):
        wanted_tasks(["scirec_ner"])
    with pytest.raises(ValueError, match="asks for nothing"):
        wanted_tasks([])


def test_a_double_id_and_a_broken_row_are_refused_with_their_place(tmp_path: Path) -> None:
    double = write_rows(tmp_path / "double.jsonl", [row("scierc_ner:v:0", "a"), row("scierc_ner:v:0", "b")])
    with pytest.raises(ValueError, match=r"double.jsonl.*2.*scierc_ner:v:0 is already at .*1"):
        read_instances(EvalConfig(path=str(double)))
    broken = write_rows(tmp_path / "broken.jsonl", [{**row("scierc_ner:v:0", "a"), "output": None}])
    with pytest.raises(ValueError, match=r"broken.jsonl.*1.*'output'"):
        read_instances(EvalConfig(path=str(broken)))
    torn = write_rows(tmp_path / "torn.jsonl", [row("scierc_ner:v:0", "a"), row("scierc_ner:v:1", "b \ud800")])
    with pytest.raises(ValueError, match=r"torn.jsonl:2: 'input' has lone surrogates"):
        read_instances(EvalConfig(path=str(torn)))


def test_no_instances_at_all(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [row("chemprot_re:v:0", "a")])
    with pytest.raises(ValueError, match="has no instances of"):
        read_instances(EvalConfig(path=str(path)))
    with pytest.raises(ValueError, match="give eval"):
        read_instances(EvalConfig())


def test_a_limit_is_a_seeded_choice_in_order() -> None:
    instances = [Instance("t", f"t:v:{i}", "", "") for i in range(100)]
    ten, twenty = choose(instances, 10, seed=1), choose(instances, 20, seed=1)
    assert len(ten) == 10
    assert ten == sorted(ten, key=instances.index)
    assert set(ten) <= set(twenty)
    assert ten != choose(instances, 10, seed=2)
    assert ten != instances[:10]
    assert choose(instances, None, seed=1) == choose(instances, 100, seed=1) == instances
    # Another order or a missing neighbour changes nothing.
    assert set(choose(instances[::-1], 10, seed=1)) == set(ten)
