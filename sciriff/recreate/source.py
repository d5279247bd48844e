"""Find the records of a task: files of one's own, a corpus below the raw folder, or a data set of the hub."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sciriff.recreate.corpora import CORPORA
from sciriff.recreate.corpus import Corpus, Record
from sciriff.recreate.readers.records import SUFFIXES, read_records
from sciriff.recreate.sources import task_source
from sciriff.recreate.template_file import SPLITS, TemplateFile
from sciriff.run.digest import file_digest, value_digest
from sciriff.run.user_error import UserError
from sciriff.run.visible import visible_line

Read = Callable[[], Iterable[Record]]


class NotAtHand(UserError):
    """The raw data of a task is not here; the message says where to get it."""


@dataclass(frozen=True)
class Source:
    """Records of a task by source split, and where they come from."""

    load: Callable[[], Mapping[str, Read]]
    """Returns the source splits that are there; from the hub this downloads them."""
    files: list[Path] = field(default_factory=list)
    hub: str | None = None
    incomplete: str | None = None
    root: Path | None = None
    """Folder that the names of `files` in the card are relative to."""

    @functools.cached_property
    def described(self) -> dict[str, object]:
        """What the card says of it: the same on every machine. The files are read once, before the build."""
        named = {self._name(path): file_digest(path) for path in self.files}
        return {"hub": self.hub, "files": dict(sorted(named.items())), "incomplete": self.incomplete}

    def _name(self, path: Path) -> str:
        if self.root is not None and path.is_relative_to(self.root):
            return path.relative_to(self.root).as_posix()
        return path.name

    def digest(self) -> str:
        return value_digest(self.described)


def raw_folder(raw: Path) -> Path:
    """Return the folder with the corpora: `raw` itself, or the folder `raw` in it, as archives unpack."""
    if not raw.is_dir():
        raise UserError(f"recreate.raw={raw}: there is no such folder")
    return raw / "raw" if (raw / "raw").is_dir() else raw


def source_of(task: TemplateFile, raw: Path | None) -> Source:
    """Return where the records of a task are. NotAtHand if they are nowhere; UserError for files that are missing."""
    if task.data is not None:
        return _own_files(task)
    folders = [*([raw] if raw else []), task.path.parent]
    for folder in folders if task.data_dir else []:
        if files := _split_files(folder / str(task.data_dir), task.split_lookup):
            return _of_files(files, folder)
    for name in task.sources if raw else []:
        assert raw is not None
        for corpus in CORPORA.get(name, ()):
            if (found := corpus.found(raw)) is not None:
                return _of_corpus(corpus, found, raw)
    return _of_hub(task)


def _own_files(task: TemplateFile) -> Source:
    data = {"train": task.data} if isinstance(task.data, str) else dict(task.data or {})
    files = {}
    for split, name in data.items():
        if split not in SPLITS:
            raise UserError(f"{task.path}: data.{split} is not a split; it is one of {', '.join(SPLITS)}")
        try:
            path = task.path.parent / Path(str(name)).expanduser()
        except RuntimeError as error:  # ~NAME of nobody
            raise UserError(f"{task.path}: data names {visible_line(name)}, and {error}") from None
        if not path.is_file():
            raise UserError(f"{task.path}: data names {path}, and there is no such file")
        if not path.name.endswith(SUFFIXES):
            raise UserError(f"{task.path}: data names {path}; records are read from {', '.join(SUFFIXES)} files")
        files[split] = path
    return _of_files(files, task.path.parent)


def _of_files(files: Mapping[str, Path], root: Path) -> Source:
    splits = {split: partial(_records, path) for split, path in files.items()}
    return Source(lambda: splits, list(files.values()), root=root)


def _split_files(folder: Path, names: Mapping[str, str]) -> dict[str, Path]:
    return {split: path for split in SPLITS if (path := folder / f"{names.get(split, split)}.jsonl").is_file()}


def _records(path: Path) -> Iterator[Record]:
    for _, record in read_records(path):
        yield record


def _of_corpus(corpus: Corpus, found: Mapping[str, list[Path]], raw: Path) -> Source:
    splits = {split: partial(corpus.read, split, files) for split, files in found.items()}
    files = sorted({path for paths in found.values() for path in paths})
    return Source(lambda: splits, files, incomplete=corpus.incomplete, root=raw)


def _place(task: TemplateFile) -> str | None:
    """Where the first corpus of a task is looked for, None if nothing reads its files."""
    corpora = [corpus for name in task.sources for corpus in CORPORA.get(name, ())]
    patterns = [pattern for corpus in corpora[:1] for files in corpus.files.values() for pattern in files]
    return ", ".join(dict.fromkeys(patterns)) or None


def _of_hub(task: TemplateFile) -> Source:
    """A data set of the hub. NotAtHand where its files are no plain data, or the hub is out of reach."""
    known = task_source(task.name)
    if known is not None and known.loads not in ("hub", "branch"):
        account = " (needs an account)" if known.loads == "registration" else ""
        place = _place(task)
        then = (
            f"put it below recreate.raw as {place}" if place else "make JSON lines of it, for its files have no reader"
        )
        raise NotAtHand(f"its data is not here; get it from {known.raw}{account}, licence {known.licence}, and {then}")
    if task.dataset is None:
        raise NotAtHand(f"its data is not here: {task.path} names the folder {task.data_dir} below recreate.raw")
    dataset, revision = task.dataset, known.revision if known else None

    def load() -> Mapping[str, Read]:
        from sciriff.recreate.hub import hub_splits

        try:
            found = hub_splits(dataset, task.subset, revision)
        except UserError as error:
            raise NotAtHand(str(error)) from None
        ours = {name: split for split, name in task.split_lookup.items()}
        return {ours.get(name, name): partial(iter, records) for name, records in found.items()}

    return Source(load, hub="@".join(filter(None, (f"{dataset}:{task.subset or ''}".rstrip(":"), revision))))
