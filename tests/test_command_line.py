"""The console command hands over to the modules; what is common to all ways to start one."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sciriff import __version__
from sciriff.__main__ import COMMANDS, main
from sciriff.driver.command_line import this_command

CONSOLE = ["-c", "import sys; from sciriff.__main__ import main; sys.exit(main())"]


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--version"], 0, f"sciriff {__version__}"),
        (["--help"], 0, "evaluate"),
        ([], 0, "train"),
        (["compare", "no_such_run"], 2, "no run is found"),
        (["fly"], 2, "usage"),
    ],
)
def test_answers(arguments, status, says, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["sciriff", *arguments])
    assert main() == status
    assert says in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("compare a b --failif mean<-1", "--failif mean<-1; did you mean '--fail-if'?"),
        ("compare a b --latx=t.tex", "unrecognized arguments: --latx=t.tex; did you mean '--latex'?"),
        ("compare a --xyz", "unrecognized arguments: --xyz\n"),
        ("ls --hep", "did you mean '--help'?"),
        ("export paquet x a", "argument format: 'paquet' is unknown; did you mean 'parquet'?"),
        ("export parquet x a --keys difering", "argument --keys: 'difering' is unknown; did you mean 'differing'?"),
        ("export xyz x", "export parquet FILE RUN ..."),
        ("export --split test parquet x", "`parquet` comes first"),
        ("compare runs/goood runs/good", "did you mean 'good'?"),
        ("-m sciriff.score runs/goood", "there is no run here; did you mean 'good'?"),
    ],
)
def test_a_mistyped_word_has_its_nearest(arguments: str, says: str, tmp_path: Path):
    (tmp_path / "runs/good").mkdir(parents=True)
    (tmp_path / "runs/good/config.yaml").touch()
    words = arguments.split()
    command = [sys.executable, *(words if words[0] == "-m" else [*CONSOLE, *words])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and says in done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_helps(name: str):
    done = subprocess.run([sys.executable, *CONSOLE, name, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert "sciriff" in done.stdout


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["-m", "sciriff.train"], -signal.SIGINT),
        (["-m", "sciriff.evaluate"], -signal.SIGINT),
        ([*CONSOLE, "train"], 130),
        ([*CONSOLE, "evaluate"], 130),
    ],
    ids=lambda value: " ".join(value[-1:]) if isinstance(value, list) else "",
)
def test_ctrl_c_during_the_imports_is_no_traceback(command: list[str], status: int, tmp_path: Path):
    """It comes where Hydra is imported: a package of that name lies in the folder, which Python looks in first."""
    (tmp_path / "hydra.py").write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)\n")
    result = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (status, "")


def test_the_command_to_type_again_starts_the_same_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As after `make demo`, which leaves the shell without .venv."""
    here = Path(sys.executable)
    monkeypatch.setattr(sys, "argv", ["train.py", "experiment=demo", "name=a b"])
    typed = "-m sciriff.train experiment=demo 'name=a b'"
    monkeypatch.setenv("PATH", str(here.parent))
    assert this_command() == f"python {typed}"
    other = tmp_path / "python"
    other.symlink_to(here.resolve())  # as of another environment
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{here.parent}")
    monkeypatch.chdir(tmp_path)
    assert this_command() == f"{shlex.quote(str(here))} {typed}"
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.chdir(here.parents[1])
    assert this_command() == f"bin/{here.name} {typed}"
