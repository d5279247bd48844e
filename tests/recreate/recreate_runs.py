"""Template files, data and builds for the tests of recreate."""

import json
from pathlib import Path

from sciriff.config import RecreateConfig
from sciriff.recreate.build import build

METADATA = """metadata:
  task: classification
  domains: [biomedicine]
  source_type: single_source
  input_context: paragraph
  output_context: label
"""
JINJA = "Which kind? {{ text }}\n|||\n{{ label }}"


def template_text(name: str, *, templates: list[str] | None = None, data: str = "data.jsonl", more: str = "") -> str:
    """A template file of a task with own data."""
    numbered = "".join(
        f"  {number}:\n    jinja: {json.dumps(jinja)}\n" for number, jinja in enumerate(templates or [JINJA])
    )
    return f"name: {name}\ndata: {data}\n{METADATA}{more}templates:\n{numbered}"


def write_task(folder: Path, name: str = "kinds", records: list[dict] | int = 10, **about) -> Path:
    """A template file and its records, `NAME.jsonl`; returns the folder."""
    folder.mkdir(exist_ok=True)
    if isinstance(records, int):
        records = [{"text": f"Text {number} of {name}.", "label": f"kind {number % 3}"} for number in range(records)]
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / f"{name}.yaml").write_text(template_text(name, data=f"{name}.jsonl", **about))
    return folder


def build_rows(templates: Path, out: Path, add: bool = False, **settings) -> int:
    """Build without a context window; returns the exit status."""
    settings = {"context_window": None, "cap": None, "workers": 2, **settings}
    return build(RecreateConfig(templates=str(templates), out=str(out), **settings), add)


def rows_of(out: Path) -> dict[str, list[dict]]:
    """Split -> rows."""
    return {
        split: [json.loads(line) for line in (out / f"{split}.jsonl").read_text().split("\n")[:-1]]
        for split in ("train", "validation", "test")
    }


def bytes_of(out: Path) -> dict[str, bytes]:
    """The files of a build that are the same everywhere."""
    return {name: (out / name).read_bytes() for name in ("train.jsonl", "validation.jsonl", "test.jsonl", "card.json")}
