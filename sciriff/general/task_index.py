"""The general tasks as their files describe them, before anything of them is loaded: leaves, limits, data."""

import contextlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from yaml import YAMLError

from sciriff.config import GeneralConfig
from sciriff.general import task_files
from sciriff.run.user_error import UserError
from sciriff.run.visible import visible_line

LONGEST_ANSWER = 256
"""Most new tokens of tasks whose files do not say, in lm-eval's classes of models."""
LIKELIHOODS = ("multiple_choice", "loglikelihood")
FILE_NAME = re.compile(r"(?!(?:answers|requests)$)[\w+-][\w.+-]*")
"""Names of leaf tasks that can be those of files in general/, beside those that are there already."""
SHOWN = 3
"""Tasks that a message names; the rest are counted."""
RESEMBLES = 0.75
"""How alike a key and the name of a task must be for the key to be taken for misspelt (difflib's ratio)."""
FIRST_FILTER = "none"
"""Name of lm-eval for the filter of tasks that define none."""


@dataclass(frozen=True)
class LeafFile:
    """A leaf task as its file, with those that it includes, describes it; functions are still names."""

    name: str
    asked: str
    """The entry of general.tasks that it belongs to."""
    about: Mapping[str, Any]
    groups: tuple[str, ...] = ()
    """Groups of lm-eval that it is in, asked for or not, the smallest first."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names that the tables of the config may have for it, the closest first; a tag is closer than a group."""
        return self.name, *(self.groups if self.asked in self.groups else (self.asked, *self.groups))

    @property
    def kind(self) -> str:
        return str(self.about.get("output_type", "generate_until"))

    @property
    def dataset(self) -> str | None:
        """The dataset's name on the hub; None where a function makes the documents."""
        path = self.about.get("dataset_path")
        return path if isinstance(path, str) and not self.about.get("custom_dataset") else None

    @property
    def own_files(self) -> Mapping[str, Any]:
        """Where its rows lie if they are files of somebody's own: keys of datasets.load_dataset. Empty for a dataset of
        the hub."""
        given = self.about.get("dataset_kwargs") or {}
        if self.dataset is None or "/" in self.dataset or not isinstance(given, Mapping):
            return {}
        return {key: given[key] for key in ("data_files", "data_dir") if given.get(key)}

    @property
    def longest_answer(self) -> int:
        """Most new tokens of an answer, as the task wants it; 0 where nothing is generated."""
        return longest_answer(self.generation) if self.kind == "generate_until" else 0

    @property
    def generation(self) -> Mapping[str, Any]:
        return self.about.get("generation_kwargs") or {}

    @cached_property
    def metrics(self) -> list[str]:
        """Names of its metrics; of a function, as lm-eval does, the last part."""
        entries = self.about.get("metric_list") or []
        return [str(entry.get("metric")).rpartition(".")[2] for entry in entries if isinstance(entry, Mapping)]

    @property
    def filters(self) -> list[str]:
        entries = self.about.get("filter_list") or []
        return [str(entry.get("name")) for entry in entries if isinstance(entry, Mapping)] or [FIRST_FILTER]

    @property
    def has_letters(self) -> bool:
        """Whether each choice is one letter, which a server can be asked to write."""
        choices = self.about.get("doc_to_choice")
        return isinstance(choices, list) and all(isinstance(choice, str) and is_letter(choice) for choice in choices)


def forbidden(found: Iterable[LeafFile], general: GeneralConfig) -> Iterator[str]:
    """A line for each entry of general.tasks that runs what a model writes, unless that is allowed."""
    for name in entries_of(leaf for leaf in found if leaf.about.get("unsafe_code") and not general.run_code):
        yield (
            f"general.tasks: {name} runs code that the model writes, on this machine and with your rights: leave it "
            "out, or allow it with general.run_code=true"
        )


def entries_of(found: Iterable[LeafFile]) -> Iterator[str]:
    """Entries of general.tasks, each with those of its leaves, some of them named: `mmlu (mmlu_x and 3 more)`."""
    entries: dict[str, list[str]] = defaultdict(list)
    for leaf in found:
        entries[leaf.asked].append(leaf.name)
    for name, names in entries.items():
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        yield name if names == [name] else f"{name} ({', '.join(names[:SHOWN])}{more})"


def is_letter(choice: str) -> bool:
    return len(choice.strip()) == 1 and choice.strip().isalpha()


def longest_answer(generation: Mapping[str, Any]) -> int:
    """Most new tokens by the names that lm-eval knows for it."""
    for key in ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens"):
        if isinstance(generation.get(key), int):
            return int(generation[key])
    return LONGEST_ANSWER


def samples(generation: Mapping[str, Any]) -> bool:
    """Whether a task wants sampled answers, not the most likely ones."""
    temperature = generation.get("temperature")
    if generation.get("do_sample") is False:
        return False
    return bool(temperature) or (generation.get("do_sample") is True and temperature is None)


