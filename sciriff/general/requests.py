"""Write the prompts of the general tasks for the stage that answers: `python -m sciriff.general.requests RUN`."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sciriff.config import Config
from sciriff.general.asked import Asked, Asking
from sciriff.general.datasets_at_hand import reading
from sciriff.general.loaded_tasks import LoadedTask, chosen_documents, load_tasks, quiet
from sciriff.general.prompts import SERVER, Prompter
from sciriff.models.api.limits import SERVERS_MARKUP
from sciriff.models.identity import context_of
from sciriff.models.loading import load_config, load_tokenizer
from sciriff.run.json_lines import write_jsonl
from sciriff.run.messages import show
from sciriff.run.progress import Progress
from sciriff.run.run_dir import RunDir
from sciriff.stage import run_stage


def main(config: Config, run: RunDir) -> None:
    """Build all prompts and write them to general/requests.jsonl, those that fit the model."""
    with asking(config) as (builder, tasks):
        requests = []
        for loaded in tasks:
            asked = [one for found in build(config, builder, loaded).values() for one in found]
            requests += [one.request for one in asked if one.request is not None]
            say_shortened(loaded.name, asked)
    run.general.mkdir(exist_ok=True)
    write_jsonl(run.general_requests, requests)
    show(f"{len(requests)} prompts of {len(tasks)} general tasks")


@contextmanager
def asking(config: Config) -> Iterator[tuple[Asking, list[LoadedTask]]]:
    """The general tasks of a run, ready to make prompts for its model; general.data is read as long as this is open."""
    quiet()
    model, general = config.answering_model, config.general
    if config.engine.asks:
        tokenizer = None if model.api else load_tokenizer(model)
        prompter = Prompter(SERVER, tokenizer, model.context - config.thinking_tokens - SERVERS_MARKUP, general.turns)
    else:
        own = load_config(model) if model.path is not None else None
        prompter = Prompter(
            model.chat, load_tokenizer(model), context_of(model, own), general.turns, model.chat_settings
        )
    # a server is asked for letters, too, and may think before it names one
    builder = Asking(general, prompter, 0 if config.engine.asks else config.thinking_tokens)
    with reading(general, config.cache_dir):
        tasks = load_tasks(general)
        for loaded in tasks:
            builder.prepare(loaded)
        yield builder, tasks


def build(config: Config, builder: Asking, loaded: LoadedTask) -> dict[str, list[Asked]]:
    """Leaf -> the prompts of its documents."""
    documents = chosen_documents(config.general, loaded)
    progress = Progress(sum(map(len, documents.values())))
    found: dict[str, list[Asked]] = {}
    for leaf, task in loaded.leaves.items():
        found[leaf] = builder.build(leaf, task, documents[leaf])
        progress(sum(len(documents[done]) for done in found), f"prompts of {loaded.name}")
    return found


def say_shortened(name: str, asked: list[Asked]) -> None:
    """Print how many prompts lost examples, and how many do not fit at all."""
    counts: Counter[Any] = Counter(one.left_out for one in asked if one.request is not None)
    shortened = sum(count for left_out, count in counts.items() if left_out)
    if shortened:
        examples = sum(left_out * count for left_out, count in counts.items())
        show(f"{name}: {shortened} of {len(asked)} prompts were too long and lost {examples} examples")
    if skipped := sum(one.request is None for one in asked):
        show(f"{name}: {skipped} of {len(asked)} prompts do not fit even without examples")


if __name__ == "__main__":
    run_stage(main)
