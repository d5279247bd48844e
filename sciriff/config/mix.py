"""mix: which rows a model learns from."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from sciriff.config.roles import setting
from sciriff.config.source import SourceConfig
from sciriff.run.user_error import UserError


@dataclass
class MixSourceConfig(SourceConfig):
    """A source that the recipe of a mix chooses rows from."""

    weight: float = setting(1.0, above=0)
    """The source's share under mix.tulu=match, relative to the other's: with mix.sources.tulu.weight=2 the mix takes
    two general rows for each science row. Refused with mix.tulu=all or a number, which say how many there are."""
    epochs: float = setting(1.0, above=0)
    """How often the mix repeats the rows of this source, after caps, mix.tulu and weights have counted each once. 2 has
    each row twice, under the same id. A part of an epoch takes the first rows of the cap: 0.5 has half of each science
    task, or of the general rows, rounded; a smaller part is a subset of a larger."""
    license: str | None = None
    """Licence of the rows for the card; null looks up known datasets of the hub."""


@dataclass
class SourcesConfig:
    sciriff: MixSourceConfig = field(default_factory=MixSourceConfig)
    """Science: rows `input`, `output`, `metadata`, `_instance_id`."""
    tulu: MixSourceConfig = field(default_factory=MixSourceConfig)
    """General: rows `dataset`, `id`, `messages`."""
    published: SourceConfig = field(default_factory=SourceConfig)
    """A finished mix (rows `dataset`, `id`, `messages`), taken whole in its own order."""


@dataclass
class MixConfig:
    name: str = MISSING
    sources: SourcesConfig = field(default_factory=SourcesConfig)
    per_task: int | None = setting(1000, least=0)
    """Rows of each science task at most; null takes all, 0 none."""
    tulu: Any = setting("match", choices=("none", "match", "all"), least=0)
    """General rows: none, match (as many as science rows), all, or a number."""
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
        for name in ("tasks", "families", "domains"):
            if getattr(self, name) == []:
                raise UserError(f"mix.{name}=[] lets no science row in; say mix.per_task=0, or null for all")
        for name in ("sciriff", "tulu"):
            source: MixSourceConfig = getattr(self.sources, name)
            if source.weight != 1 and self.tulu not in ("match", "none"):
                raise UserError(
                    f"mix.sources.{name}.weight={source.weight} is a share under mix.tulu=match, and mix.tulu is "
                    f"{self.tulu}: leave the weight out, or match"
                )
        for name in ("tasks", "families", "domains", "validation_rows"):
            if self.sources.published.exists and self.path is None and (value := getattr(self, name)):
                raise UserError(
                    f"mix.{name}={value} cannot be had of mix.sources.published, a finished mix that is taken whole; "
                    "choose a mix that is built of sources (mix=scitulu), or leave it out"
                )
