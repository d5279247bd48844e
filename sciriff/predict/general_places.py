"""The general prompts as the last places of an engine's request, behind those of science."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

from sciriff.config import EngineConfig
from sciriff.data.general_rows import GeneralAnswer, GeneralRequest
from sciriff.models.answer_parts import split_answer
from sciriff.models.engines import Answer, Request
from sciriff.models.thoughts import Thoughts
from sciriff.predict.general_answers import GeneralAnswers, cut_at_stop
from sciriff.predict.thought_rows import endings
from sciriff.run.digest import value_digest
from sciriff.run.messages import show
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.run.visible import visible_line

OF_SCIENCE = ("parity", "sampling")
"""Settings that only the answers of science depend on: general prompts are not the original code's, and their answers
are greedy."""


class GeneralPlaces:
    """General prompts and the places that they have; there may be none."""

    def __init__(self, asked: Mapping[str, GeneralRequest], first: int) -> None:
        """`asked`: digest -> prompt; `first`: number of prompts of science. UserError if a prompt is none for an
        engine."""
        for one in asked.values():
            if not one.prompt or not all(one.continuations) or _longest(one) < 1:
                raise UserError(
                    f"general/requests.jsonl: the prompt of document {one.doc_id} of {visible_line(one.task)} has no "
                    "tokens or asks for none; run the stages predict and general again"
                )
        self._asked = asked
        self._first = first
        self._digests = list(asked)
        self._thoughts: Thoughts | None = None
        self._thinking = 0

    def added_to(self, request: Request, tokenizer: Any) -> Request:
        """Append the prompts to a request, to be begun when all before have their answers."""
        self._thoughts, self._thinking = request.thoughts, request.thinking
        if not self._asked:
            return request
        if (thoughts := request.thoughts) is not None:
            compared = [one.prompt for one in self._asked.values() if one.continuations]
            begun = sum(thoughts.after(prompt, tokenizer).opened for prompt in compared)
            if begun:
                show(
                    f"{begun} general prompts compare likelihoods of texts right after a prompt, which begins a "
                    "thought here; many chat templates can leave that out: ++model.chat_arguments.enable_thinking=false"
                )
        places = dict(enumerate(self._asked.values(), self._first))
        return replace(
            request,
            prompts=[*request.prompts, *(one.prompt for one in places.values())],
            limits=[*request.limits, *map(_longest, places.values())],
            stops={place: tuple(one.stops) for place, one in places.items() if one.stops and not one.continuations},
            continuations={place: one.continuations for place, one in places.items() if one.continuations},
            waits=self._first,
        )

    def begin(self, run: RunDir, settings: Mapping[str, Any], end_ids: list[int], tokenizer: Any) -> None:
        """Read the saved answers that were made with these settings. On the first node alone, which writes the file."""
        if self._asked:
            made_with = value_digest({name: value for name, value in settings.items() if name not in OF_SCIENCE})
            self._answers = GeneralAnswers(run, self._asked.values(), made_with, self._thinking)
        self._end_ids = end_ids
        self._tokenizer = tokenizer

    @property
    def rows(self) -> list[GeneralAnswer]:
        """The answers that are here."""
        return list(self._answers.rows.values()) if self._asked else []

    def keep(self, answers: Iterable[Answer]) -> list[Answer]:
        """Append the rows of answers to general prompts to their file, and return the other answers."""
        answers = list(answers)
        if self._asked:
            self._answers.add([self._row(one) for one in answers if one.place >= self._first])
        return [one for one in answers if one.place < self._first]

    def _row(self, answer: Answer) -> GeneralAnswer:
        """Make the row of an answer: its text without special tokens up to a stop string, or log-likelihoods."""
        digest = self._digests[answer.place - self._first]
        if answer.finish_reason == "scored":
            return self._answers.row(digest, "scored", log_likelihoods=answer.log_likelihoods, greedy=answer.greedy)
        end_ids = self._end_ids if self._thoughts is None else self._thoughts.answer_ends(self._end_ids)
        ended = bool(answer.token_ids) and answer.token_ids[-1] in end_ids
        finish_reason, thought, tokens = answer.finish_reason, None, None
        if self._thoughts is not None:
            prompt = self._asked[digest].prompt
            found = split_answer(prompt, answer, ended, self._thoughts, self._tokenizer, specials=False)
            text, thought, tokens = found.text, found.thought, found.thought_tokens
            finish_reason = found.finish_reason or finish_reason
        else:
            ids = answer.token_ids[:-1] if ended else answer.token_ids
            text = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        kept = cut_at_stop(text, self._asked[digest].stops)
        # Only here is a stop string seen that a special token interrupts.
        finish_reason = finish_reason if kept == text else "stop"
        row = self._answers.row(digest, finish_reason, text=kept, output_tokens=len(answer.token_ids))
        return replace(row, thought=thought, thought_tokens=tokens)

    def left(self, engine: ModuleType, settings: EngineConfig) -> list[list[int]]:
        """Batches of places to answer; `rows` then has none of their answers."""
        if not self._asked:
            return []
        left = self._answers.left(lambda asked: plan_batches(engine, settings, asked, self._thinking))
        place_of = {digest: place for place, digest in enumerate(self._digests, self._first)}
        return [[place_of[digest] for digest in batch] for batch in left]

    def finish(self) -> None:
        """Put the file of answers in order and remove that of the prompts."""
        if self._asked:
            self._answers.finish()
            show(f"{len(self.rows)} general answers, {endings(self.rows)}")


def plan_batches(
    engine: ModuleType, settings: EngineConfig, asked: list[GeneralRequest], thinking: int = 0
) -> list[list[int]]:
    """Batches of prompts, as positions, for an engine's module. None has both prompts that are scored and prompts that
    are answered, before which a thought may have `thinking` tokens."""
    batches = []
    for scored in (True, False):
        places = [place for place, one in enumerate(asked) if bool(one.continuations) == scored]
        prompts = [asked[place].prompt for place in places]
        limits = [_longest(asked[place]) + (0 if scored else thinking) for place in places]
        planned = engine.plan_general_batches(prompts, limits, settings)
        batches += [[places[number] for number in batch] for batch in planned]
    return batches


def _longest(request: GeneralRequest) -> int:
    """Most tokens after the prompt."""
    return max(map(len, request.continuations), default=request.limit)
