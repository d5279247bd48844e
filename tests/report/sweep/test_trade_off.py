"""Science against general abilities: the front, the drawing in words, runs that cannot be drawn, seeds."""

import re
from pathlib import Path

import pytest
from general_folder import write_general
from sweep_runs import Runs
from test_sweep_page import words

from sciriff import compare
from sciriff.report.sweep.trade_off import pareto_front
from sciriff.results.sweep_record import PAGE
from sciriff.run.run_dir import RunDir
from sciriff.sweep_page import write


def with_general(run: RunDir, right: int, *others: str) -> RunDir:
    """The run, which answers this many of 40 documents right, and as many of each of the other tasks."""
    values = [1.0] * right + [0.0] * (40 - right)
    write_general(run, {name: {name: values} for name in ("mmlu", *others)})
    return run


def ablation(runs: Runs) -> Path:
    """Two lines of two caps beside an untrained model, and a run without general tasks on one of them."""
    untrained = with_general(runs.make("before", 0.1, trained=False), 20)
    beside = f"report.beside=[{untrained.root}]"
    plan = ((5, "none", 0.3, 14), (20, "none", 0.9, 6), (5, "match", 0.25, 24), (20, "match", 0.6, 18))
    for cap, share, score, right in plan:
        run = runs.make(f"cap-{cap}-{share}", score, f"mix.per_task={cap}", f"mix.tulu={share}", beside)
        runs.job(run.root.name, with_general(run, right))
    bare = runs.make("bare", 0.99, "mix.per_task=50", "mix.tulu=match", beside)
    runs.job("bare", bare)
    return runs.sweep()


def test_no_point_of_the_front_is_beaten() -> None:
    assert pareto_front([(1, 1)]) == [0]
    assert pareto_front([(1, 1), (1, 1), (0, 2), (2, 0), (0, 1), (0.5, 0.5)]) == [2, 0, 1, 3]
    assert pareto_front([(0, 0), (1, 0), (1, 1)]) == [2]
    assert pareto_front([]) == []


def test_runs_are_joined_over_the_caps_and_the_front_is_marked(runs: Runs) -> None:
    place = ablation(runs)
    write(place, 200)
    page = (place / PAGE).read_text()
    text = words(place / PAGE)
    [told] = re.findall(r'<desc id="trade-off-told">(.*?)</desc>', page)
    assert told.startswith("mix.tulu=none: run 2, general 35.0 (")
    assert "mix.tulu=match: run 4, general 60.0 (" in told and "before: run 1, general 50.0 (" in told
    assert told.endswith("On the Pareto front: run 3, run 5, run 4.")
    [drawn] = re.findall(r'<svg class="panel" [^>]*aria-labelledby="trade-off.*?</svg>', page, re.DOTALL)
    assert drawn.count('class="ring"') == 3 and drawn.count('<path class="front"') == 1
    assert drawn.count('<path class="line s0"') == drawn.count('<path class="line s1"') == 1
    assert drawn.count('class="whisker') == 2 * drawn.count('class="marker') == 10, "intervals in both directions"
    assert "3. cap-20-none: science 9" in text and "Not drawn: 6. bare (no general tasks)" in text
    assert re.search(r"3\. cap-20-none 9\d\.\d \S+ 15\.0 \S+ −35\.0 −\S+ to −\S+ 0\.005 ▼ lower yes", text)
    assert re.search(r"2\. cap-5-none 3\d\.\d \S+ 35\.0 \S+ −15\.0 −\S+ to −\S+ 0\.\d+ ▼ lower no", text)
    assert "6. bare: general tasks: not in bare" in text
    assert re.search(r"General mean mmlu GPU hours", text), "columns of the table of runs"


def test_runs_with_other_general_tasks_are_not_drawn_beside_them(runs: Runs) -> None:
    runs.job("a", with_general(runs.make("a", 0.5), 20))
    runs.job("b", with_general(runs.make("b", 0.6, "mix.seed=2"), 22, "gsm8k_cot"))
    place = runs.sweep()
    write(place, 200)
    text = words(place / PAGE)
    assert "Not drawn: 2. b (other general tasks: mmlu, gsm8k_cot)" in text and "gsm8k_cot: not in a" in text


def test_seeds_are_one_point_and_a_sweep_without_general_tasks_has_no_section(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for seed, right in ((1, 10), (2, 20)):
        with_general(runs.make(f"run-s{seed}", 0.5, f"seed={seed}"), right)
    runs.make("plain", 0.5, "mix.seed=9")
    monkeypatch.chdir(tmp_path)

    def page_of(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["compare", *arguments, "--resamples", "200", "--html", "page.html"])
        assert compare.main() == 0
        return (tmp_path / "page.html").read_text()

    page = page_of("runs/run-*")
    assert "run 1, general 37.5 (" in page and "Not drawn: 2. plain (no general tasks)" in page
    assert 'id="trade-off"' not in page_of("runs/run-2")
