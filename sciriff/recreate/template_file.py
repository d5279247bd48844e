"""Template file: the YAML of one task, with its source, formatter, metadata and templates.

The format is the one of SciRIFF's own files. Three keys are ours: `data` names files of one's own, `metric` one of the
metrics of the held-out tasks, `license` what the card says.
"""

import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from sciriff.config import nearest
from sciriff.config.own_tasks import refuse_own_task
from sciriff.run.digest import file_digest
from sciriff.run.typed_json import WrongType, typed
from sciriff.run.user_error import UserError
from sciriff.run.visible import visible_line
from sciriff.tasks.own import METRICS

BUNDLED = Path(__file__).parent / "templates"
SPLITS = ("train", "validation", "test")
MOST_BYTES = 200_000
"""Size of a template file; those of SciRIFF have 5 kB. The command itself reads them, 100 kB in a second or more."""
MOST_TEMPLATES = 1000
HUB_ID = re.compile(r"([\w-][\w.-]*/)?[\w-][\w.-]*", re.ASCII)
HALF = re.compile("[\ud800-\udfff]")
"""Half of a surrogate pair, which YAML can spell and UTF-8 cannot."""
NUMBERS = {"int": r"(?:0|-?[1-9][0-9]{0,15})$", "float": r"-?[0-9]{1,16}\.[0-9]{1,16}$"}


@dataclass(frozen=True)
class Metadata:
    """What a row's `metadata` says of its task."""

    task: str
    domains: list[str]
    source_type: str
    input_context: str
    output_context: str
    contributor: str | None = None

    @property
    def of_row(self) -> dict[str, Any]:
        return {
            "domains": self.domains,
            "input_context": self.input_context,
            "output_context": self.output_context,
            "source_type": self.source_type,
            "task_family": self.task,
        }


@dataclass(frozen=True)
class FormatterCall:
    name: str
    args: dict[str, Any] | None = None


@dataclass(frozen=True)
class TemplateText:
    """One template of a task."""

    jinja: str
    """Input and output, with `|||` between them."""
    answer_choices: str | None = None
    """Jinja text of answers, with `|||` between them; templates see the list as `answer_choices`."""


@dataclass(frozen=True)
class TemplateFile:
    """One task. The digest is the file's."""

    path: Path
    digest: str
    name: str
    metadata: Metadata
    templates: dict[int, TemplateText]
    dataset: str | None = None
    """Id of the data set on the hub, also where its raw files are read."""
    subset: str | None = None
    data_dir: str | None = None
    """A folder below the raw data, or beside this file, with train.jsonl, validation.jsonl and test.jsonl."""
    data: str | dict[str, str] | None = None
    """A file with records, or a file for each split, beside this one."""
    formatter: FormatterCall | None = None
    skip_splits: list[str] = field(default_factory=list)
    split_lookup: dict[str, str] = field(default_factory=dict)
    """Split -> its name in the source."""
    standardize_splits: bool = True
    """Make three splits where the source has fewer."""
    metric: str | None = None
    license: str | None = None

    @property
    def sources(self) -> list[str]:
        """Names under which the corpora know the task's source, the most exact first."""
        if self.dataset is None:
            return [self.data_dir] if self.data_dir else []
        return [*([f"{self.dataset}:{self.subset}"] if self.subset else []), self.dataset]


@dataclass(frozen=True)
class _Content:
    """The keys of the file; `evaluate` is accepted and unused."""

    name: str
    metadata: Metadata
    templates: dict[str, TemplateText]
    dataset: str | None = None
    subset: str | None = None
    data_dir: str | None = None
    data: str | dict[str, str] | None = None
    formatter: FormatterCall | None = None
    skip_splits: list[str] | None = None
    split_lookup: dict[str, str] | None = None
    standardize_splits: bool = True
    metric: str | None = None
    license: str | None = None
    evaluate: Any = None


def template_files(folder: Path) -> dict[str, Path]:
    """Task -> file, in alphabetical order. UserError for a folder without templates."""
    if not folder.is_dir():
        raise UserError(f"recreate.templates={folder}: there is no such folder")
    files = {path.stem: path for path in sorted(folder.glob("*.yaml")) if not path.name.startswith(".")}
    if not files:
        raise UserError(f"recreate.templates={folder} has no .yaml file; each is one task")
    return dict(sorted(files.items()))


