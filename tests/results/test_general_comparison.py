"""General tasks of two runs are paired document by document, and the tests are those that one counts by hand."""

import itertools
import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from general_runs import item, write_general

from sciriff.results.finished_runs import FinishedRun
from sciriff.results.general_comparison import compare_general, compare_general_seeds, pooled_general
from sciriff.results.general_items import GeneralRun, read_general, score_general
from sciriff.results.seeds import Group
from sciriff.run.json_lines import write_jsonl


def made(place: Path, tasks: Any, **settings: Any) -> GeneralRun:
    found = read_general(write_general(place, tasks, **settings))
    assert found is not None
    return found


def test_one_task_by_hand(tmp_path: Path):
    before = made(tmp_path / "a", {"t": [1, 1, 1, 1, 0, 0, 1, 1]})
    after = made(tmp_path / "b", {"t": [1, 1, 0, 0, 0, 1, 0, 0]})
    found = compare_general(before, after, 1000)
    [row] = found.tasks
    assert (row.name, row.n, row.baseline.mean, row.value.mean) == ("t", 8, 6 / 8, 3 / 8)
    assert row.difference == -3 / 8
    assert [(pair.leaf, pair.before.doc_id) for pair in row.lost] == [("t", 2), ("t", 3), ("t", 6), ("t", 7)]
    assert [pair.after.doc_id for pair in row.won] == [5]
    # Of 2^5 combinations of signs those with at most one or at least four of five equal: the sign test.
    assert (row.p, row.exact) == ((2 + 2 * 5) / 32, True)
    assert (row.p_holm, row.verdict) == (row.p, "within noise")
    assert row.ci95 is not None and row.ci95[0] < -3 / 8 < row.ci95[1]
    error = math.sqrt(np.var([0, 0, -1, -1, 0, 1, -1, -1], ddof=1) / 8)
    assert row.detectable == pytest.approx(2.80 * error, rel=0.1)
    assert (found.mean, found.notes) == (None, [])


def test_weighted_leaves_by_brute_force(tmp_path: Path):
    weights = {"x": {"weight": 30}, "y": {"weight": 10}}
    ours = {"x": [1, 0, 1, 1], "y": [0.2, 0.9, 0.5]}
    theirs = {"x": [0, 0, 1, 0], "y": [0.1, 1.0, 0.5]}
    [row] = compare_general(
        made(tmp_path / "a", {"g": ours}, leaves=weights), made(tmp_path / "b", {"g": theirs}, leaves=weights), 1000
    ).tasks
    parts = [0.75 * (b - a) / 4 for a, b in zip(ours["x"], theirs["x"], strict=True)]
    parts += [0.25 * (b - a) / 3 for a, b in zip(ours["y"], theirs["y"], strict=True)]
    observed = sum(parts)
    assert row.difference == pytest.approx(observed)
    flips = [sum(s * v for s, v in zip(signs, parts, strict=True)) for signs in itertools.product((1, -1), repeat=7)]
    assert row.p == pytest.approx(np.mean([abs(flip) >= abs(observed) - 1e-12 for flip in flips]))
    # every sample of three of four and two of three documents, each as likely
    drawn = [
        sum(parts[n] * 4 / 3 for n in x) + sum(parts[4 + n] * 3 / 2 for n in y)
        for x in itertools.product(range(4), repeat=3)
        for y in itertools.product(range(3), repeat=2)
    ]
    assert row.detectable == pytest.approx(2.8016 * np.std(drawn), rel=0.1)
    assert row.ci95 == pytest.approx(np.quantile(drawn, (0.025, 0.975)), abs=0.02)
    assert ([pair.before.doc_id for pair in row.lost], row.won) == ([0, 3], []), "0.1 is no change"


