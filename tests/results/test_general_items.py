"""Items of general tasks are read whole or refused in one line, and their values are those computed by hand."""

import itertools
import json
import random
from pathlib import Path

import numpy as np
import pytest
from general_runs import item, write_general

from sciriff.results.general_items import GeneralRun, read_general, score_general
from sciriff.results.general_table import write_general_table
from sciriff.results.statistics import Stratum, flipped_means, interval, p_value, resampled_means
from sciriff.run.json_lines import write_jsonl
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError


def read(run: RunDir) -> GeneralRun:
    found = read_general(run)
    assert found is not None
    return found


def test_a_task_is_the_weighted_mean_of_its_leaves(tmp_path: Path):
    run = write_general(
        tmp_path,
        {"group": {"a": [1, 0, 1, 1], "b": [0, 0]}, "alone": [0.25, 0.5]},
        leaves={
            "a": {"weight": 100, "documents": 100, "chance": 0.25},
            "b": {"weight": 300, "documents": 300, "chance": 0.5},
            "alone": {"shots": 8},
        },
        metrics={"alone": "exact_match,flexible-extract"},
        name="quick",
    )
    scores = score_general(read(run), 500)
    assert scores["name"] == "quick"
    group, alone = scores["tasks"]["group"], scores["tasks"]["alone"]
    assert group["value"] == pytest.approx((100 * 0.75 + 300 * 0) / 400)
    assert group["chance"] == pytest.approx((100 * 0.25 + 300 * 0.5) / 400)
    assert (group["n"], group["of"], group["shots"], group["metric"]) == (6, 400, 5, "acc")
    assert (alone["n"], alone["of"], alone["shots"]) == (2, 2, 8)
    assert alone["value"] == 0.375
    assert "chance" not in alone
    assert alone["ci95"] == (0.25, 0.5)
    low, high = group["ci95"]
    assert 0 <= low < group["value"] < high <= 0.25, "b has no variance, and a has a share of a quarter"
    assert scores["mean"]["value"] == pytest.approx((0.1875 + 0.375) / 2)
    assert scores["mean"]["ci95"][0] < scores["mean"]["value"] < scores["mean"]["ci95"][1]


