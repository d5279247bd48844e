"""What is installed and what is built: the audit is never green by silence, wheels have the same bytes each time, and
workflows name actions by their digest."""

import datetime
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pypi_server import pypi

from tools.audit import AllowedEntry, Package, audit, installed, read_allowed

ROOT = Path(__file__).parents[1]
TODAY = datetime.date(2026, 12, 1)
PACKAGES = [Package("alpha", "1.0"), Package("beta", "2.1+cpu"), Package("gamma", "3.0")]
BAD = {
    "id": "PYSEC-2026-7",
    "aliases": ["CVE-2026-7", "GHSA-7"],
    "fixed_in": ["2.2"],
    "summary": "it \x1b[2J runs\nwhatever it reads",
    "details": "",
    "withdrawn": None,
}


def entry(expires: datetime.date, id: str = "CVE-2026-7") -> AllowedEntry:
    return AllowedEntry(id, "Beta", "never called here", expires)


LATER = datetime.date(2026, 12, 2)

needs_pip_audit = pytest.mark.skipif(importlib.util.find_spec("pip_audit") is None, reason="pip-audit is not installed")


@pytest.mark.slow
@needs_pip_audit
@pytest.mark.parametrize(
    ("known", "allowed", "status", "said"),
    [
        ({"alpha": [], "beta": [], "gamma": []}, (), 0, ["audited: 3 packages, no vulnerability"]),
        ({"alpha": [], "beta": []}, (), 3, ["not audited: 1 packages (the service does not know them): gamma 3.0"]),
        ({}, (), 3, ["not audited: 3 packages"]),
        ({"alpha": [], "beta": [], "gamma": 500}, (), 3, ["not audited: 3 packages ("]),
        (
            {"alpha": [], "beta": [BAD], "gamma": []},
            (),
            1,
            ["vulnerable: beta 2.1+cpu: PYSEC-2026-7 (", "fixed in 2.2", "audited: 3 packages\n"],
        ),
        (
            {"alpha": [], "beta": [BAD], "gamma": []},
            (entry(LATER),),
            0,
            ["allowed until 2026-12-02: beta 2.1+cpu", "never called here", "no vulnerability that is not allowed"],
        ),
        ({"alpha": [], "beta": [BAD], "gamma": []}, (entry(TODAY),), 1, ["vulnerable: ", "expired on 2026-12-01"]),
        ({"alpha": [], "beta": [BAD], "gamma": []}, (entry(LATER, "CVE-2026-8"),), 1, ["vulnerable: ", "may go"]),
        ({"alpha": [], "beta": [BAD]}, (), 1, ["vulnerable: ", "not audited: 1 packages"]),
        ({"alpha": [], "beta": [], "gamma": []}, (entry(TODAY),), 1, ["expired on 2026-12-01: look again"]),
    ],
)
def test_only_what_the_service_answers_for_is_audited(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    known: dict[str, Any],
    allowed: tuple[AllowedEntry, ...],
    status: int,
    said: list[str],
):
    with pypi(tmp_path, known, monkeypatch) as asked:
        assert audit(PACKAGES, allowed, TODAY) == status
    out = capsys.readouterr().out
    assert all(part in out for part in said), out
    assert "\x1b" not in out
    assert ("vulnerable: " in out) == ("vulnerable: " in said[0])
    if 500 not in known.values():
        assert sorted(asked) == ["/pypi/alpha/1.0/json", "/pypi/beta/2.1/json", "/pypi/gamma/3.0/json"]


@pytest.mark.slow
@needs_pip_audit
def test_a_service_that_is_not_there_audits_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert audit(PACKAGES, (), TODAY) == 3
    assert "not audited: 3 packages (" in capsys.readouterr().out


def test_a_pip_audit_that_is_not_there_audits_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("sys.executable", shutil.which("false"))
    assert audit(PACKAGES, (), TODAY) == 3
    assert "not audited: 3 packages (pip-audit ended with status 1)" in capsys.readouterr().out


