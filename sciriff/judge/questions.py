"""The judge's rows on the disk: what was asked before is found here, what is asked now is added here."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sciriff.data import judgements
from sciriff.data.judgements import RATED, UNREADABLE
from sciriff.data.records import AnswerKey, Judgement
from sciriff.data.saved_answers import SavedAnswer
from sciriff.models.api.calls import Reply
from sciriff.models.api.prices import Price
from sciriff.run.json_lines import append_jsonl, repair_last_line
from sciriff.run.run_dir import RunDir
from sciriff.tasks import HELD_OUT
from sciriff.tasks.task import Task


@dataclass(frozen=True)
class Question:
    """One answer to judge."""

    task: Task
    answer: SavedAnswer
    digest: str
    """Of the prompt and of who is asked."""
    text: str

    @property
    def about(self) -> dict[str, Any]:
        """What its row needs besides, as it travels with the call."""
        return {"task": self.task.name, "instance_id": self.answer.instance_id, "sample": self.answer.sample}


@dataclass
class Rows:
    """All rows that are on the disk, and the way to add one."""

    run: RunDir
    limit: int
    """Tokens that a response may have today."""
    every: list[Judgement] = field(default_factory=list)
    by_digest: dict[str, Judgement] = field(default_factory=dict)
    """Of several rows one with a rating, else the last."""
    written: dict[tuple[str, AnswerKey, str], Judgement] = field(default_factory=dict)
    """The same by task, answer and digest."""

    @classmethod
    def read(cls, run: RunDir, limit: int) -> "Rows":
        """The rows of earlier starts. Half a line at the end of a file, where a kill has left one, is cut off."""
        rows = cls(run, limit)
        for task in HELD_OUT:
            path = rows.path(task)
            if task.judged is None or not path.is_file():
                continue
            if repair_last_line(path):
                print(f"{path}: its last line was only half written and is asked again", flush=True)
            for row in judgements.read_rows(path):
                rows._note(task.name, row)
        return rows

    def _note(self, task: str, row: Judgement) -> None:
        self.every.append(row)
        before = self.by_digest.get(row.prompt_digest)
        if before is None or before.rating is None:
            self.by_digest[row.prompt_digest] = row
        self.written[task, row.key, row.prompt_digest] = row

    def path(self, task: Task) -> Path:
        return self.run.judgements / f"{task.name}.jsonl"

    def has(self, question: Question) -> bool:
        row = self.written.get((question.task.name, question.answer.key, question.digest))
        return row is not None and self.is_final(row)

    def response(self, digest: str) -> Judgement | None:
        """The row of a prompt, for whichever answer, that need not be asked again."""
        row = self.by_digest.get(digest)
        return row if row is not None and self.is_final(row) else None

    def is_final(self, row: Judgement) -> bool:
        """Whether the judge would say no more if it was asked again: not where it came to no rating within fewer tokens
        than it has today."""
        return row.rating is not None or not was_cut(row) or (row.limit or 0) >= self.limit

    def add(self, digest: str, about: dict[str, Any], judge: str, reply: Reply, usd: float | None) -> None:
        """Write the row of an answered question, whose digest and `about` these are, and that cost so much; on the disk
        when this returns. An answer of a batch may come twice, and is written once."""
        task = next(task for task in HELD_OUT if task.name == about["task"])
        assert task.judged is not None
        rating = task.judged.rule.read(reply.text)
        row = Judgement(
            instance_id=about["instance_id"],
            judge=judge,
            prompt_digest=digest,
            response=reply.text,
            rating=rating,
            status=UNREADABLE if rating is None else RATED,
            input_tokens=reply.input_tokens,
            output_tokens=reply.output_tokens,
            usd=usd,
            sample=about["sample"],
            finish_reason=reply.finish_reason,
            limit=about.get("limit"),
        )
        before = self.written.get((task.name, row.key, digest))
        if before is None or (before.rating is None and before.limit != row.limit):
            append_jsonl(self.path(task), row)
            self._note(task.name, row)

    def spent(self, judge: str, price: Price) -> float:
        """US dollars that all rows have cost. Rows that do not say it count at today's price if they are this judge's,
        and as nothing if they are another's."""
        said = sum(row.usd for row in self.every if row.usd is not None)
        unsaid = [row for row in self.every if row.usd is None and row.judge == judge]
        return said + sum(price.of(row.input_tokens, row.output_tokens) for row in unsaid)


def was_cut(row: Judgement) -> bool:
    """Whether a response without a rating is one that ran into its limit."""
    return row.rating is None and row.finish_reason == "length" and row.limit is not None