def test_what_was_cut_is_counted(tmp_path: Path):
    run = write_general(tmp_path, {"a": [0] * 6})
    finishes = ["stop", "length", "length", "skipped", "scored", "other"]
    rows = [item(n, 0, finish=finish, truncated=n // 4) for n, finish in enumerate(finishes)]
    write_jsonl(run.general / "a.jsonl", rows)
    [task] = score_general(read(run), 0)["tasks"].values()
    assert (task["shortened_prompts"], task["skipped_prompts"], task["cut_answers"]) == (2, 1, 2)
    assert "ci95" not in task


def test_a_single_document_of_a_leaf_gives_no_interval(tmp_path: Path):
    scores = score_general(read(write_general(tmp_path, {"g": {"a": [1, 0], "b": [1]}, "h": [1, 0]})), 200)
    assert "ci95" not in scores["tasks"]["g"]
    assert "ci95" in scores["tasks"]["h"]
    assert scores["mean"] == {"value": pytest.approx((2 / 3 + 1 / 2) / 2)}


def test_the_order_of_rows_does_not_matter(tmp_path: Path):
    run = write_general(tmp_path, {"a": [1, 0, 0.5, 1, 0, 0, 1]})
    before = score_general(read(run), 300)
    path = run.general / "a.jsonl"
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    assert score_general(read(run), 300) == before
    assert [row.doc_id for row in read(run).items["a"]] == list(range(7))


def test_no_tasks_and_no_run(tmp_path: Path):
    assert read_general(RunDir(tmp_path)) is None
    assert score_general(read(write_general(tmp_path, {})), 100) == {"name": "quick", "tasks": {}, "mean": None}


def test_texts_are_left_out(tmp_path: Path):
    found = read_general(write_general(tmp_path, {"a": [1]}), texts=False)
    assert found is not None
    assert (found.items["a"][0].question, found.items["a"][0].value) == ("", 1)


DAMAGED = {
    "not a number": ('{"value": NaN}', "value"),
    "infinite": ('{"value": 1e400}', "value"),
    "above one": ('{"value": 1.5}', "value=1.5"),
    "a text": ('{"value": "1"}', "value"),
    "a missing key": ('{"value": null}', "value"),
    "an id below zero": ('{"doc_id": -1}', "doc_id"),
    "an id without end": ('{"doc_id": 1' + "0" * 5000 + "}", "not a line of JSON"),
    "another finish": ('{"finish": "crashed"}', "finish"),
    "no object": ("[1]", "expected a JSON object"),
    "half a line": ('{"doc_id": 0, "val', "not a line of JSON"),
    "a nested value": ('{"value": ' + "[" * 100_000 + "}", "not a line of JSON"),
}


@pytest.mark.parametrize("row", DAMAGED)
def test_damaged_rows_are_refused_in_one_line(tmp_path: Path, row: str):
    text, complaint = DAMAGED[row]
    run = write_general(tmp_path, {"a": [1, 0]})
    good = item(1, 1)
    try:
        broken = json.dumps({**good, **json.loads(text)})
    except (ValueError, TypeError, RecursionError):
        broken = text
    if '"value": 1e400' in text:
        broken = json.dumps(good).replace('"value": 1', '"value": 1e400')
    (run.general / "a.jsonl").write_text(json.dumps(item(0, 1)) + "\n" + broken + "\n")
    with pytest.raises(UserError) as error:
        read_general(run)
    assert f"{run.general / 'a.jsonl'}:2: " in str(error.value)
    assert complaint in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 600


def test_every_key_is_needed(tmp_path: Path):
    run = write_general(tmp_path, {"a": [1]})
    for key in item(0, 1):
        (run.general / "a.jsonl").write_text(json.dumps({k: v for k, v in item(0, 1).items() if k != key}) + "\n")
        with pytest.raises(UserError, match=rf"a\.jsonl:1: {key} is missing; run the stages predict and general again"):
            read_general(run)


def test_a_document_that_stands_there_twice_is_refused(tmp_path: Path):
    run = write_general(tmp_path, {"a": [1]})
    (run.general / "a.jsonl").write_text((json.dumps(item(0, 1)) + "\n") * 1000)
    with pytest.raises(UserError, match=r"a\.jsonl:2: doc_id=0 stands here twice"):
        read_general(run)


def change(run: RunDir, old: str, new: str) -> None:
    text = run.general_settings.read_text()
    assert old in text
    run.general_settings.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('"items": 2', '"items": 1', r"a\.jsonl has 2 documents and settings.json 1"),
        ('"items": 2', '"items": 3', "items=3 of documents=2"),
        ('"documents": 2, "items": 2', '"documents": 1, "items": 2', "items=2 of documents=1"),
        ('"weight": 2.0', '"weight": 0', "weight=0"),
        ('"weight": 2.0', '"weight": NaN', "weight"),
        ('"weight": 2.0', '"weight": 1e400', "no finite sum"),
        ('"chance": null', '"chance": NaN', "chance"),
        ('"chance": null', '"chance": 1', "chance"),
        ('"a": {"documents', '"../a": {"documents', "is not the name of a task"),
        ('"a": {"documents', '"b": {"documents', r"b\.jsonl does not exist"),
        ('"a": {"documents', '"": {"documents', "is not the name of a task"),
        ('"lm_eval": "0.4.13"', '"lm_eval": 4', "lm_eval=4"),
        ("{", "", "not how general tasks were scored"),
    ],
)
def test_damaged_settings_are_refused_in_one_line(tmp_path: Path, old: str, new: str, complaint: str):
    run = write_general(tmp_path, {"t": {"a": [1, 0]}})
    change(run, old, new)
    with pytest.raises(UserError, match=complaint) as error:
        read_general(run)
    assert len(str(error.value).splitlines()) == 1


def test_a_task_without_leaves_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"settings\.json: t has no leaf task"):
        read_general(write_general(tmp_path, {"t": {}}))


def test_the_table_has_a_row_for_each_leaf(tmp_path: Path):
    run = write_general(tmp_path, {"g": {"a": [1, 0, 1, 1], "b": [0, 1]}, "h": [0.5, 0.25]})
    write_general_table(run.tables, read(run), 200)
    head, *rows = [line.split("\t") for line in (run.tables / "general.tsv").read_text().splitlines()]
    by_name = [dict(zip(head, row, strict=True)) for row in rows]
    assert [(row["task"], row["leaf"], row["value"]) for row in by_name] == [
        ("g", "", "0.6667"),
        ("g", "a", "0.7500"),
        ("g", "b", "0.5000"),
        ("h", "", "0.3750"),
    ]
    assert (by_name[0]["weight"], by_name[1]["weight"], by_name[0]["chance"]) == ("", "4", "NA")
    write_general_table(run.tables, None, 200)
    assert not (run.tables / "general.tsv").exists()


