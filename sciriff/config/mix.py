"""mix: which rows a model learns from."""

import re
from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from sciriff.config.roles import setting
from sciriff.config.source import SourceConfig
from sciriff.run.user_error import UserError
from sciriff.run.visible import shortened, visible_line

KINDS = ("science", "general")
"""What the rows of a source are: tasks on scientific text, which mix.per_task caps one by one, or any other."""

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,59}")
TAKEN = ("path", "science", "general", "all")
"""Names that cards and messages have for other things."""


@dataclass
class MixSourceConfig(SourceConfig):
    """A source that the recipe of a mix chooses rows from."""

    weight: float | None = setting(None, above=0, unwritten_if_empty=True)
    """The source's share, relative to the others': of the tokens under mix.tokens, else of the rows. Of sciriff and
    tulu it is 1, and under mix.tulu=match alone the mix takes two general rows for each science row with
    mix.sources.tulu.weight=2. Where a source of one's own has a weight and there is no total, the mix is the largest
    that the scarcest source allows. Refused with mix.tulu=all or a number, which say how many there are."""
    epochs: float = setting(1.0, above=0)
    """How often the mix repeats the rows of this source, after caps, mix.tulu and weights have counted each once. 2 has
    each row twice, under the same id. A part of an epoch takes the first rows of the cap: 0.5 has half of each science
    task, or of the general rows, rounded; a smaller part is a subset of a larger. Where `rows` or a share says how much
    there is, it is how often a row may come at most."""
    license: str | None = None
    """Licence of the rows for the card; null looks up known datasets of the hub."""
    kind: str | None = setting(None, choices=KINDS, unwritten_if_empty=True)
    """science or general; null is what sciriff and tulu are, and general of any other. Science rows are of the task
    that their `_instance_id` names, else all of one task, which has the source's name."""
    rows: int | None = setting(None, least=1, unwritten_if_empty=True)
    """Rows of this source in the mix, a science source's tasks in turn, in place of mix.per_task, mix.tulu and a
    share."""
    columns: dict[str, str] = setting(factory=dict, unwritten_if_empty=True)
    """Field of a row -> the column that has it (`prompt: question`, `id: meta.key`), or where there is `{{` a template
    of one line over the row's columns (`prompt: "{{ question }} {{ context }}"`), in a sandbox."""
    filter: dict[str, Any] = setting(factory=dict, unwritten_if_empty=True)
    """Column -> the value, or list of values, that it must have; other rows are left out and counted."""

    @property
    def share(self) -> float:
        """The weight; 1 where none was given."""
        return 1.0 if self.weight is None else self.weight


def _known_sources() -> dict[str, Any]:
    return {
        "sciriff": MixSourceConfig(weight=1.0),  # science: rows `input`, `output`, `metadata`, `_instance_id`
        "tulu": MixSourceConfig(weight=1.0),  # general: rows `dataset`, `id`, `messages`
        "published": SourceConfig(),  # a finished mix (rows `dataset`, `id`, `messages`), taken whole in its own order
    }


KNOWN_SOURCES = tuple(_known_sources())


