"""Number of answers that a run asks for and their price at a server, from the known sizes of SciRIFF's tasks."""

from dataclasses import dataclass

from sciriff.config import Config
from sciriff.models.api.service import Service
from sciriff.tasks import NAMES
from sciriff.tasks.catalogue import catalogue


@dataclass(frozen=True)
class Workload:
    """Answers on the validation split, and their tokens; every sample counts."""

    answers: int
    prompt_tokens: float
    answer_tokens: float
    """Tokens of as many reference answers."""


def workload(config: Config) -> Workload | None:
    """Return the workload of the predict stage; None if the instances must be read first."""
    source, chosen = config.eval.source, config.eval
    if chosen.path is not None or source.hub != "allenai/SciRIFF" or chosen.split != "validation":
        return None
    entries = [catalogue()[name] for name in (chosen.tasks or NAMES) if name in catalogue()]
    counts = [entry.validation if chosen.limit is None else min(chosen.limit, entry.validation) for entry in entries]
    each = [count * chosen.samples for count in counts]
    return Workload(
        answers=sum(each),
        prompt_tokens=sum(n * entry.mean_input_tokens for n, entry in zip(each, entries, strict=True)),
        answer_tokens=sum(n * entry.mean_output_tokens for n, entry in zip(each, entries, strict=True)),
    )


def usd(config: Config, workload: Workload) -> float | None:
    """Price of the workload in US dollars; None if the price or the number of thinking tokens is unknown."""
    engine, model = config.engine, config.answering_model
    api = model.api
    name = engine.model or (api.name if api else model.path)
    if not engine.asks or name is None or (api is not None and api.thinking_tokens):
        return None
    price = Service("engine", engine.name, name, engine, "", "").price()
    return None if price is None else price.of(round(workload.prompt_tokens), round(workload.answer_tokens))
