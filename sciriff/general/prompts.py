"""Prompts of the general tasks: lm-eval's conversations with the markup of the model, shortened by whole examples.

lm-eval passes prompts around as text. Here it gets a name for each prompt (`Prompter.name`), and what it asks about
that name is answered with token ids: those of chat_markup, not those of a text that would be tokenised again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from sciriff.config import ChatSettings
from sciriff.models.api.limits import estimated_tokens
from sciriff.models.chat_markup import PLAIN, Markup
from sciriff.run.json_lines import Message
from sciriff.run.user_error import UserError

FEW_SHOT_TEXT = "general"
"""Markup of base models, which get lm-eval's few-shot text as it is."""
SERVER = "server"
NAME = "\0prompt {}\0"
"""No text of a task holds it, so a task that changes prompts after they are made is noticed."""
MARKUP = 32
"""Most tokens that markup adds to a message."""


@dataclass(frozen=True)
class Prompt:
    """A prompt of lm-eval: a conversation, or the plain text of a base model as its only message."""

    messages: tuple[Message, ...]
    begun: str = ""
    """What the assistant's answer begins with."""
    left_out: int = 0
    """Examples that were left out, so that it fits."""
    fits: bool = True


@dataclass(frozen=True)
class Encoded:
    """Token ids of a prompt, and of the continuations that are compared."""

    prompt: list[int]
    continuations: list[list[int]]