def test_all_that_the_demo_installs_is_asked_about():
    names = {package.name for package in installed()}
    assert {"torch", "transformers", "hydra-core", "peft", "jinja2", "markupsafe", "antlr4-python3-runtime"} <= names
    assert not {"sciriff", "pytest", "ruff", "openai", "lm-eval"} & names
    assert Package("torch", "2.9.1+cpu").public == "2.9.1"


def test_the_list_of_what_is_allowed(tmp_path: Path):
    read_allowed(ROOT / "tools" / "audit_allowed.toml")
    path = tmp_path / "allowed.toml"
    whole = 'id = "x"\npackage = "y"\nreason = "z"\nexpires = 2027-01-31\n'
    path.write_text(f"[[allowed]]\n{whole}")
    assert read_allowed(path) == (AllowedEntry("x", "y", "z", datetime.date(2027, 1, 31)),)
    for line in whole.splitlines(keepends=True):
        path.write_text(f"[[allowed]]\n{whole.replace(line, '')}")
        with pytest.raises(ValueError, match=rf"allowed\.toml: .*allowed\[0\]\.{line.split()[0]} is missing"):
            read_allowed(path)
    for wrong in ("[[allowed", 'allowed = "x"', f"[[allowed]]\n{whole.replace('2027-01-31', '3')}"):
        path.write_text(wrong)
        with pytest.raises(ValueError, match=r"allowed\.toml: not a list"):
            read_allowed(path)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("hatchling") is None, reason="hatchling is not installed")
def test_two_builds_have_the_same_bytes(tmp_path: Path):
    """Of the wheel and of the source, in folders of other names, with other times of files and another umask."""
    digests = []
    parts = (
        "sciriff",
        "hydra_plugins",
        "conf",
        "tools",
        "docs",
        "launch",
        "pyproject.toml",
        "README.md",
        "SECURITY.md",
        "LICENSE",
    )
    for number, (umask, zone) in enumerate(((0o022, "UTC"), (0o077, "Asia/Kathmandu"))):
        copy = tmp_path / ("copy" * (number + 1))
        for part in parts if number else reversed(parts):
            source, target = ROOT / part, copy / part
            target.parent.mkdir(parents=True, exist_ok=True)
            ignored = shutil.ignore_patterns("__pycache__")
            _ = shutil.copytree(source, target, ignore=ignored) if source.is_dir() else shutil.copy2(source, target)
        for path in copy.rglob("*"):
            os.utime(path, (1.6e9 + 1e7 * number,) * 2)
            path.chmod(path.stat().st_mode & ~umask)
        environment = {**os.environ, "TZ": zone, "PYTHONHASHSEED": str(number)}
        environment.pop("SOURCE_DATE_EPOCH", None)
        command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--target", "sdist"]
        done = subprocess.run(command, cwd=copy, env=environment, umask=umask, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        built = sorted((copy / "dist").iterdir())
        digests.append({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in built})
    assert len(digests[0]) == 2
    assert digests[0] == digests[1]


def by_name(workflow: str) -> list[str]:
    """Actions that a workflow does not pin to a digest."""
    used = re.findall(r"^[ -]*uses:[ ]*[\"']?([^\s\"'#]+)", workflow, re.MULTILINE)
    return [one for one in used if not one.startswith("./") and not re.search(r"@(sha256:)?[0-9a-f]{40,64}$", one)]


def test_workflows_name_actions_by_their_digest():
    assert by_name("jobs:\n  a:\n    steps:\n      - uses: actions/checkout@v5\n      - uses: ./here\n") == [
        "actions/checkout@v5"
    ]
    assert by_name(f"      - uses: actions/checkout@{'0a' * 20}  # v5\n") == []
    for path in sorted([*ROOT.glob(".github/**/*.y*ml"), *ROOT.glob(".forgejo/**/*.y*ml")]):
        assert by_name(path.read_text()) == [], path