# The statistics of strata


def test_resampled_means_have_the_variance_of_the_mean():
    """Many leaves of three documents each: draws of all three would give two thirds of the variance."""
    generator = np.random.default_rng(5)
    strata = [Stratum(f"leaf {n}", 1 / 50, generator.integers(2, size=3).astype(float)) for n in range(50)]
    expected = sum(s.share**2 * np.var(s.values, ddof=1) / 3 for s in strata)
    for values in (strata, [Stratum(s.name, s.share, np.repeat(s.values, 20)) for s in strata]):
        variance = sum(s.share**2 * np.var(s.values, ddof=1) / len(s.values) for s in values)
        assert np.var(resampled_means(values, 20_000, "t")) == pytest.approx(variance, rel=0.05)
    assert np.var(resampled_means(strata, 20_000, "t")) == pytest.approx(expected, rel=0.05)


@pytest.mark.slow
def test_the_interval_of_small_leaves_covers_the_true_value():
    """A group like MMLU under `quick`: leaves of different difficulty and size, of which a few documents are drawn."""
    generator = np.random.default_rng(6)
    truth = generator.beta(3, 3, size=30)
    shares = generator.integers(50, 800, size=30)
    shares = shares / shares.sum()
    true, covered = float(truth @ shares), []
    for number in range(400):
        strata = [
            Stratum(str(n), share, (generator.random(10) < chance).astype(float))
            for n, (share, chance) in enumerate(zip(shares, truth, strict=True))
        ]
        low, high = interval(resampled_means(strata, 500, f"data set {number}"))
        covered.append(low <= true <= high)
    assert 0.92 <= np.mean(covered) <= 0.98


def test_counted_and_drawn_values_agree():
    values = np.array([0.0] * 60 + [1.0] * 100)
    counted = resampled_means([Stratum("a", 1, values)], 20_000, "t")
    drawn = resampled_means([Stratum("a", 1, values + np.arange(160) * 1e-13)], 20_000, "t")
    assert interval(counted) == pytest.approx(interval(drawn), abs=0.01)
    assert np.std(counted) == pytest.approx(np.std(drawn), rel=0.03)
    assert set(np.round(counted * 159, 9)) <= set(range(160))


def test_opposite_differences_are_drawn_alike():
    values = np.array([1.0, 0, 0, -1, 0, 0, 0, 1, 0.5, -0.5] * 20)
    for spread in (values, values * np.linspace(0.5, 1, 200)):
        here, there = (resampled_means([Stratum("a", 0.5, sign * spread)], 300, "t") for sign in (1, -1))
        assert (here == -there).all()
        (flipped, _), (back, _) = (flipped_means([Stratum("a", 0.5, sign * spread)], 300, "t") for sign in (1, -1))
        assert sorted(np.abs(flipped)) == pytest.approx(sorted(np.abs(back)))


def test_few_differences_are_flipped_in_all_ways():
    strata = [Stratum("a", 0.25, np.array([1.0, 0, -1])), Stratum("b", 0.75, np.array([0, 0.5]))]
    permuted, every = flipped_means(strata, 100, "t")
    assert every
    sizes = (0.25 / 3, 0.25 / 3, 0.75 * 0.5 / 2)
    by_hand = [sum(s * v for s, v in zip(signs, sizes, strict=True)) for signs in itertools.product((1, -1), repeat=3)]
    assert sorted(permuted) == pytest.approx(sorted(by_hand))


@pytest.mark.parametrize("graded", [False, True], ids=["right or wrong", "graded"])
def test_many_differences_are_flipped_at_random(graded: bool):
    """p of 40 differences against the share of all combinations of signs, counted for values that are right or wrong by
    the binomial distribution, for graded ones by a simulation of its own."""
    values = [1.0] * 26 + [-1.0] * 14
    if graded:
        values = [value * (1 + n / 50) for n, value in enumerate(values)]
    strata = [Stratum("a", 1.0, np.array(values + [0.0] * 60))]
    permuted, every = flipped_means(strata, 20_000, "t")
    assert not every
    observed = sum(values) / 100
    chance = random.Random(7)
    flips = [sum(chance.choice((value, -value)) for value in values) / 100 for _ in range(20_000)]
    expected = sum(abs(flip) >= abs(observed) - 1e-12 for flip in flips) / 20_000
    assert p_value(observed, permuted, every) == pytest.approx(expected, abs=0.01)
