"""What begins and ends a thought, for each family of models: one table for training and for answers."""

from dataclasses import dataclass

NONE = "none"
"""Value of model.thinking for a model whose whole output is its answer."""


@dataclass(frozen=True)
class Marks:
    """What begins and ends a thought, as text."""

    start: str
    end: str
    label: str = ""
    """Text after `start` that is no part of the thought."""
    until: str = ""
    """Token with which the answer begins, if it is not the end mark itself."""
    message_ends: tuple[str, ...] = ()
    """Tokens that end an answer, and within a thought a message only."""
    also_end: tuple[str, ...] = ()
    """Tokens that end the whole output."""


THINK = Marks("<think>", "</think>")
CHANNELS = Marks(
    "<|channel|>",
    "<|channel|>final",
    until="<|message|>",
    message_ends=("<|end|>",),
    also_end=("<|return|>", "<|call|>"),
)
"""gpt-oss: messages in channels, of which `final` is the answer."""
GEMMA = Marks("<|channel>", "<channel|>", label="thought\n")
MISTRAL = Marks("[THINK]", "[/THINK]")
SEED = Marks("<seed:think>", "</seed:think>")
COHERE = Marks("<|START_THINKING|>", "<|END_THINKING|>", until="<|START_RESPONSE|>")
IN_VOCABULARY = (CHANNELS, GEMMA, MISTRAL, SEED, COHERE, THINK)
"""Marks that are looked for among the tokens of a vocabulary, in this order."""
NAMED = {
    **dict.fromkeys(("qwen3", "deepseek_r1", "olmo3", "nemotron_v3", "glm45", "glm47"), THINK),
    "openai_gptoss": CHANNELS,
    "gemma4": GEMMA,
    "mistral": MISTRAL,
    "seed_oss": SEED,
    "cohere_command3": COHERE,
}
"""Name of a reasoning parser of vLLM -> its marks."""
FIELDS = ("reasoning_content", "thinking", "reasoning")
"""Names that the thought of a message has: in templates and in rows."""
AROUND = tuple((marks.start + marks.label.strip(), marks.end) for marks in IN_VOCABULARY if marks is not CHANNELS)
"""(what stands before a thought, what after it), of marks that an empty thought may have."""


def after_thought(text: str) -> str:
    """The answer in a text whose thought nobody has told apart; empty if the thought does not end. A text without marks
    is the answer."""
    for start, end in AROUND:
        if text.lstrip().startswith(start) or (start not in text and end in text):
            return text.partition(end)[2]
    return text
