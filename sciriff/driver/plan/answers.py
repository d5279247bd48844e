"""Number of answers that a run asks for and their price at a server, from the known sizes of SciRIFF's tasks."""

import math
from dataclasses import dataclass

from sciriff.config import Config
from sciriff.models.api.prices import Price
from sciriff.models.api.service import Service
from sciriff.tasks.catalogue import catalogue
from sciriff.tasks.own import names_of


@dataclass(frozen=True)
class Workload:
    """Answers on the validation split, and their tokens; every sample counts."""

    answers: int
    prompt_tokens: float
    answer_tokens: float
    """Tokens of as many reference answers."""

    def usd(self, price: Price) -> float:
        """US dollars for these answers."""
        return price.of(round(self.prompt_tokens), round(self.answer_tokens))


def workload(config: Config) -> Workload | None:
    """Return the workload of the predict stage; None if the instances must be read first."""
    source, chosen = config.eval.source, config.eval
    if chosen.path is not None or source.hub != "allenai/SciRIFF" or chosen.split != "validation":
        return None
    entries = [catalogue()[name] for name in (chosen.tasks or names_of(chosen.held_out)) if name in catalogue()]
    limit = math.inf if chosen.limit is None else chosen.limit
    counts = [int(min(limit, entry.validation)) * chosen.samples for entry in entries]
    prompts = sum(n * entry.mean_input_tokens for n, entry in zip(counts, entries, strict=True))
    references = sum(n * entry.mean_output_tokens for n, entry in zip(counts, entries, strict=True))
    return Workload(sum(counts), prompts, references)


def price(config: Config) -> Price | None:
    """Price of a token of this engine; None if it or the number of thinking tokens is unknown."""
    engine, model = config.engine, config.answering_model
    api = model.api
    name = engine.model or (api.name if api else model.path)
    if not engine.asks or name is None or config.thinking_tokens:
        return None
    return Service("engine", engine.name, name, engine).price()
