"""Check before a run starts what its models' thoughts need: their budget, and how they are marked."""

import subprocess
import sys
from collections.abc import Iterator

from sciriff.config import Config
from sciriff.models.api.limits import SERVERS_MARKUP
from sciriff.models.thought_marks import NAMED, NONE
from sciriff.predict.room import room_for_prompt
from sciriff.run.nearest import nearest
from sciriff.run.user_error import UserError
from sciriff.run.visible import shortened, visible_line

PATIENCE = 120
"""Seconds to wait for vLLM's list of parsers."""
LIST = """
from vllm.reasoning import ReasoningParserManager as parsers
print("parsers:", *parsers.list_registered())
"""
LONGEST = 64
"""Characters of a name that are shown."""


def no_room(config: Config) -> Iterator[str]:
    """Limits of thought and answer that leave no room for a prompt, by the config alone; the stage knows the model's
    own context, too, which may be smaller."""
    model, wanted = config.answering_model, config.eval
    if "predict" not in config.active_stages or (model.api is None and model.shape is None):
        return
    context = model.context - (SERVERS_MARKUP if config.engine.asks else 0)
    tasks = wanted.tasks or [task.name for task in wanted.held_out]
    try:
        room_for_prompt(context, max(map(wanted.longest_answer, tasks), default=1), config.thinking_tokens)
    except UserError as error:
        yield str(error)


def unknown_parser(config: Config) -> Iterator[str]:
    """A model.thinking that is known neither here nor to the vLLM of the stage's interpreter."""
    name = config.answering_model.thinking
    if "predict" not in config.active_stages or name is None or name in (NONE, *NAMED):
        return
    shown = f"model.thinking={shortened(visible_line(name), LONGEST)}"
    known = f"known without vLLM: {NONE}, {', '.join(NAMED)}"
    python = config.engine.python or sys.executable
    try:
        result = subprocess.run([python, "-c", LIST], capture_output=True, text=True, timeout=PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return  # the stage says what is wrong
    found = next((line for line in result.stdout.splitlines() if line.startswith("parsers: ")), "")
    parsers = found.split()[1:]
    if not parsers:
        yield f"{shown} may be a reasoning parser of vLLM, which is not installed; {known}"
    elif name not in parsers:
        yield f"{shown}: vLLM has no such reasoning parser{nearest(name, [*parsers, *NAMED])}"
