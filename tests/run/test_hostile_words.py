"""Names and words of strangers through every command: nothing raw reaches a terminal, a table or a log."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sciriff import compare, config, evaluate, ls, score, sweep_page, train
from sciriff.config import Config
from sciriff.data.records import Prediction
from sciriff.driver.pipeline import RunFailed
from sciriff.export import __main__ as export
from sciriff.recreate import __main__ as recreate
from sciriff.recreate.page import __main__ as recreate_page
from sciriff.results import sweep_record
from sciriff.results.latex_table import escaped
from sciriff.results.markdown_table import code_kept, markdown_table
from sciriff.results.score_tables import for_spreadsheets, write_tsv
from sciriff.results.terminal_table import table_lines
from sciriff.run import messages, spawn
from sciriff.run.json_lines import write_jsonl
from sciriff.run.progress import Progress
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.run.visible import UNSHOWN
from sciriff.track import __main__ as track

WORDS = "a\x1b]0;title\x07b\rover\nerror: faked\t\x9b31m\x7f\u202etxt\u2066\u2028z\x00"
"""A title, a line that is written over, a line of ours that is none, colours, other directions; half a character is
only in names of files."""
NAME = WORDS.replace("\x00", "")
FILE = NAME + "\udcff"
RIGHT = '{"Task": ["x"]}'
NUMBERS = ("-0.5", "+1.2", "-1e-05", "+.5", "-3", "0.5")
ROOT = Path(__file__).parents[2]


def assert_clean(text: str, lines: int | None = None) -> None:
    assert not UNSHOWN.search(text), ascii(UNSHOWN.findall(text))
    assert not re.search("^(error: )?faked|^over", text, re.MULTILINE)
    if lines is not None:
        assert len(text.splitlines()) == lines, text


Printed = Callable[..., tuple[str, str]]


@pytest.fixture
def printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Printed:
    """`printed(main, *arguments, status=2)` is what a command printed on standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(main: Callable[[], int], *arguments: str, status: int = 2) -> tuple[str, str]:
        monkeypatch.setattr("sys.argv", ["command", *arguments])
        capsys.readouterr()
        try:
            found = main()
        except SystemExit as end:
            found = end.code  # type: ignore[assignment]
        assert found == status
        out, err = capsys.readouterr()
        assert_clean(out)
        assert_clean(err)
        return out, err

    return run


@pytest.mark.parametrize(
    ("main", "arguments", "lines"),
    [
        (compare.main, [FILE], 1),
        (compare.main, ["--baseline", FILE, "x"], 1),
        (compare.main, [f"runs/{'y' * 5000}{FILE}"], 1),
        (compare.main, ["x", "--marks", FILE], 1),
        (compare.main, ["x", "--fail-if", WORDS], 1),
        (compare.main, ["x", f"--{NAME}"], None),
        (compare.main, ["x", "--resamples", FILE], None),
        (ls.main, [FILE], 1),
        (ls.main, ["x", f"-{NAME}"], None),
        (sweep_page.main, [FILE], 1),
        (sweep_page.main, ["x", FILE], None),
        (export.main, [FILE, "out"], None),
        (export.main, ["lm_eval", "out", "--data", FILE], 1),
        (export.main, ["lm_eval", "out", "--tasks", FILE], 1),
        (export.main, ["lm_eval", "out", f"--{NAME}"], None),
        (export.main, ["parquet", "x.parquet", FILE], 1),
        (export.main, ["parquet", f"--{NAME}"], None),
        (evaluate.main, [f"predictions={FILE}"], 1),
        (evaluate.main, ["--cfg", FILE], None),
        (recreate_page.main, [FILE], 1),
        (recreate_page.main, ["x", FILE], None),
        (track.main, [FILE], 1),
        (track.main, ["x", FILE], None),
        (train.main, [f"name={FILE}"], 1),
        (train.main, [f"--{NAME}"], 1),
        (train.main, ["experiment=demo", "-m", FILE], 1),
        (recreate.main, [f"recreate.out={FILE}"], 1),
        (recreate.main, [f"--{NAME}", "x"], 1),
    ],
)
def test_mistakes_that_repeat_what_was_typed(
    printed: Printed, main: Callable[[], int], arguments: list[str], lines: int | None
):
    out, err = printed(main, *arguments)
    assert out == ""
    assert "error: " in err
    if lines is not None:
        assert_clean(err, lines)


