"""Watch a growing output that may begin with a thought, which has a limit of its own and in which no stop string is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sciriff.models.engines.stop_strings import StopStrings, Watched
from sciriff.models.thoughts import OutputSoFar, Thoughts


@dataclass(frozen=True)
class Thinking:
    """How the outputs of one request think."""

    thoughts: Thoughts
    tokenizer: Any
    budget: int
    """Most tokens of a thought, apart from the limit of the answer; 0 where both have that limit together."""
    end_ids: Sequence[int]

    def longest(self, limit: int) -> int:
        """Most tokens of an output with this limit of its answer."""
        return limit + self.budget

    def watch(self, prompt: Sequence[int], limit: int, stops: StopStrings | None) -> "WatchedThought":
        """A new output after a prompt, with the `limit` of its answer and what may end that."""
        return WatchedThought(self, prompt, limit, stops)

    def ended(self, prompt: Sequence[int], ids: Sequence[int], stops: StopStrings | None) -> bool:
        """Whether the model has ended a whole output, or its answer has a stop string."""
        so_far = OutputSoFar(self.thoughts.after(prompt, self.tokenizer), self.tokenizer)
        so_far.read(ids)
        if so_far.thinks:
            return bool(ids) and ids[-1] in self.thoughts.thought_ends(self.end_ids)
        answer = ids[so_far.begins :]
        if answer and answer[-1] in self.thoughts.answer_ends(self.end_ids):
            return True
        if stops is None:
            return False
        if not so_far.begins:
            return stops.end(answer)
        return stops.after_blank().end(answer[blank_tokens(self.tokenizer, answer) :])


class WatchedThought:
    """A growing output with its thought."""

    def __init__(self, thinking: Thinking, prompt: Sequence[int], limit: int, stops: StopStrings | None) -> None:
        self._limit = limit
        self._budget = thinking.budget
        self._so_far = OutputSoFar(thinking.thoughts.after(prompt, thinking.tokenizer), thinking.tokenizer)
        self._answer_ends = thinking.thoughts.answer_ends(thinking.end_ids)
        self._thought_ends = thinking.thoughts.thought_ends(thinking.end_ids)
        self._tokenizer = thinking.tokenizer
        self._stops = stops
        self._watched: Watched | None = None
        self._blank = 0
        self._known = 0

    def end(self, ids: Sequence[int], over: bool = False) -> int | None:
        """Number of tokens at which the output is at its end; None if it goes on. `over`: no more of it come."""
        for count in range(self._known + 1, len(ids) + 1):
            self._known = count
            if (found := self._end_at(ids, count, over and count == len(ids))) is not None:
                return found
        return len(ids) if over else None

    def _end_at(self, ids: Sequence[int], count: int, over: bool) -> int | None:
        self._so_far.read(ids[:count] if count < len(ids) else ids)
        last = ids[count - 1]
        if self._so_far.thinks:
            return count if over or last in self._thought_ends or count >= (self._budget or self._limit) else None
        begins = self._so_far.begins
        if count == begins:  # this token ends the thought
            return count if over or (not self._budget and count >= self._limit) else None
        used = count - begins if self._budget else count
        ended = over or last in self._answer_ends or used >= self._limit
        if not self._so_far.answers and not ended:  # a thought may yet begin
            return None
        stop = self._stop_at(ids[begins:count], ended) if self._stops is not None else None
        return begins + stop if stop is not None else count if ended else None

    def _stop_at(self, answer: Sequence[int], ended: bool) -> int | None:
        """Number of tokens of the answer up to a stop string. The white space after a thought is no part of it."""
        assert self._stops is not None
        if self._so_far.begins and self._watched is None:
            self._blank += blank_tokens(self._tokenizer, answer[self._blank :])
            if self._blank == len(answer):
                return None
        if self._watched is None:
            self._watched = Watched(self._stops.after_blank() if self._so_far.begins else self._stops)
        found = self._watched.stop(answer[self._blank :], ended)
        return None if found is None else self._blank + found


def blank_tokens(tokenizer: Any, ids: Sequence[int]) -> int:
    """Number of tokens of white space that some tokens begin with."""
    texts = (tokenizer.decode([id], skip_special_tokens=False, clean_up_tokenization_spaces=False) for id in ids)
    return next((at for at, text in enumerate(texts) if text.strip()), len(ids))
