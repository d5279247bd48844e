"""Figures for papers: what is drawn, that any name can stand in them, and that they are the same each time."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from general_folder import write_general

from sciriff.config import Config
from sciriff.driver import preflight
from sciriff.driver.plan import make
from sciriff.run.run_dir import RunDir

MakeRun = Callable[..., tuple[Config, RunDir]]
Fill = Callable[[RunDir, str], None]
ODD = "$\\frac{_^&%<b> \u202e\ud800\n"


def drawn(run: RunDir) -> dict[str, bytes]:
    subprocess.run([sys.executable, "-m", "sciriff.report", str(run.root)], check=True, stdout=subprocess.DEVNULL)
    return {path.name: path.read_bytes() for path in sorted(run.figures.iterdir())} if run.figures.exists() else {}


@pytest.mark.slow
def test_scores_training_and_mix_are_drawn_the_same_each_time(make_run: MakeRun, fill: Fill) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install '.[figures]'")
    _, other = make_run("other", {"biored_ner/f1": 0.1})
    named = other.config.read_text()
    assert "name: other\n" in named
    other.config.write_text(named.replace("name: other\n", "name: odd$_x^$\n"))
    columns = {"biored_ner/f1": 0.5, "scierc_ner/f1": 0.2}
    _, run = make_run("r", columns, "report.figures=true", f"report.beside=[{other.root}]", interval=0.1)
    fill(run, ODD)
    for one, right in ((other, 12), (run, 9)):
        write_general(one, {"mmlu": {"a_b^$": [1.0] * right + [0.0] * 8}, ODD: {"other": [1.0, 0.0, 1.0]}})
    first = drawn(run)
    assert list(first) == [
        f"{name}.{kind}" for name in ("general", "mix", "scores", "training") for kind in ("pdf", "png")
    ]
    assert all(data.startswith(b"%PDF" if name.endswith("pdf") else b"\x89PNG") for name, data in first.items())
    assert drawn(run) == first


def test_a_run_without_training_has_a_figure_of_its_scores_alone(make_run: MakeRun) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install '.[figures]'")
    _, run = make_run("r", {"biored_ner/f1": 0.5}, "train=none", "report.figures=true")
    assert list(drawn(run)) == ["scores.pdf", "scores.png"]
    _, run = make_run("without", {"biored_ner/f1": 0.5}, "train=none")
    assert drawn(run) == {}


def test_a_run_that_could_not_draw_is_refused_before_it_starts(
    composed: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = composed("experiment=demo", "report.figures=true", f"run_dir={tmp_path}")
    assert not [line for line in preflight.problems(config, make(config)) if "matplotlib" in line]
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as if it were not installed
    (line,) = (line for line in preflight.problems(config, make(config)) if "matplotlib" in line)
    assert "pip install 'sciriff[figures]'" in line