def task_manager(general: GeneralConfig) -> Any:
    """lm-eval's manager with the files of the tasks in general.tasks. UserError for a name that no file defines."""
    from lm_eval.tasks import TaskManager

    folders = task_files.folders_of(general.tasks, general.include)
    manager = TaskManager(include_path=folders, include_defaults=False)
    unknown = [name for name in general.tasks if name not in manager.task_index]
    for name in unknown:
        raise UserError(_unreadable(name, general.include) or unknown_task(name, manager.all_tasks))
    return manager


def unknown_keys(general: GeneralConfig, found: Iterable[LeafFile], manager: Any) -> Iterator[str]:
    """A line for each key of the tables by task (general.shots, ...) that is no task and resembles one that is asked:
    without it the entry would say nothing. Others are those of a preset, whose own tasks may not be known here."""
    import difflib

    found = list(found)
    asked = {name for leaf in found for name in leaf.names}
    known = {*manager.task_index, *asked}
    for table in ("limit", "shots", "metrics", "prefixes"):
        entries = getattr(general, table)
        for name in entries if isinstance(entries, dict) else ():
            if name in known or task_files.is_defined(name):
                continue
            if close := difflib.get_close_matches(name, sorted(asked), 1, RESEMBLES):
                yield f"general.{table}: {name} is no task or group of lm-eval; did you mean {close[0]!r}?"


def _unreadable(name: str, own: Sequence[str]) -> str | None:
    """Message on a file of one's own with this name in it that lm-eval has passed over; None without one."""
    from lm_eval.tasks._yaml_loader import load_yaml

    for path in sorted(path for folder in own for path in Path(folder).rglob("*.yaml")):
        if name.encode() in path.read_bytes():
            try:
                load_yaml(path, resolve_func=False)
            except (OSError, ValueError, YAMLError) as error:
                return f"{path}: this task file cannot be read ({visible_line(' '.join(str(error).split())[:200])})"
    return None


def unknown_task(name: str, loaded: Sequence[str]) -> str:
    """Message on a name in general.tasks that is neither lm-eval's nor in general.include."""
    import difflib

    close = difflib.get_close_matches(name, sorted({*loaded, *task_files.known_names()}), 1, 0.6)
    suggested = f"; did you mean {close[0]!r}?" if close else "; `lm-eval ls tasks` lists all of them"
    return f"general.tasks: {name} is no task or group of lm-eval{suggested}"


def leaves(general: GeneralConfig, manager: Any) -> Iterator[LeafFile]:
    """The leaf tasks of each entry of general.tasks. UserError for an entry without any, for a leaf that belongs to two
    entries, and for one whose name cannot be that of a file."""
    owners: dict[str, str] = {}
    groups = _groups(manager.task_index)
    for asked in general.tasks:
        below = list(_below(manager.task_index, asked, {}))
        if not below:
            raise UserError(f"general.tasks: {asked} is a group without a task; leave it out")
        for name, about in below:
            if not FILE_NAME.fullmatch(name):
                raise UserError(f"general.tasks: {name!r} cannot be the name of a file; give that task another name")
            if owners.setdefault(name, asked) != asked:
                raise UserError(f"general.tasks: {name} belongs to {owners[name]} and to {asked}; name one of them")
            yield LeafFile(name, asked, about, tuple(groups.get(name, ())))


def _groups(index: Mapping[str, Any]) -> dict[str, list[str]]:
    """Leaf -> the groups that it is in, the smallest first. A group with members in files that are not loaded has
    nothing that is asked for."""
    sizes: dict[str, list[str]] = {}
    for name, entry in index.items():
        if entry.kind.name == "GROUP":
            with contextlib.suppress(UserError):
                sizes[name] = [leaf for leaf, _ in _below(index, name, {})]
    groups: dict[str, list[str]] = defaultdict(list)
    for name, members in sorted(sizes.items(), key=lambda item: (len(item[1]), item[0])):
        for leaf in members:
            groups[leaf].append(name)
    return groups


def _below(index: Mapping[str, Any], name: str, changes: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (name, description) of the leaves of a task, group or tag, with what a group `changes` in them."""
    entry = index.get(name)
    if entry is None:
        raise UserError(f"general.tasks: {name} is named by a group and has no task file")
    kind = entry.kind.name
    if kind == "TAG":
        for member in sorted(entry.tags):
            yield from _below(index, member, changes)
    elif kind == "GROUP":
        for member in entry.cfg.get("task") or ():
            if isinstance(member, str):
                yield from _below(index, member, changes)
            else:  # a member with changes of its own, maybe under another name
                inner = str(member.get("task", member.get("group")))
                described = {**changes, **{key: value for key, value in member.items() if key not in ("task", "group")}}
                if inner in index:
                    yield from _below(index, inner, described)
                else:
                    yield inner, {**described}
    else:
        yield name, {**(entry.cfg or {}), **changes}