def test_several_tasks_have_a_mean_and_holms_correction(tmp_path: Path):
    ours = {"up": [0, 0] * 100, "down": [1, 1] * 100, "same": [1, 0] * 20}
    theirs = {"up": [0, 1] * 100, "down": [0, 1] * 100, "same": [1, 0] * 20}
    found = compare_general(made(tmp_path / "a", ours), made(tmp_path / "b", theirs), 2000)
    up, down, same = found.tasks
    assert (up.p, up.p_holm, up.verdict) == (1 / 2001, 3 / 2001, "higher")
    assert (down.difference, down.verdict) == (-0.5, "lower")
    assert (len(down.lost), len(down.won), len(up.lost), len(up.won)) == (100, 0, 0, 100)
    assert (same.p, same.ci95, same.detectable, same.verdict) == (1, (0, 0), None, "within noise")
    assert found.mean is not None
    assert (found.mean.name, found.mean.difference, found.mean.n) == ("mean of 3 of 3", 0, 440)
    assert found.mean.p > 0.9


def test_back_and_forth_are_opposite(tmp_path: Path):
    generator = np.random.default_rng(1)
    ours, theirs = ({"g": {leaf: generator.integers(2, size=60).tolist() for leaf in "abc"}} for _ in range(2))
    one, two = made(tmp_path / "a", ours), made(tmp_path / "b", theirs)
    [there], [back] = compare_general(one, two, 500).tasks, compare_general(two, one, 500).tasks
    assert there.ci95 is not None and back.ci95 is not None
    assert there.ci95 == pytest.approx([-limit for limit in reversed(back.ci95)])
    assert there.p == pytest.approx(back.p, abs=0.02)
    assert (len(there.lost), len(there.won)) == (len(back.won), len(back.lost))
    assert there == compare_general(one, two, 500).tasks[0]


def test_documents_that_one_run_lacks_or_has_otherwise(tmp_path: Path):
    before = made(tmp_path / "a", {"t": [1] * 10, "gone": [1, 0]})
    run = write_general(tmp_path / "b", {"t": [0] * 8, "new": [1, 0]})
    rows = [item(n, 0, "t") for n in range(2, 10)]
    rows[0]["doc_hash"] = "another question"
    rows[1]["target_hash"] = "another target"
    write_jsonl(run.general / "t.jsonl", rows)
    after = read_general(run)
    assert after is not None
    found = compare_general(before, after, 200)
    [row] = found.tasks
    assert (row.n, len(row.lost)) == (6, 6)
    assert found.notes == [
        "t: 2 documents are others in these runs by question or target, and left out",
        "t: only 6 documents are shared, of 8 and 10",
        "gone: not in after",
        "new: not in before",
    ]


def test_nothing_is_shared(tmp_path: Path):
    before = made(tmp_path / "a", {"t": [1, 0]})
    write_jsonl(tmp_path / "b" / "x.jsonl", [])
    after = made(tmp_path / "b", {"t": [1, 0]})
    items = {"t": [replace(row, doc_id=row.doc_id + 5) for row in after.items["t"]]}
    found = compare_general(before, replace(after, items=items), 200)
    assert (found.tasks, found.mean, found.notes) == ([], None, ["t: no document is shared"])


def test_leaves_that_only_one_has(tmp_path: Path):
    before = made(tmp_path / "a", {"g": {"x": [1, 0], "y": [0, 0]}})
    after = made(tmp_path / "b", {"g": {"y": [1, 0], "z": [0, 0]}})
    found = compare_general(before, after, 200)
    assert (found.tasks[0].baseline.mean, found.tasks[0].value.mean, found.tasks[0].n) == (0, 0.5, 2)
    assert "g: only 1 of 2 leaf tasks are shared" in found.notes


def test_a_single_document_of_a_leaf_gives_no_interval(tmp_path: Path):
    ours, theirs = {"g": {"x": [1, 0], "y": [0]}, "h": [0, 1]}, {"g": {"x": [0, 1], "y": [1]}, "h": [1, 1]}
    found = compare_general(made(tmp_path / "a", ours), made(tmp_path / "b", theirs), 200)
    assert [row.ci95 is None for row in (*found.tasks, found.mean)] == [True, False, True]
    assert found.tasks[0].detectable is None


