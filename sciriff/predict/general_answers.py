"""The prompts of the general tasks and their answers in general/answers.jsonl, so that none is answered twice.

A row holds for a prompt with the same digest, under the same `made_with`. Rows are appended as they come; at the end
the file is rewritten in the order of the prompts. Rows of other `made_with` go then; those of prompts that
this start does not ask for stay behind the others, for one that does.
"""

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

from sciriff.data.general_rows import GeneralAnswer, GeneralRequest, read_requests
from sciriff.predict.thought_rows import same_under
from sciriff.run.digest import value_digest
from sciriff.run.json_lines import record_of, repair_last_line, to_json, write_jsonl
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.run.whole_file import append_lines


class GeneralAnswers:
    """The general prompts that a start of the stage asks for, and the answers that are here."""

    def __init__(self, run: RunDir, requests: Iterable[GeneralRequest], made_with: str, thinking: int = 0) -> None:
        """Read the saved answers. `made_with`: digest of the model's files and of all that every answer depends on;
        `thinking`: most tokens of a thought besides its answer."""
        self._run = run
        self._made_with = made_with
        self.requests = by_digest(requests)
        self.asked = value_digest(list(self.requests))
        saved = _read(run.general_answers)
        good = {row.request: row for row in saved if row.made_with == made_with and self._holds(row, thinking)}
        self._others = [row for digest, row in good.items() if digest not in self.requests]
        self.rows = {digest: good[digest] for digest in self.requests if digest in good}
        """Digest -> answer, of all that are here."""

    def _holds(self, row: GeneralAnswer, thinking: int) -> bool:
        """Whether a row would be the same under today's limit on thoughts; that on answers is part of the request."""
        request = self.requests.get(row.request)
        if request is None or row.finish_reason == "scored" or (row.thought_tokens is None and not row.unfinished):
            return True
        return same_under(request.limit, thinking, row.finish_reason, row.output_tokens, row.thought_tokens)

    def left(self, plan: Callable[[list[GeneralRequest]], list[list[int]]]) -> list[list[str]]:
        """Batches of prompts to answer, as digests; `plan` makes batches of positions in the list that it is given.

        Batches are planned as if this start had to answer all that no other start with other prompts has answered, and
        a batch that lacks an answer is answered again as a whole: the last digits of a sum depend on the rest of the
        batch, and a resumed run must end in the same bytes as an undisturbed one. `rows` then lacks those answers.
        """
        new = [digest for digest in self.requests if self._asked_of(digest) in (None, self.asked)]
        batches = [[new[place] for place in batch] for batch in plan([self.requests[digest] for digest in new])]
        left = [batch for batch in batches if any(digest not in self.rows for digest in batch)]
        for batch in left:
            for digest in batch:
                self.rows.pop(digest, None)
        return left

    def _asked_of(self, digest: str) -> str | None:
        return self.rows[digest].asked if digest in self.rows else None

    def row(
        self,
        digest: str,
        finish_reason: str,
        *,
        text: str = "",
        output_tokens: int = 0,
        log_likelihoods: Iterable[float] = (),
        greedy: Iterable[bool] = (),
    ) -> GeneralAnswer:
        """Make the row of an answer to the prompt with this digest.

        Log-likelihoods are written in full, not rounded: what is read equals what was computed, so that no ranking
        changes. A batch is the same after a kill, and so are they; with other CPU threads their last digits differ.
        """
        scores = [*log_likelihoods], [*greedy]
        return GeneralAnswer(digest, self._made_with, self.asked, finish_reason, output_tokens, text, *scores)

    def add(self, rows: Iterable[GeneralAnswer]) -> None:
        """Append finished rows; they are on disk when this returns."""
        new = list(rows)
        if new:
            append_lines(self._run.general_answers, [to_json(row) + "\n" for row in new])
        self.rows.update((row.request, row) for row in new)

    def finish(self) -> None:
        """Rewrite the file in the order of the prompts, and remove that of the prompts, which are done with."""
        kept = [self.rows[digest] for digest in self.requests if digest in self.rows]
        write_jsonl(self._run.general_answers, [*kept, *self._others])
        self._run.general_requests.unlink(missing_ok=True)


def by_digest(requests: Iterable[GeneralRequest]) -> dict[str, GeneralRequest]:
    """Digest -> prompt, in their order; one that several documents share is asked once."""
    asked: dict[str, GeneralRequest] = {}
    for request in requests:
        asked.setdefault(request.digest, request)
    return asked


def read_asked(run: RunDir) -> list[GeneralRequest]:
    """Read the prompts that wait in general/requests.jsonl. UserError if another command must write them first."""
    if not run.general_requests.is_file():
        again = f"python -m sciriff.general.requests {run.root}"
        raise UserError(f"{run.general_requests}: the prompts of general.tasks are not there; write them with {again}")
    return read_requests(run)


def cut_at_stop(text: str, stops: Iterable[str]) -> str:
    """Cut a text where the first of `stops` in it begins."""
    return text[: min((at for stop in stops if stop and (at := text.find(stop)) >= 0), default=len(text))]


def _read(path: Path) -> list[GeneralAnswer]:
    """The readable rows of a file. A kill may leave a partial line or a torn block; those are asked again."""
    repair_last_line(path)
    rows = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1] if path.is_file() else [], 1):
        with contextlib.suppress(UserError):
            rows.append(record_of(line, GeneralAnswer, path, number))
    return rows
