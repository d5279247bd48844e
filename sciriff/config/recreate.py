"""recreate: which rows are made of raw corpora, by which templates."""

from dataclasses import dataclass
from typing import Any

from sciriff.config.roles import HOW, setting
from sciriff.run.user_error import UserError


@dataclass
class RecreateConfig:
    templates: str | None = setting(None, path=True)
    """Folder of template files (NAME.yaml, one a task); null is those of this package, for SciRIFF's 54 tasks."""
    raw: str | None = setting(None, path=True, named=False)
    """Folder with the raw corpora, each in its own folder; what is not there is looked for on the hub. No part of a
    run's name: its files count, not their place."""
    out: str | None = setting(None, HOW, path=True, written_to=True)
    """Folder for train.jsonl, validation.jsonl, test.jsonl and card.json. A run that has it makes the rows first."""
    tasks: list[str] | None = None
    """Tasks to make; null is all that have a template file."""
    tokenizer: str | None = setting(None, path=True, or_hub_id=True)
    """Tokenizer that rows are measured with: a folder, tokenizer.json, tokenizer.model or hub id. null is that of the
    published data, meta-llama/Llama-2-7b-hf, if there is a context window."""
    context_window: int | None = setting(4096, least=32)
    """Rows whose input and output have more tokens than this less 20 are left out; null keeps all."""
    cap: int | None = setting(2500, least=1)
    """Records of each source split of a task at most, a seeded sample; null keeps all."""
    template: Any = 0
    """Which templates render a record: a number, a list of numbers, all, or random (one, drawn for each record)."""
    split: str = setting("published", choices=("published", "source", "document"))
    """published: three splits by SciRIFF's arithmetic; source: the splits of the source as they are; document: as
    published, but no document of an evaluation row is in a training row."""
    pin: str | None = setting(None, path=True, or_hub_id=True)
    """Published rows, or rows of ids alone, that restore samples, splits and the order of lists: a folder, a file whose
    name begins with its split, or a hub id."""
    seed: int = setting(76, least=0)
    """Decides what is sampled and cut, together with task and id, whatever the order."""
    workers: int | None = setting(None, HOW, least=1)
    """Tasks built at the same time, each by a process of its own; null is one for each core."""
    memory_gb: float = setting(2.0, HOW, above=0)
    """Memory of a worker at most. One that needs more fails its task; no row is ever left out for it."""
    row_seconds: float = setting(60.0, HOW, above=0)
    """Seconds of a processor that one row may take, as a template that loops takes all. It fails its task."""
    add: bool = setting(False, HOW)
    """Keep tasks that an earlier build left in `out` with the same settings; jobs of a sweep always do."""

    def __post_init__(self) -> None:
        if self.tasks == []:
            raise UserError("recreate.tasks=[] makes nothing; name some tasks, or null for all")
        if isinstance(self.template, list) and not self.template:
            raise UserError("recreate.template=[] renders nothing; name a template, all or random")
        for one in self.template if isinstance(self.template, list) else [self.template]:
            number = isinstance(one, int) and not isinstance(one, bool) and one >= 0
            if not number and (isinstance(self.template, list) or one not in ("all", "random")):
                raise UserError(
                    f"recreate.template={self.template} must be a number from 0, a list of these, all or random"
                )