def test_other_settings_are_said(tmp_path: Path):
    tasks = {"g": {"t": [1, 0], "s": [1, 0]}, "u": [1, 0]}
    before = made(tmp_path / "a", tasks, chat="general")
    after = made(
        tmp_path / "b",
        tasks,
        leaves={"t": {"shots": 0, "version": "2.0", "weight": 9}},
        metrics={"u": "acc_norm"},
        name="tulu2\nand more",
        lm_eval="0.4.14",
        turns=False,
        seed=7,
    )
    found = compare_general(before, after, 200)
    assert [row.name for row in found.tasks] == ["g"]
    assert found.notes == [
        "protocol: quick and tulu2␊and more",
        "version of lm-eval: 0.4.13 and 0.4.14",
        "markup of the model: general and tulu",
        "general.turns: True and False",
        "general.seed: 1234 and 7",
        "g: examples before each question: 5 and 0, 5",
        "g: versions of the task: 1.0 and 2.0, 1.0",
        "g: the leaf tasks have other weights in these runs; those of the first are used",
        "u: scored by acc and acc_norm, which cannot be compared",
    ]


def test_seeds_are_averaged_document_by_document(tmp_path: Path):
    ours = [made(tmp_path / f"a{n}", {"t": values}) for n, values in enumerate(([1, 1, 0, 1], [1, 0, 0, 1]))]
    theirs = [made(tmp_path / f"b{n}", {"t": values}) for n, values in enumerate(([0, 0, 0, 1], [0, 0, 1, 1]))]
    found = compare_general_seeds(ours, theirs, 1000)
    [row] = found.tasks
    assert (row.baseline.mean, row.value.mean) == (0.625, 0.375)
    assert row.baseline.sd == pytest.approx(math.sqrt(2 * 0.125**2))
    # by document -1, -0.5, +0.5 and 0
    parts = (-1, -0.5, 0.5)
    flips = [sum(s * v for s, v in zip(signs, parts, strict=True)) for signs in itertools.product((1, -1), repeat=3)]
    assert row.p == np.mean([abs(flip) >= 1 for flip in flips])
    assert ([pair.before.doc_id for pair in row.lost], [pair.after.doc_id for pair in row.won]) == ([0, 1], [2])
    runs = [FinishedRun(f"s{n}", tmp_path, "none", {}, {}, {}, general=general) for n, general in enumerate(ours)]
    pooled = pooled_general(Group(tuple(runs)), 500)
    assert pooled is not None and pooled.mean is not None
    assert (pooled.tasks[0].value.mean, pooled.tasks[0].value.sd, pooled.tasks[0].n) == (0.625, row.baseline.sd, 4)
    assert pooled.tasks[0].ci95 is not None and pooled.mean.ci95 == pooled.tasks[0].ci95
    assert pooled_general(Group((runs[0], replace(runs[1], general=None)))) is None
    alone = pooled_general(Group((runs[0],)), 500)
    assert alone is not None
    assert alone.tasks[0].ci95 == score_general(ours[0], 500)["tasks"]["t"]["ci95"]


def test_a_difference_within_the_seeds_noise(tmp_path: Path):
    shares = (10, 90)
    ours = [made(tmp_path / f"a{n}", {"t": [int(k < n) for k in range(100)]}) for n in shares]
    theirs = [made(tmp_path / "b", {"t": [int(k < 70) for k in range(100)]})]
    [row] = compare_general_seeds(ours, theirs, 1000).tasks
    assert (row.p < 0.05, row.verdict) == (True, "within seed noise")


def test_mmlu_in_full_takes_seconds(tmp_path: Path):
    generator = np.random.default_rng(3)
    ours = {"mmlu": {f"mmlu_{n}": generator.integers(2, size=176).tolist() for n in range(57)}}
    theirs = {
        "mmlu": {
            leaf: np.where(generator.random(176) < 0.2, 0, values).tolist() for leaf, values in ours["mmlu"].items()
        }
    }
    one, two = made(tmp_path / "a", ours), made(tmp_path / "b", theirs)
    start = time.process_time()
    scores = [score_general(run, 10_000) for run in (one, two)]
    [row] = compare_general(one, two, 10_000).tasks
    assert time.process_time() - start < 3
    assert (row.n, row.verdict, scores[0]["tasks"]["mmlu"]["n"]) == (10_032, "lower", 10_032)
    assert json.dumps(scores) == json.dumps([score_general(run, 10_000) for run in (one, two)])