@dataclass
class MixConfig:
    name: str = MISSING
    sources: dict[str, Any] = setting(factory=_known_sources)
    """Sources by name. sciriff, tulu and published are always there and may be empty; others come by
    `+mix.sources.NAME.path=...`, or from a file, and all of their rows enter that nothing below leaves out."""
    tokens: float | None = setting(None, above=0, unwritten_if_empty=True)
    """Tokens of the mix, such as 200e6, with the model's tokenizer and markup: each source has its share by weight, in
    whole rows."""
    rows: int | None = setting(None, least=1, unwritten_if_empty=True)
    """Rows of the mix, likewise, in place of `tokens`."""
    per_task: int | None = setting(1000, least=0)
    """Rows of each science task of a source at most; null takes all, 0 none."""
    tulu: Any = setting("match", choices=("none", "match", "all"), least=0)
    """Rows of the source tulu: none, match (as many as science rows), all, or a number. Under mix.tokens or mix.rows
    match is a share."""
    tasks: list[str] | None = None
    """Science tasks that enter, such as genia_ner; null is all. A row must pass this and the next two."""
    families: list[str] | None = None
    """Task families that enter, such as ie.named_entity_recognition (a row's `metadata.task_family`); null is all."""
    domains: list[str] | None = None
    """Domains that enter, such as biomedicine: one of a row's `metadata.domains` must be among them; null is all."""
    include_heldout: bool = False
    """Let the training rows of the held-out tasks in: of the nine, and of one's own (eval.own_tasks)."""
    context_window: int | None = setting(4096, least=32)
    """Rows longer than this less 20 tokens, with the model's tokenizer and markup, are left out; null keeps all."""
    truncate: str = setting("drop", choices=("drop", "turns"))
    """What becomes of a longer row: drop, or turns (keep the first turns that fit up to the end of an answer; drop the
    row where the first answer does not fit). No answer is ever cut."""
    take: str = setting("sample", choices=("sample", "first"))
    """Which rows a cap keeps: a seeded sample, or the first of each task, as the published mix did."""
    on_bad_row: str = setting("error", choices=("error", "drop", "only_whole"))
    """A row that cannot be used stops the build (error), or is left out and counted (drop). A row of several answers
    of which the tokenizer's chat template lets only the last be learnt is trained on that; only_whole is drop, and
    leaves such rows out, too."""
    overlap: str = setting("report", choices=("report", "drop", "none"))
    """Contamination: rows that hold an evaluation prompt or its document. report lists them in the card, drop leaves
    them out before the caps are filled, none does not look. The prompts are those of all held-out tasks at `eval.path`
    or `eval.source`. Where these cannot be read, drop and a run that is to answer them stop; a run that only trains
    says in log and card that its rows were not checked."""
    near_duplicates: str | None = setting(None, choices=("report", "drop", "none"), unwritten_if_empty=True)
    """Rows of which another row has nearly the same text, across sources, too. report counts them in the card, drop
    leaves them out before the caps are filled, none does not look; null is report where the package rensa is there.
    Rows with exactly the same text enter once in any case."""
    validation_rows: int = setting(0, least=0)
    """Science rows, and as many general ones, for the validation loss, from each source that is given, even if the mix
    takes none of it. They are drawn from what the caps leave, each task in turn, then from the source's own validation
    split. None is of a held-out task, begins like a training row, asks about a document of one or, unless
    mix.overlap=none, holds text of the evaluation prompts. The card says where a hub dataset was out of reach."""
    seed: int = 76
    """Seed of the mix alone, so that a sweep over `seed` shares one mix."""
    path: str | None = setting(None, path=True)
    """A finished mix (jsonl of `dataset`, `id`, `messages`) in place of sources and recipe; without validation rows."""

    def __post_init__(self) -> None:
        for name in self.own_sources:
            refuse_name(name)
        in_order = {name: self.sources[name] for name in self.own_sources}
        self.sources = {name: self.sources.get(name, part) for name, part in _known_sources().items()} | in_order
        for name in ("tasks", "families", "domains"):
            if getattr(self, name) == []:
                raise UserError(f"mix.{name}=[] lets no science row in; say mix.per_task=0, or null for all")
        for name in ("sciriff", "tulu"):
            self._check_weight(name)
        for name in ("tasks", "families", "domains", "validation_rows"):
            if self.sources["published"].exists and self.path is None and (value := getattr(self, name)):
                raise UserError(
                    f"mix.{name}={value} cannot be had of mix.sources.published, a finished mix that is taken whole; "
                    "choose a mix that is built of sources (mix=scitulu), or leave it out"
                )
        self._check_shares()

    @property
    def own_sources(self) -> list[str]:
        """Names of the sources beside the three that are always there, in alphabetical order: the order in which they
        were typed decides nothing."""
        return sorted(set(self.sources) - set(KNOWN_SOURCES))

    def source(self, name: str) -> MixSourceConfig:
        """The source of this name, which is not `published`."""
        source = self.sources[name]
        assert isinstance(source, MixSourceConfig), name
        return source

    def kind_of(self, name: str) -> str:
        """`science` or `general`."""
        return self.source(name).kind or ("science" if name == "sciriff" else "general")

    @property
    def kinds(self) -> set[str]:
        """Kinds of the sources that there are: `science` and `general`, or one of them."""
        return {self.kind_of(name) for name, part in self.sources.items() if part.exists and name != "published"}

    @property
    def exists(self) -> bool:
        """Whether the mix has a source at all."""
        return self.path is not None or any(source.exists for source in self.sources.values())

    @property
    def by_shares(self) -> bool:
        """Whether weights divide the mix among the sources: under a total, or where a source of one's own has one."""
        weighted = any(self.source(name).weight is not None for name in self.own_sources)
        return self.tokens is not None or self.rows is not None or weighted

    def _check_weight(self, name: str) -> None:
        weight = self.source(name).weight
        if weight not in (None, 1) and self.tulu not in ("match", "none"):
            raise UserError(
                f"mix.sources.{name}.weight={weight} is a share under mix.tulu=match, and mix.tulu is {self.tulu}: "
                "leave the weight out, or match"
            )

    def _check_shares(self) -> None:
        if self.path is not None or self.sources["published"].exists:
            for key, value in (("tokens", self.tokens), ("rows", self.rows)):
                if value is not None:
                    raise UserError(f"mix.{key}={value:.0f} cannot be had of a finished mix, which is taken whole")
            if self.near_duplicates == "drop":
                raise UserError(
                    "mix.near_duplicates=drop cannot be had of a finished mix, which is taken whole; report counts them"
                )
        if self.tokens is not None and self.tokens != int(self.tokens):
            raise UserError(f"mix.tokens={self.tokens} must be a whole number, such as 200e6")
        if self.tokens is not None and self.rows is not None:
            raise UserError(f"mix.tokens={self.tokens:.0f} and mix.rows={self.rows} are two totals; leave one out")
        for name in ("sciriff", "tulu"):
            kind = self.source(name).kind
            if kind is not None and kind != (is_known := "science" if name == "sciriff" else "general"):
                raise UserError(
                    f"mix.sources.{name}.kind={kind}: {name} is {is_known}; give the rows as a source of another name, "
                    "+mix.sources.NAME.path=..."
                )
        for name in ("sciriff", "tulu", *self.own_sources):
            source = self.source(name)
            if name in self.own_sources and not source.exists:
                raise UserError(
                    f"mix.sources.{name} has no rows: give +mix.sources.{name}.path=FILE or +mix.sources.{name}.hub=ID"
                )
            if source.rows is not None and source.weight not in (None, 1):
                raise UserError(
                    f"mix.sources.{name}.rows={source.rows} is a number and mix.sources.{name}.weight={source.weight} "
                    "a share; leave one out"
                )


