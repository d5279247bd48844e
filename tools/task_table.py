"""Write the table of tasks in docs/recreating.md: `python -m tools.task_table`, in the checkout."""

import re
from itertools import takewhile
from pathlib import Path

from sciriff.recreate.corpora import CORPORA
from sciriff.recreate.sources import TaskSource, sources
from sciriff.recreate.template_file import BUNDLED, read_template_file

PAGE = Path(__file__).parents[1] / "docs" / "recreating.md"
HEAD = "| task | source | comes as | in `recreate.raw` | licence | lost |\n|---|---|---|---|---|---|\n"
COMES_AS = {"hub": "hub files", "branch": "hub copy", "files": "raw files", "registration": "raw files, account"}


def table() -> str:
    """A row for each task, of what the code knows: sources.tsv, the bundled templates and the corpora."""
    return HEAD + "".join(_row(task) for task in sources().values())


def _row(task: TaskSource) -> str:
    cells = (task.task, _source(task), COMES_AS[task.loads], _folders(task), task.licence, ", ".join(task.lost) or "-")
    return f"| {' | '.join(cells)} |\n"


def _source(task: TaskSource) -> str:
    """Name and address of the source; no link to an address that stands for several."""
    address, _, files = task.raw.partition(" ")
    if set("{*") & set(address):
        return f"`{task.source}` `{address}`"
    link = address.replace("(", "%28").replace(")", "%29")
    return f"[`{task.source}`]({link}) {files}".rstrip()


def _folders(task: TaskSource) -> str:
    """Folders below the raw data in which the task's files are looked for."""
    names = read_template_file(BUNDLED / f"{task.task}.yaml").sources
    patterns = [
        pattern
        for name in names
        for corpus in CORPORA.get(name, ())
        for of_split in corpus.files.values()
        for pattern in of_split
    ]
    either_case = re.compile(r"\[(\w)\w\]")
    folders = [either_case.sub(lambda pair: pair[1].lower(), pattern.split("/")[0]) for pattern in patterns]
    return ", ".join(f"`{folder}/`" for folder in dict.fromkeys(folders)) or "-"


def with_table(page: str) -> str:
    """Return the page with the table as it must be."""
    before, head, rest = page.partition(HEAD)
    assert head, f"{PAGE} has no table that begins as it must"
    old = takewhile(lambda line: line.startswith("|"), rest.splitlines(keepends=True))
    return before + table() + rest[sum(map(len, old)) :]


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
