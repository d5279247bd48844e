"""report.html: what it says, that nothing in it can act, and that it is the same each time."""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pytest

from sciriff.config import Config, to_yaml
from sciriff.report.page import content, filled
from sciriff.run.run_dir import RunDir
from sciriff.run.visible import LONGEST, visible
from sciriff.tasks import COLUMNS

MakeRun = Callable[..., tuple[Config, RunDir]]
Fill = Callable[[RunDir, str], None]
VOID = {"meta", "wbr", "br", "path", "circle", "input"}
HOSTILE = (
    '</pre></style><script>alert(1)</script><img src=x onerror=alert(1)>"\' style="x" {{ 7 * 7 }} \u202e\ud800\x1b[31m'
)


class Reader(HTMLParser):
    """Counts tags, keeps attributes and text, and refuses tags that do not match."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: Counter[str] = Counter()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(page.decode())
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes.update(name for name, _ in attrs)
        self.text += " "
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href", "action")]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.text += " "

    def handle_data(self, data: str) -> None:
        self.text += data


def words(page: bytes) -> str:
    return " ".join(Reader(page).text.split())


def test_a_full_run_shows_its_result_and_where_it_came_from(make_run: MakeRun, fill: Fill) -> None:
    make_run("untrained", {"biored_ner/f1": 0.1, "scierc_ner/f1": 0.1})
    config, run = make_run(
        "trained",
        {"biored_ner/f1": 0.515, "scierc_ner/f1": 0.245},
        f"report.beside=[{RunDir(make_run('bare', {'biored_ner/f1': 0.4})[1].root).root.parent / 'untrained'}]",
        interval=0.05,
    )
    fill(run, "some text")
    text = words(filled(content(config, run)))
    assert f"Mean 38.0 (mean of 2 of {len(COLUMNS)} columns), +28.0 over untrained." in text
    assert (
        "46.5–56.5" in text
        and "38.0 37.0–39.0" in text
        and "qasper_abstractive_qa/lm_judge_answer" in text
        and "(judge=none)" in text
    )
    assert "answer cut at the limit 33.3% 4" in text and "prompt was cut 50.0% 6" in text
    assert "Type expected right missed wrong type spurious" in text and "all 36 16 16 4 4" in text
    assert "some text 1 min 01 s 100.0%" in text and "mix.other" not in text
    assert "40" in text and "40,000, 10,000 of them targets (25%)" in text
    assert "learning_rate: 2.0e-05" in text
    assert "all 7 84 100.0% 10 2" in text and "3 training rows are of the held-out tasks" in text


def test_a_run_with_scores_alone_has_a_page(make_run: MakeRun) -> None:
    config, run = make_run("bare", {"discomat_te/bleu": 0.25}, "train=none", "judge=none")
    text = words(filled(content(config, run)))
    assert f"Mean 25.0 (mean of 1 of {len(COLUMNS)} columns)." in text
    assert "Optimizer steps" not in text and "Each missed" not in text
    page = filled(content(config, run))
    assert "rows" not in Reader(page).ids and b"octet-stream" not in page, "without predictions there is no browser"


def test_no_score_at_all_is_said(make_run: MakeRun) -> None:
    config, run = make_run("none", {})
    assert f"No score: none of the {len(COLUMNS)} columns could be computed." in words(filled(content(config, run)))


@pytest.mark.shows("R10")
def test_hostile_text_adds_no_tag_and_no_attribute(make_run: MakeRun, fill: Fill) -> None:
    pages = []
    for name, text in (("kind", "kind"), ("hostile", HOSTILE)):
        config, run = make_run(f"{name}-run", {"biored_ner/f1": 0.5})
        fill(run, text)
        pages.append(filled(content(config, run)))
    kind, hostile = (Reader(page) for page in pages)
    breaks = {"wbr"}  # a name may break at its underscores
    assert {t: n for t, n in kind.tags.items() if t not in breaks} == {
        t: n for t, n in hostile.tags.items() if t not in breaks
    }
    assert kind.attributes == hostile.attributes
    assert [link.replace("kind", "") for link in kind.links] == [
        link.replace(quote(visible(HOSTILE), safe=""), "") for link in hostile.links
    ]
    assert "<script>alert(1)</script>" in hostile.text
    assert hostile.tags["script"] == 5 and hostile.attributes["src"] == 0, "the page's own, and four parts of data"
    assert "{{ 7 * 7 }}" in hostile.text, "text of a file is never a template"
    assert not set(hostile.text) & set("\u202e\ud800\x1b") and "␛[31m" in hostile.text


@pytest.mark.shows("R10")
def test_nothing_is_fetched_or_run(make_run: MakeRun, fill: Fill) -> None:
    config, run = make_run("r", {"biored_ner/f1": 0.5}, interval=0.1)
    fill(run, "x")
    page = filled(content(config, run))
    reader = Reader(page)
    assert all(link.startswith("#") for link in reader.links)
    links = {link[1:] for link in reader.links if not link.startswith("#prediction=biored_ner/x%3A")}
    assert links - set(reader.ids) == {"predictions=biored_ner"}
    assert not reader.tags.keys() & {"link", "img", "iframe", "object"}
    assert "style" not in reader.attributes and not any(name.startswith("on") for name in reader.attributes)
    (style,) = re.findall(rb"<style>(.*?)</style>", page, re.DOTALL)
    assert b"url(" not in style and b"@import" not in style
    (script,) = re.findall(rb"<script>(.*?)</script>", page, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(text).digest()) for text in (style, script)]
    assert b"default-src 'none'; style-src 'sha256-%b'; script-src 'sha256-%b'; " % tuple(hashes) in page
    assert len(reader.ids) == len(set(reader.ids))
    assert reader.tags["table"] == reader.tags["caption"] and reader.tags["h1"] == 1


def test_the_command_writes_the_same_bytes_each_time(make_run: MakeRun, fill: Fill) -> None:
    _, run = make_run("r", {"biored_ner/f1": 0.5})
    fill(run, "x")
    pages = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-m", "sciriff.report", str(run.root)], env=environment, check=True)
        pages.append(run.report.read_bytes())
    assert pages[0] == pages[1]
    assert not list(run.root.glob("*.partial"))


def test_a_run_beside_without_scores_is_refused_by_name(make_run: MakeRun) -> None:
    config, run = make_run("r", {"biored_ner/f1": 0.5}, "report.beside=[/nowhere/other]")
    with pytest.raises(ValueError, match=r"report\.beside: /nowhere/other has no scores yet"):
        filled(content(config, run))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("scores.json", "{"),
        ("scores.json", '{"model": "m", "tasks": {}, "summary": {"columns": []}}'),
        ("scores.json", '{"model": "m", "tasks": {"biored_ner": 3}, "summary": {"columns": {}}}'),
        ("manifest.json", "[]"),
        ("mix/card.json", "[" * 100_000),
        ("mix/card.json", '{"rows": 7}'),
        ("metrics.jsonl", '{"step": 1}\n{"st\n'),
        ("metrics.jsonl", '{"loss": 1}\n'),
        ("predictions/biored_ner.jsonl", '{"task": "biored_ner"}\n'),
        (
            "predictions/biored_ner.jsonl",
            '{"task": "biored_ner", "instance_id": "1", "prompt": "", "prediction": null, "reference": ""}\n',
        ),
    ],
)
def test_a_broken_file_is_named(make_run: MakeRun, fill: Fill, name: str, text: str) -> None:
    config, run = make_run("r", {"biored_ner/f1": 0.5})
    fill(run, "x")
    (run.root / name).write_text(text)
    with pytest.raises(ValueError, match=re.escape(str(run.root / name))):
        filled(content(config, run))


def test_a_name_of_a_megabyte_is_cut_before_it_may_break(make_run: MakeRun, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    answer = json.dumps({"_" * 1_000_000: ["x"]})
    row = {"instance_id": "biored_ner:0", "prediction": answer, "reference": '{"Gene": ["x"]}'}
    (folder / "biored_ner.jsonl").write_text(json.dumps(row) + "\n")
    config, run = make_run("r", {"biored_ner/f1": 0.5}, f"predictions={folder}")
    assert filled(content(config, run)).count(b"<wbr>") < 2 * LONGEST


def test_predictions_of_another_tool_are_shown(make_run: MakeRun, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    row = {"doc_id": 0, "doc": {"input": "Find.", "output": '{"Gene": ["x"]}'}, "filtered_resps": ['{"Gene": []}']}
    (folder / "samples_biored_ner_2025-01-31T09-30-00.123456.jsonl").write_text(json.dumps(row) + "\n")
    config, run = make_run("r", {"biored_ner/f1": 0.5}, f"predictions={folder}")
    text = words(filled(content(config, run)))
    assert f"they come from {folder}." in text
    shown = text.rpartition(" The run ")[2].partition("Parity with the reference")[0]
    assert shown.split() == ["Evaluation", "Answers", str(folder), "Answered", "by", "not", "known"]
    assert "prompt was cut – –" in text and "Prompt, characters" in text and "all 1 0 1 0 0" in text


def test_the_answers_of_another_run_are_said_to_be_of_its_model(make_run: MakeRun) -> None:
    own, other = make_run("other", {"biored_ner/f1": 0.5})
    other.predictions.mkdir()
    other.config.write_text(to_yaml(replace(own, model=replace(own.model, path="some/other-model"))))
    config, run = make_run("r", {"biored_ner/f1": 0.5}, f"predictions={other.predictions}")
    shown = words(filled(content(config, run))).rpartition(" The run ")[2]
    assert "some/other-model" in shown and "Answered by the run other" in shown
    other.config.write_text("a: [")
    assert "Answered by not known" in words(filled(content(config, run)))


def test_what_is_left_out_of_the_scores_is_said(make_run: MakeRun) -> None:
    config, run = make_run("r", {"biored_ner/f1": 0.5}, missing=2, end_differs=1)
    text = words(filled(content(config, run)))
    assert "2 of 6 answers are missing" in text
    assert "The reference's stripping of </s>, as under eval.parity=reference, changes 1 of 4 answers." in text
