"""Task files of inspect_ai: a NAME.py for each task."""

import json
import shlex
from pathlib import Path

from sciriff.export.exported import Exported, ExportedTask, rows_files

WRITTEN = "Written by `python -m sciriff.export inspect`; needs the package sciriff."


def files(exported: Exported) -> dict[str, str]:
    """Name -> text of the files of an export. inspect_ai is not needed."""
    return {f"{one.task.name}.py": _task(one, exported) for one in exported.tasks} | rows_files(exported)


def usage(folder: Path) -> str:
    """The command that asks all tasks of an export. inspect_ai (0.3) takes no absolute path."""
    place = folder.resolve()
    if place != Path.cwd() and place.is_relative_to(Path.cwd()):
        start, name = "", place.relative_to(Path.cwd()).as_posix()
    else:
        start, name = f"cd {shlex.quote(str(place.parent))} && ", place.name
    # the provider samples unless told otherwise, and puts a second BOS before the chat template's
    greedy = "-M do_sample=false -M 'tokenizer_call_args={\"add_special_tokens\": false}'"
    return f"{start}inspect eval {shlex.quote(name)} --model hf/local -M model_path=MODEL {greedy}"


def _task(one: ExportedTask, exported: Exported) -> str:
    name, hub = json.dumps(one.task.name), exported.hub
    if hub is None:
        reader, rows = "rows_beside", f"rows_beside(__file__, {name})"
    else:
        reader, rows = "rows_of_hub", f"rows_of_hub({name}, {hub.hub!r}, {hub.config!r}, {hub.split!r})"
    lines = [
        f'"""{one.task.name}, for inspect_ai.\n\n{WRITTEN}\n"""',
        "",
        "from inspect_ai import Task, task",
        "",
        f"from sciriff.export.inspect_hooks import held_out_task, {reader}",
        "from sciriff.export.scoring import Scoring",
        "",
        "",
        f"@task(name={name})",
        "def held_out() -> Task:",
        f"    scoring = Scoring({one.arguments})",
        f"    return held_out_task(scoring, {json.dumps(one.columns)}, {rows}, {exported.max_new_tokens})",
    ]
    return "\n".join(lines) + "\n"