class Prompter:
    """Names and encodes prompts for one model. `context` is the most tokens of a prompt with its answer."""

    def __init__(self, chat: str, tokenizer: Any, context: int, turns: bool, settings: ChatSettings = PLAIN) -> None:
        self.chat = chat
        self.turns = turns
        self.context = context
        self._tokenizer = tokenizer
        self._markup = Markup(chat, tokenizer, settings) if chat != SERVER else None
        self._prompts: dict[str, Prompt] = {}
        self._answers: dict[str, list[int]] = {}

    @property
    def plain(self) -> bool:
        return self.chat == FEW_SHOT_TEXT

    def name(self, prompt: Prompt) -> str:
        """Keep a prompt and return the name that lm-eval gets for its text."""
        name = NAME.format(len(self._prompts))
        self._prompts[name] = prompt
        return name

    def named(self, name: str, task: str) -> Prompt:
        """The prompt of a name; that of an empty context has no message. UserError where a task has changed it."""
        if not name:
            return Prompt(())
        if name not in self._prompts:
            raise UserError(f"general.tasks: {task} changes its prompts after lm-eval has made them; leave it out")
        return self._prompts[name]

    def template(self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = True) -> str:
        """lm-eval's hook for chat templates: a last message of the assistant is what its answer begins with."""
        turns = [Message(message["role"], message["content"]) for message in messages]
        begun = turns.pop().content if turns[-1].role == "assistant" else ""
        if len(turns) > 1 and turns[0].role == "system" and turns[1].role == "user" and not self._takes_system:
            system, first, *rest = turns
            turns = [Message("user", f"{system.content.rstrip()}\n\n{first.content}"), *rest]
        return self.name(Prompt(tuple(turns), begun))

    @cached_property
    def _takes_system(self) -> bool:
        """Whether the markup takes a system message, which some templates of tokenizers (Gemma 2) refuse; the first
        message of the user says the same there. A server's markup is not known."""
        if self._markup is None:
            return True
        try:
            self._markup.render([Message("system", "x"), Message("user", "x")], to_answer=True)
        except UserError:
            return False
        return True

    def encode(self, prompt: Prompt, continuations: Sequence[str] = ()) -> Encoded:
        """Encode a prompt, and continuations as they would stand in an answer to it."""
        if self._markup is None:
            return Encoded([], [])
        if self.plain or not prompt.messages:
            return self._encode_plain("".join(message.content for message in prompt.messages), continuations)
        begun = self._answer_ids(prompt.begun) if prompt.begun else []
        whole = [self._answer_ids(prompt.begun + text) for text in continuations]
        [ids] = self._markup.prompt_ids(prompt.messages)
        if begun or whole:  # an empty thought that the template writes before an answer comes first
            ids += self._markup.before_answer
        return Encoded([*ids, *begun], [ids[len(begun) :] for ids in whole])

    def _encode_plain(self, text: str, continuations: Sequence[str]) -> Encoded:
        """Encode text and continuation together and cut where the text ends, as lm-eval does; white space at the end of
        the text belongs to the continuation, where tokenizers have it."""
        assert self._markup is not None
        bare = text.rstrip() if continuations else text
        texts = [bare, *(text + more for more in continuations)]
        prompt, *whole = self._markup.prompt_ids(*([Message("user", one)] for one in texts))
        prompt = prompt or self._beginning()
        parts = zip(whole, continuations, strict=True)
        # where a tokenizer has merged a continuation into the last token of the text
        return Encoded(prompt, [ids[len(prompt) :] or self._answer_ids(text) for ids, text in parts])

    def _answer_ids(self, text: str) -> list[int]:
        assert self._markup is not None
        if text not in self._answers:  # four letters, for most tasks
            self._answers[text] = self._markup.answer_ids(text)
        return self._answers[text]

    def _beginning(self) -> list[int]:
        """What stands before a text: BOS, or EOS for tokenizers without, since a model needs a token to begin with."""
        ids = (self._tokenizer.bos_token_id, self._tokenizer.eos_token_id)
        if (first := next((one for one in ids if one is not None), None)) is None:
            raise UserError(
                "general.tasks: a task compares texts without a question, and the tokenizer has no BOS or EOS"
            )
        return [first]

    def tokens(self, prompt: Prompt, continuations: Sequence[str], enough: int) -> int:
        """Tokens of a prompt and its longest continuation, or their bytes if these are at most `enough` already. For a
        server, whose markup is not known, those of the texts."""
        if self._markup is None:
            return sum(self._size(message.content) for message in prompt.messages)
        most = sum(len(m.content.encode()) + MARKUP for m in prompt.messages) + len(prompt.begun.encode())
        most += max((len(text.encode()) for text in continuations), default=0)
        if most <= enough:
            return most
        encoded = self.encode(prompt, continuations)
        return len(encoded.prompt) + max(map(len, encoded.continuations), default=0)

    def _size(self, text: str) -> int:
        """Tokens of a text for a server, or an estimate where only the provider has the tokenizer."""
        if self._tokenizer is None:
            return estimated_tokens(text)
        return len(self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def shortening(self, task: Any, room: Callable[[Any], tuple[int, Sequence[str]]]) -> Callable[..., Any]:
        """Return the task's `fewshot_context` with names for prompts, and with fewer examples where one does not fit.

        `room(doc)` is (most tokens of an answer, continuations that are compared). The examples that are drawn for the
        documents after it do not depend on whether a prompt was shortened.
        """
        original = task.fewshot_context
        random = getattr(getattr(task, "sampler", None), "rnd", None)

        def made(doc: Any, shots: int, options: dict[str, Any]) -> list[str]:
            found = original(doc, num_fewshot=shots, **options)
            texts = found if isinstance(found, list) else [found]
            return [self.name(Prompt((Message("user", text),))) for text in texts] if self.plain else texts

        def fewshot_context(doc: Any, num_fewshot: int, **options: Any) -> Any:
            answer, continuations = room(doc)
            before = random.getstate() if random else None
            names = made(doc, num_fewshot, options)
            after = random.getstate() if random else None
            shots = num_fewshot
            while not (fits := self._fits(names, task, answer, continuations)) and shots > 0:
                shots -= 1
                if random:
                    random.setstate(before)
                names = made(doc, shots, options)
            if random:
                random.setstate(after)
            for name in names:
                shortened = replace(self._prompts[name], left_out=num_fewshot - shots, fits=fits)
                self._prompts[name] = shortened
            return names if task.multiple_input else names[0]

        return fewshot_context

    def _fits(self, names: Sequence[str], task: Any, answer: int, continuations: Sequence[str]) -> bool:
        prompts = [self.named(name, task.config.task) for name in names]
        room = self.context - answer
        return all(self.tokens(prompt, continuations, room) <= room for prompt in prompts)
