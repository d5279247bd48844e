"""Ask whether the packages that `make demo` installs have known vulnerabilities: python tools/audit.py

pip-audit asks PyPI about each, with tools/audit_allowed.toml as the list of those that are known and allowed until a
date. Exit status 0 only where every package was answered for: what the service does not know is "not audited". Where
nothing was found and something was not audited the status is 3; 1 means a vulnerability or a mistake in the list.
"""

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sciriff.run.messages import say_error, show
from sciriff.run.typed_json import WrongType, typed
from sciriff.run.user_error import UserError
from sciriff.run.visible import shortened

PROJECT, EXTRA = "sciriff", "train"
"""What `make demo` installs."""
ALLOWED = Path(__file__).with_name("audit_allowed.toml")
FOUND, NOT_AUDITED = 1, 3
LONGEST = 200
"""Characters of what the service says about one vulnerability."""
NAMED = 10
"""Packages that were not audited and are named; the rest are counted."""


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    """As it is installed."""

    @property
    def public(self) -> str:
        """The version as the index knows it: that of a build for one kind of machine, 2.9.1+cpu, is 2.9.1."""
        return self.version.partition("+")[0]


@dataclass(frozen=True)
class AllowedEntry:
    """A vulnerability that is known here, and why nothing has to be done until a day."""

    id: str
    """As the service writes it, or one of its aliases, such as CVE-2026-1234."""
    package: str
    reason: str
    expires: datetime.date
    """The first day on which it is not allowed any more."""


@dataclass(frozen=True)
class AllowedFile:
    allowed: tuple[AllowedEntry, ...] = ()


@dataclass(frozen=True)
class Vulnerability:
    id: str
    fix_versions: tuple[str, ...]
    aliases: tuple[str, ...]
    description: str = ""


@dataclass(frozen=True)
class Audited:
    """What pip-audit says of one package."""

    name: str
    version: str | None = None
    vulns: tuple[Vulnerability, ...] | None = None
    skip_reason: str | None = None


@dataclass(frozen=True)
class Report:
    dependencies: tuple[Audited, ...]


def installed(project: str = PROJECT, extra: str = EXTRA) -> list[Package]:
    """All packages that a project with an extra needs, and these in turn, in the versions that are here."""
    found: dict[str, Package] = {}
    seen: set[tuple[str, str]] = set()
    wanted = [Requirement(f"{project}[{extra}]")]
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            raise UserError(f"{name} is not installed here: make demo, or pip install '.[{extra}]'") from None
        found[name] = Package(name, package.version)
        for chosen in {"", *requirement.extras}:
            if (name, chosen) in seen:
                continue
            seen.add((name, chosen))
            needs = map(Requirement, package.requires or ())
            wanted += [one for one in needs if one.marker is None or one.marker.evaluate({"extra": chosen})]
    del found[canonicalize_name(project)]
    return [found[name] for name in sorted(found)]


def read_allowed(path: Path) -> tuple[AllowedEntry, ...]:
    """The entries of the list. UserError names what is wrong in it."""
    try:
        return typed(tomllib.loads(path.read_text(encoding="utf-8")), AllowedFile).allowed
    except (WrongType, ValueError) as error:
        raise UserError(f"{path}: not a list of allowed vulnerabilities ({error})") from None


def asked(packages: Sequence[Package], timeout: int) -> tuple[dict[str, Audited], str]:
    """Name -> pip-audit's answer, and why some are missing, if they are."""
    with tempfile.TemporaryDirectory() as folder:
        pinned, answer = Path(folder) / "packages.txt", Path(folder) / "answer.json"
        pinned.write_text("".join(f"{package.name}=={package.public}\n" for package in packages))
        options = ["--requirement", str(pinned), "--no-deps", "--disable-pip", "--vulnerability-service", "pypi"]
        output = ["--format", "json", "--desc", "on", "--aliases", "on", "--output", str(answer)]
        quiet = ["--progress-spinner", "off", "--timeout", str(timeout), "--cache-dir", str(Path(folder) / "cache")]
        command = [sys.executable, "-m", "pip_audit", *options, *output, *quiet]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        said = done.stderr.strip().splitlines()
        if not answer.is_file():
            return {}, said[-1] if said else f"pip-audit ended with status {done.returncode}"
        try:
            report = typed(json.loads(answer.read_bytes()), Report)
        except ValueError as error:
            return {}, f"pip-audit's answer cannot be read: {error}"
    return {canonicalize_name(one.name): one for one in report.dependencies}, ""


def audit(packages: Sequence[Package], allowed: Sequence[AllowedEntry], today: datetime.date, timeout: int = 15) -> int:
    """Print what was found and return the exit status."""
    answers, trouble = asked(packages, timeout)
    used: set[AllowedEntry] = set()
    missing, status = [], 0
    for package in packages:
        answer = answers.get(package.name)
        if answer is None or answer.vulns is None or answer.version != package.public:
            missing.append(package)
            continue
        for one in answer.vulns:
            ids = {one.id, *one.aliases}
            of_package = [entry for entry in allowed if canonicalize_name(entry.package) == package.name]
            entries = [entry for entry in of_package if entry.id in ids]
            used |= set(entries)
            told = f"{package.name} {package.version}: {one.id} ({', '.join(one.aliases) or 'no alias'})"
            if valid := [entry for entry in entries if today < entry.expires]:
                show(f"allowed until {valid[0].expires}: {told}: {valid[0].reason}")
                continue
            status = FOUND
            fixed = f"fixed in {', '.join(one.fix_versions)}" if one.fix_versions else "not fixed"
            since = f"; it was allowed until {entries[0].expires}" if entries else ""
            show(f"vulnerable: {told}, {fixed}{since}: {shortened(one.description, LONGEST)}")
    for entry in allowed:
        if entry not in used:
            show(f"{ALLOWED.name}: {entry.id} of {entry.package} was not found, and its entry may go")
        if today >= entry.expires:
            status = FOUND
            show(f"{ALLOWED.name}: the entry {entry.id} of {entry.package} expired on {entry.expires}: look again")
    known = len(packages) - len(missing)
    if missing:
        names = ", ".join(f"{package.name} {package.version}" for package in missing[:NAMED])
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        why = trouble or "the service does not know them"
        show(f"not audited: {len(missing)} packages ({why}): {names}{more}")
        return status or NOT_AUDITED
    show(f"audited: {known} packages" + ("" if status else ", no vulnerability that is not allowed"))
    return status


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--allowed", type=Path, default=ALLOWED, metavar="FILE", help="the dated list")
    parser.add_argument("--timeout", type=int, default=15, metavar="SECONDS", help="for each answer of the service")
    given = parser.parse_args()
    try:
        return audit(installed(), read_allowed(given.allowed), datetime.date.today(), given.timeout)
    except (UserError, OSError) as error:
        say_error(error)
        return FOUND


if __name__ == "__main__":
    sys.exit(main())
