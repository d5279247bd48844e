"""The judge's rows on the disk: what was asked before is found here, what is asked now is added here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciriff import judgements
from sciriff.api.calls import Reply
from sciriff.api.limits import Price
from sciriff.judgements import RATED, UNREADABLE
from sciriff.predictions import Answer
from sciriff.records import AnswerKey, Judgement, append_jsonl, mend_last_line
from sciriff.run_dir import RunDir
from sciriff.tasks import HELD_OUT
from sciriff.tasks.task import Task


@dataclass(frozen=True)
class Question:
    """One answer to judge."""

    task: Task
    answer: Answer
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
    by_digest: dict[str, Judgement]
    written: set[tuple[str, AnswerKey, str]]
    """(task, answer, digest) of every row."""

    @classmethod
    def read(cls, run: RunDir) -> "Rows":
        """The rows of earlier starts. Half a line at the end of a file, where a kill has left one, is cut off."""
        rows = cls(run, {}, set())
        for task in HELD_OUT:
            path = rows.path(task)
            if task.judged is None or not path.is_file():
                continue
            if mend_last_line(path):
                print(f"{path}: its last line was only half written and is asked again", flush=True)
            for row in judgements.read_rows(path):
                rows.by_digest.setdefault(row.prompt_digest, row)
                rows.written.add((task.name, row.key, row.prompt_digest))
        return rows

    def path(self, task: Task) -> Path:
        return self.run.judgements / f"{task.name}.jsonl"

    def has(self, question: Question) -> bool:
        return (question.task.name, question.answer.key, question.digest) in self.written

    def add(self, digest: str, about: dict[str, Any], judge: str, reply: Reply, usd: float | None) -> None:
        """Write the row of an answered question, whose digest and `about` these are, and that cost so much; on the disk
        when this returns. A row that is there already stays the only one: an answer of a batch may come twice."""
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
        )
        if (task.name, row.key, digest) in self.written:
            return
        append_jsonl(self.path(task), row)
        self.by_digest.setdefault(digest, row)
        self.written.add((task.name, row.key, digest))

    def spent(self, judge: str, price: Price) -> float:
        """US dollars that all rows have cost. Rows that do not say it count at today's price if they are this judge's,
        and as nothing if they are another's."""
        rows = self.by_digest.values()
        said = sum(row.usd for row in rows if row.usd is not None)
        unsaid = [row for row in rows if row.usd is None and row.judge == judge]
        return said + sum(price.of(row.input_tokens, row.output_tokens) for row in unsaid)