def read_template_file(path: Path) -> TemplateFile:
    """Read and check a file. UserError names the file and its line or key."""
    values = _read_yaml(path)
    for place, known, found in _levels(values):
        for key in found:
            if key not in known:
                where = f"{place}.{visible_line(key)}" if place else visible_line(key)
                raise UserError(f"{path}: {where} is not a key of a template file{nearest(str(key), known)}")
    templates = values.get("templates")
    for number in templates if isinstance(templates, dict) else ():
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < MOST_TEMPLATES:
            raise UserError(f"{path}: templates are numbered 0, 1, ...; found {visible_line(number)[:40]}")
    try:
        content = typed(values | {"templates": _by_text(templates)}, _Content)
    except WrongType as error:
        raise UserError(f"{path}: {visible_line(error)}") from None
    if content.name != path.stem:
        raise UserError(f"{path}: name is {visible_line(content.name)}, and the file must be named after it")
    if not content.name.replace("_", "").replace("-", "").isalnum() or not content.name.isascii():
        raise UserError(f"{path}: a task's name has letters, digits, - and _ alone; found {visible_line(content.name)}")
    if content.metric is not None:
        refuse_own_task(f"{path}: with a metric of its own", content.name)
    if content.metric is not None and content.metric not in METRICS:
        raise UserError(f"{path}: metric={visible_line(content.metric)} is not known{nearest(content.metric, METRICS)}")
    if not content.templates:
        raise UserError(f"{path}: templates is empty; a task needs at least one")
    for split in [*(content.skip_splits or ()), *(content.split_lookup or ())]:
        if split not in SPLITS:
            raise UserError(f"{path}: {visible_line(split)} is not a split{nearest(split, SPLITS)}")
    if sum(value is not None for value in (content.dataset, content.data_dir, content.data)) != 1:
        raise UserError(f"{path}: give one of dataset, data_dir and data, which say where the records are")
    if content.dataset is not None and not HUB_ID.fullmatch(content.dataset):
        raise UserError(f"{path}: dataset is {visible_line(content.dataset)}, and must be the id of a hub data set")
    plain = {known.name: getattr(content, known.name) for known in fields(content) if known.name != "evaluate"}
    return TemplateFile(
        **plain
        | {
            "path": path,
            "digest": file_digest(path),
            "templates": {int(number): text for number, text in content.templates.items()},
            "skip_splits": content.skip_splits or [],
            "split_lookup": content.split_lookup or {},
        }
    )


class _Loader(yaml.SafeLoader):
    """Reads texts, plain numbers, true, false and null. Refuses a key that stands twice, tags, and aliases, of which a
    few lines can stand for gigabytes. What YAML takes for dates, clocks or numbers of another base is text."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if self.check_event(yaml.AliasEvent):
            raise _refused("aliases (*name) are not read here", event)
        if event.tag not in (None, "!"):
            raise _refused("tags (!name) are not read here", event)
        return super().compose_node(parent, index)

    def construct_scalar(self, node: Any) -> Any:
        if isinstance(node.value, str) and HALF.search(node.value):
            raise _refused("half a surrogate pair is no text", node)
        return super().construct_scalar(node)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        made: dict[Any, Any] = {}
        for key_node, value in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _refused("a key must be a word or a number", key_node)
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise _refused("merge keys (<<) are not read here", key_node)
            key = self.construct_object(key_node)
            if key in made:  # also 1 and true, which Python takes for one key
                raise _refused(f"the key {key_node.value} stands twice", key_node)
            made[key] = self.construct_object(value, deep=deep)
        return made


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":int", ":float", ":timestamp"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _kind, _pattern in NUMBERS.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(_pattern), list("-0123456789"))


def _refused(problem: str, at: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)


def _read_yaml(path: Path) -> dict[str, Any]:
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):  # reading a pipe or a device may never end
        raise UserError(f"{path}: not a file")
    if about.st_size > MOST_BYTES:
        raise UserError(f"{path}: {about.st_size:,} bytes; a template file has at most {MOST_BYTES:,}")
    try:
        values = yaml.load(path.read_bytes().decode("utf-8-sig"), _Loader)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 (byte {error.start}: {error.reason})") from None
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{path}{line}: not a template file: {visible_line(error.problem)}") from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        reason = visible_line(" ".join(str(error).split()))[:200]
        raise UserError(f"{path}: not a template file: {reason}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: not a template file: expected keys and values, found {type(values).__name__}")
    return values


def _levels(values: dict[str, Any]) -> list[tuple[str, list[str], Mapping[Any, Any]]]:
    """(place, its known keys, its content) of all mappings of the file whose keys are fixed."""
    found: list[tuple[str, list[str], Mapping[Any, Any]]] = [("", [known.name for known in fields(_Content)], values)]
    inner: list[tuple[str, type, Any]] = [
        ("metadata", Metadata, values.get("metadata")),
        ("formatter", FormatterCall, values.get("formatter")),
    ]
    templates = values.get("templates")
    if isinstance(templates, dict):
        inner += [(f"templates.{visible_line(number)[:20]}", TemplateText, text) for number, text in templates.items()]
    for place, kind, part in inner:
        if isinstance(part, dict):
            found.append((place, [known.name for known in fields(kind)], part))
    return found


def _by_text(templates: Any) -> Any:
    """Templates under their numbers as text, as JSON has them."""
    return {str(number): text for number, text in templates.items()} if isinstance(templates, dict) else templates