def refuse_name(name: str) -> None:
    """UserError for a name that no source of one's own may have."""
    shown = shortened(visible_line(name), 60)
    if not NAME.fullmatch(name):
        raise UserError(
            f"mix.sources: {shown!r} is no name of a source: at most 60 letters, digits, _ and -, a letter first"
        )
    if name in TAKEN:
        raise UserError(f"mix.sources: a source cannot be called {name}, as other things are; choose another name")
    for known in KNOWN_SOURCES:
        if one_slip(name.lower(), known):
            raise UserError(
                f"mix.sources.{name} is not known; did you mean 'mix.sources.{known}'? A source of one's own needs a "
                "name that differs by more than a letter"
            )


def one_slip(word: str, known: str) -> bool:
    """Whether one letter too many, too few, wrong or out of place makes `known` this word. A digit or a sign at its end
    was meant: `tulu3`."""
    if word != known and word.startswith(known) and not word[len(known) :].isalpha():
        return False
    letters = "abcdefghijklmnopqrstuvwxyz"
    splits = [(word[:i], word[i:]) for i in range(len(word) + 1)]
    slips = {a + b[1:] for a, b in splits if b} | {a + b[1] + b[0] + b[2:] for a, b in splits if len(b) > 1}
    slips |= {a + letter + b for a, b in splits for letter in letters}
    slips |= {a + letter + b[1:] for a, b in splits if b for letter in letters}
    return known in slips
