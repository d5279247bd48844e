"""Turn what lm-eval asks a model into prompts, and answers to these into what lm-eval expects from a model."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

from sciriff.config import GeneralConfig
from sciriff.data.general_rows import GeneralRequest
from sciriff.general.letters import letter_request
from sciriff.general.loaded_tasks import LoadedTask
from sciriff.general.prompts import SERVER, Prompter
from sciriff.general.task_index import LIKELIHOODS, longest_answer
from sciriff.run.user_error import UserError


@dataclass(frozen=True)
class Asked:
    """A prompt, which answers one instance of lm-eval, or all of a document that have the same context."""

    task: str
    place: int
    """Position of the document among those that were chosen."""
    request: GeneralRequest | None
    """None if the prompt does not fit the model even without examples."""
    left_out: int
    choices: tuple[str, ...] = ()
    """Continuations that are compared."""


class Asking:
    """What the tasks ask of one model."""

    def __init__(self, general: GeneralConfig, prompter: Prompter, thinking: int = 0) -> None:
        """`thinking`: tokens that a thought before a generated answer may have."""
        self._general = general
        self._thinking = thinking
        self.prompter = prompter

    def prepare(self, loaded: LoadedTask) -> None:
        """Let the leaves of a task make prompts that fit the model."""
        for task in loaded.leaves.values():
            task.fewshot_context = self.prompter.shortening(task, partial(self._room, task))

    def build(self, leaf: str, task: Any, documents: Sequence[int]) -> list[Asked]:
        """Build the prompts of some documents of a leaf task, given by their positions in its dataset."""
        template = {} if self.prompter.plain else {"chat_template": self.prompter.template}
        task.build_all_requests(samples=list(documents), **self.how(), **template)
        return list(self.grouped(task.instances, documents))

    def how(self) -> dict[str, Any]:
        """Arguments of lm-eval that decide how prompts are made."""
        return {
            "apply_chat_template": not self.prompter.plain,
            "fewshot_as_multiturn": self.prompter.turns,
        }

    def grouped(self, instances: Iterable[Any], documents: Sequence[int] | None = None) -> Iterator[Asked]:
        """Put instances, in lm-eval's order, together by document and prompt. `documents` are the positions of those
        that were chosen, for requests to name."""
        for (task, place, name), found in groupby(instances, key=lambda one: (one.task_name, one.doc_id, one.args[0])):
            same = list(found)
            doc_id = documents[place] if documents else place
            prompt = self.prompter.named(name, task)
            if same[0].request_type == "generate_until":
                for one in same:
                    yield self._generated(task, place, doc_id, one)
                continue
            choices = tuple(one.args[1] for one in same)
            encoded = self.prompter.encode(prompt, choices)
            if not all(encoded.continuations):
                raise UserError(f"general.tasks: document {doc_id} of {task} has an empty choice; leave that task out")
            if self.prompter.chat == SERVER:
                request = letter_request(task, doc_id, prompt.messages, choices)
            else:
                request = GeneralRequest(task, doc_id, encoded.prompt, continuations=encoded.continuations)
            yield Asked(task, place, request if prompt.fits else None, prompt.left_out, choices)

    def _generated(self, task: str, place: int, doc_id: int, one: Any) -> Asked:
        name, generation = one.args[:2]
        prompt = self.prompter.named(name, task)
        until = generation.get("until") or []
        stops = [stop for stop in ([until] if isinstance(until, str) else until) if stop]
        limit = self._limit(generation)
        if self.prompter.chat == SERVER:
            request = GeneralRequest(task, doc_id, [], list(prompt.messages), limit, stops)
        else:
            request = GeneralRequest(task, doc_id, self.prompter.encode(prompt).prompt, [], limit, stops)
        return Asked(task, place, request if prompt.fits else None, prompt.left_out)

    def _limit(self, generation: Any) -> int:
        return self._general.longest_answer(longest_answer(generation))

    def _room(self, task: Any, doc: Any) -> tuple[int, Sequence[str]]:
        """Most tokens of an answer with its thought, and the continuations that are compared."""
        if task.OUTPUT_TYPE == "generate_until":
            return self._thinking + self._limit(task.config.generation_kwargs or {}), ()
        if task.OUTPUT_TYPE not in LIKELIHOODS:
            raise UserError(f"general.tasks: {task.config.task} wants {task.OUTPUT_TYPE}, which is not measured here")
        delimiter = task.config.target_delimiter or ""
        if task.OUTPUT_TYPE == "loglikelihood" or task.multiple_input:
            return 0, [f"{delimiter}{task.doc_to_target(doc)}"]
        return 0, [f"{delimiter}{choice}" for choice in task.doc_to_choice(doc)]
