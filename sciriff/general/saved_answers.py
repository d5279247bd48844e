"""A model of lm-eval that gives the saved answers: scores come from a replay over them, without an engine."""

from collections.abc import Sequence
from typing import Any

from lm_eval.api.model import LM

from sciriff.data.general_rows import GeneralAnswer
from sciriff.general.asked import Asked, Asking
from sciriff.general.letters import UNLIKELY, chosen
from sciriff.run.user_error import UserError

Key = tuple[str, int]
"""Leaf task, and place of a document among those that were chosen."""


class SavedAnswers(LM):
    """Answers by the digest of the prompt. What it was asked, and what it had no answer to, is noted."""

    def __init__(self, asking: Asking, answers: dict[str, GeneralAnswer]) -> None:
        super().__init__()
        self._asking = asking
        self._answers = answers
        self.asked: dict[Key, Asked] = {}
        self.given: dict[Key, GeneralAnswer] = {}
        self.without: dict[str, Key] = {}
        """Digests of prompts that have no answer."""
        self.incomplete: set[Key] = set()
        """Documents with such a prompt; those of some tasks have several."""
        self.unreadable: set[Key] = set()
        """Documents to which a server wrote no letter."""
        self.most_likely: dict[Key, str] = {}

    tokenizer_name = ""

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return self._asking.prompter.template(chat_history, add_generation_prompt)

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        found = [self._found(one) for one in self._asking.grouped(requests)]
        return [answer.text if answer else "" for answer in found]

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        return [pair for one in self._asking.grouped(requests) for pair in self._compared(one)]

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        raise AssertionError("refused before: general/check.py and Asking")

    def _found(self, one: Asked) -> GeneralAnswer | None:
        key = one.task, one.place
        self.asked.setdefault(key, one)
        if one.request is None:
            return None
        answer = self._answers.get(one.request.digest)
        if answer is None:
            self.without[one.request.digest] = key
            self.incomplete.add(key)
        else:
            self.given.setdefault(key, answer)
        return answer

    def _compared(self, one: Asked) -> Sequence[tuple[float, bool]]:
        key, answer = (one.task, one.place), self._found(one)
        if answer is None:
            return [(0.0, False)] * len(one.choices)
        if one.request is not None and one.request.messages:
            place = chosen(answer.text, one.choices)
            if place is None:
                self.unreadable.add(key)
            pairs = [(0.0 if number == place else UNLIKELY, number == place) for number in range(len(one.choices))]
        else:
            if not len(answer.log_likelihoods) == len(answer.greedy) == len(one.choices):
                raise UserError(
                    f"general/answers.jsonl: the answer to {one.task}:{one.place} has {len(answer.log_likelihoods)} "
                    f"log-likelihoods, and there are {len(one.choices)} choices; remove that file and run the stages "
                    "predict and general again"
                )
            pairs = list(zip(answer.log_likelihoods, answer.greedy, strict=True))
        best = max(range(len(pairs)), key=lambda number: pairs[number][0])
        if key not in self.unreadable:
            self.most_likely.setdefault(key, one.choices[best].strip())
        return pairs