def scored_run(settings: Config, folder: Path, right: int) -> RunDir:
    """A run of ten answers with hostile names and ids, as strangers may send one."""
    run = RunDir(folder)
    rows = [
        Prediction(
            "scierc_ner", f"scierc_ner:{n}{NAME}", WORDS, '{"Task": ["x"]}' if n < right else WORDS, '{"Task": ["x"]}'
        )
        for n in range(10)
    ]
    write_jsonl(run.predictions / "scierc_ner.jsonl", rows)
    settings = replace(settings, run_dir=str(run.root))
    run.config.write_text(config.to_yaml(settings))
    score.main(settings, run)
    return run


@pytest.mark.shows("R9")
def test_runs_of_strangers(printed: Printed, composed: Callable[..., Config], tmp_path: Path):
    settings = composed("experiment=demo", "train=none", "eval.resamples=0", "eval.tasks=[scierc_ner]")
    for name, right in ((f"=1+1{NAME}", 3), (f"@x{NAME}", 8)):
        run = scored_run(replace(settings, name=name), tmp_path / "runs" / f"{name}\udcff", right)
        for table in run.tables.glob("*.tsv"):
            assert_clean(table.read_text().replace("\t", " "))
            names = [row[0] for row in csv.reader(table.read_text().splitlines(), delimiter="\t")]
            assert not any(name.startswith(("=", "@")) for name in names)
    (tmp_path / "runs" / FILE / "logs").mkdir(parents=True)
    (tmp_path / "runs" / FILE / "config.yaml").write_text("name: x\n")
    (tmp_path / "runs" / FILE / "scores.json").write_text(json.dumps({"model": WORDS, "summary": WORDS}))
    outputs = ("--json", "n.json", "--latex", "t.tex", "--html", "p.html")
    runs = sorted(map(str, Path("runs").iterdir()))
    out, err = printed(compare.main, *runs, *outputs, "--resamples", "200", status=0)
    assert "scierc_ner/" in out and "left out" in err
    assert_clean(Path("t.tex").read_text())
    assert_clean(Path("n.json").read_text())
    assert not UNSHOWN.search(Path("p.html").read_text())
    out, err = printed(ls.main, "runs", status=2)
    assert len(out.splitlines()) == 4 and "damaged" in out
    assert_clean(err, 1)


def test_a_sweep_of_strangers(printed: Printed, tmp_path: Path):
    place = tmp_path / "sweep"
    sweep_record.write(place, sweep_record.Job(0, NAME, "gone", WORDS, "failed", reason=f"{WORDS}\n{WORDS}"))
    printed(sweep_page.main, str(place), status=0)
    assert not UNSHOWN.search((place / "sweep.html").read_text())


def test_words_of_a_server_and_of_files_are_said_on_one_line(capsys: pytest.CaptureFixture[str]):
    messages.say(WORDS, "ours")
    messages.show(f"{WORDS}\udcff", "ours")
    messages.say_error(UserError(f"{WORDS}: no", "ours"), about=f"{NAME}: ")
    messages.say_error(RunFailed(WORDS, "ours"))
    messages.say_error(OSError(2, WORDS, FILE))
    Progress(1)(1, WORDS)
    out, err = capsys.readouterr()
    assert_clean(out, 3)
    assert_clean(err, 7)
    assert err.splitlines()[1::2] == ["ours"] * 3
    assert str(UserError("one", "two")) == "one\ntwo"


def test_a_traceback_of_a_bug(capsys: pytest.CaptureFixture[str]):
    try:
        raise KeyError(WORDS) from ValueError(WORDS)
    except KeyError as error:
        messages.say_traceback(type(error), error, error.__traceback__)
    err = capsys.readouterr().err
    assert not UNSHOWN.search(err)
    assert err.startswith("Traceback (most recent call last):\n") or "direct cause" in err


def test_endless_names_make_no_endless_rows():
    rows = table_lines(("run", "n"), [("x" * 10**6, "1"), ("y", "2")], right=("n",))
    assert max(len(row) for row in rows) < 11_000
    assert len(escaped("x" * 10**6)) < 1100


