"""Card of a build, `card.json`: rows, tokens, sources and licences of each task, what was left out and why, and which
documents evaluation rows share with training rows. It is the same on every machine; `manifest.json` has the rest."""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sciriff.recreate.source import Source
from sciriff.recreate.sources import task_source
from sciriff.recreate.task_request import FIRST, TaskResult
from sciriff.recreate.template_file import SPLITS, TemplateFile
from sciriff.run import machine
from sciriff.run.digest import file_digest
from sciriff.run.whole_file import write_whole

CARD, MANIFEST = "card.json", "manifest.json"


def task_entry(
    file: TemplateFile, source: Source, result: TaskResult, rows: dict[str, int], leaking: Mapping[str, str]
) -> dict[str, Any]:
    """What the card says of a task with these rows by split; `leaking` are the records left out for a document of the
    evaluation rows of a held-out task."""
    known = task_source(file.name)
    entry = {key: value for key, value in asdict(result).items() if key != "key"}
    entry["rows"] = rows
    for task in sorted(set(leaking.values())):
        ids = [record for record, other in leaking.items() if other == task]
        entry["left_out"][f"has a document of the evaluation rows of {task}"] = {"rows": len(ids), "first": ids[:FIRST]}
    return entry | {
        "license": file.license or (known.licence if known else "unknown"),
        "lost": list(known.lost) if known else [],
        "metadata": file.metadata.of_row,
        "metric": file.metric,
        "template_file": {"name": file.path.name, "digest": file.digest},
        "source": source.described,
    }


def write_card(
    out: Path,
    settings: Mapping[str, Any],
    tasks: Mapping[str, dict[str, Any]],
    absent: Mapping[str, Mapping[str, str]],
    shared: Mapping[str, Any],
) -> None:
    """Write card and manifest of a build; `absent` has tasks `not_at_hand` and `failed` with their lines."""
    digests = {f"{split}.jsonl": file_digest(out / f"{split}.jsonl") for split in SPLITS}
    rows = {split: sum(task["rows"][split] for task in tasks.values()) for split in SPLITS}
    card = {
        "settings": dict(settings),
        "rows": rows,
        "digests": digests,
        "shared_documents": dict(shared),
        "tasks": dict(sorted(tasks.items())),
        **{kind: dict(sorted(lines.items())) for kind, lines in absent.items()},
    }
    text = json.dumps(card, indent=1, ensure_ascii=False) + "\n"
    write_whole(out / CARD, text.encode(errors="replace").decode())  # names of files need not be UTF-8
    manifest = {
        "versions": machine.versions(),
        "command": sys.argv[1:],
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "digests": digests | {CARD: file_digest(out / CARD)},
    }
    write_whole(out / MANIFEST, json.dumps(manifest, indent=1) + "\n")