def test_a_childs_words_in_its_log_its_reason_and_its_progress(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    seconds = iter(range(0, 1000, 20))
    monkeypatch.setattr(spawn.time, "monotonic", lambda: next(seconds))
    hostile = WORDS.encode() + b"\xff"
    code = (
        "import sys; write = sys.stdout.buffer.write; words = bytes.fromhex(sys.argv[1])\n"
        "write(b'[1/2] ' + words + b'\\n' + words + b'\\nerror: ' + words.replace(b'\\n', b'') + b'\\n'); sys.exit(2)"
    )
    log = tmp_path / "child.log"
    with pytest.raises(spawn.ChildFailed) as caught:
        spawn.run("child", [sys.executable, "-c", code, hostile.hex()], log)
    for text in (log.read_text(), caught.value.reason, "".join(capsys.readouterr())):
        assert not UNSHOWN.search(text), ascii(text)
        assert "\u241b]0;title\u2407b" in text
    (tmp_path / "quiet.log").touch()
    with pytest.raises(spawn.ChildFailed) as caught:
        spawn.run("child", [sys.executable, "-c", code.replace("error: ", ""), hostile.hex()], tmp_path / "quiet.log")
    assert not UNSHOWN.search(caught.value.reason)


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ('=HYPERLINK("http://x")', '\'=HYPERLINK("http://x")'),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("-inf", "'-inf"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("＝1", "'＝1"),
        ("\t=1", "␉=1"),
        ("\r=1", "␍=1"),
        ("\n-1", "␊-1"),
        ("1\x002", "1␀2"),
        *(
            (text, text)
            for text in ("-0.5", "+1.2", "-1e-05", "+.5", "-3", "0.5", "NA", "", "of 9 of 11", "l-1", "a=b")
        ),
    ],
)
@pytest.mark.shows("R9")
def test_cells_are_no_formulas_and_numbers_stay_numbers(cell: str, written: str):
    assert for_spreadsheets(cell) == written


def test_a_table_with_ordinary_names_has_the_bytes_that_it_had(tmp_path: Path):
    rows = [["task", "SciERC", "mean"], ["metric", "f1", ""], ['Llama-2 (7B) "chat" é', "-0.50", "NA"]]
    write_tsv(tmp_path / "x.tsv", rows)
    assert (tmp_path / "x.tsv").read_bytes() == (
        'task\tSciERC\tmean\nmetric\tf1\t\n"Llama-2 (7B) ""chat"" é"\t-0.50\tNA\n'.encode()
    )


@pytest.mark.slow
def test_a_stage_of_the_driver(cli: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path):
    """What a stage says about files of others comes back through its log."""
    row = {"instance_id": f"scierc_ner:1{NAME}", "prompt": "", "prediction": WORDS, "reference": "x"}
    write_jsonl(tmp_path / "answers" / "scierc_ner.jsonl", [row, row])
    stages = ("stages=[score,report]", "report.untrained=false")
    done = cli("train=none", "experiment=demo", "predictions=answers", *stages)
    assert done.returncode == 1
    assert_clean(done.stdout)
    assert_clean(done.stderr)
    assert "scierc_ner:1a\u241b" in done.stderr
    assert all(not UNSHOWN.search(log.read_text()) for log in tmp_path.glob("runs/*/logs/*.log"))


def test_latex_and_markdown(tmp_path: Path):
    assert_clean(escaped(FILE), 1)
    assert_clean(code_kept(FILE), 1)
    assert_clean(markdown_table(["name"], [[FILE], [WORDS]]), 4)


def test_nothing_else_prints():
    """ruff forbids print (T20); streams, parsers and consoles of their own would go round it, too."""
    known = {
        "sciriff/run/messages.py": {"sys.stderr", "sys.stdout"},
        "sciriff/run/arguments.py": {"argparse.ArgumentParser", "sys.stderr"},
        "sciriff/run/spawn.py": {"sys.stderr", "Console("},  # whether it is a terminal; the bar of cleaned lines
        "sciriff/driver/preflight/packages.py": {"sys.stderr"},  # a child's, which is captured
        "sciriff/results/terminal_table.py": {"Console("},  # draws into a text
    }
    found = {}
    for path in sorted([*ROOT.glob("sciriff/**/*.py"), *ROOT.glob("hydra_plugins/**/*.py")]):
        code = re.sub(r'"""[\s\S]*?"""', "", path.read_text()) if path.name != "packages.py" else path.read_text()
        if words := set(re.findall(r"argparse\.ArgumentParser|sys\.std(?:err|out)|\bConsole\(", code)):
            found[str(path.relative_to(ROOT))] = words
    assert found == known
