"""Measure whether training teaches science: losses of a run's model before and after training on unseen rows.

python benchmarks/learning.py RUN [--rows 60]

RUN is a run folder with a finished train stage. The rows are those of its mix/validation_tokens (see
mix.validation_rows) and instances of the held-out tasks from its eval.path or eval.source, in equal shares; none is
longer than train.max_length. Losses are means over all target tokens, in nats, with the trainer's own packing and loss.
"""

import argparse
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from sciriff import config as configuration
from sciriff.config import Config
from sciriff.data.instances import read_instances
from sciriff.data.token_file import TokenFile
from sciriff.finetune.backends import backend
from sciriff.finetune.model import build
from sciriff.finetune.packing import concatenate, pack
from sciriff.finetune.workers import Workers
from sciriff.models.chat_markup import Markup
from sciriff.models.loading import load_tokenizer
from sciriff.run.json_lines import Message
from sciriff.run.run_dir import RunDir

Row = tuple[np.ndarray, np.ndarray]


def validation_rows(run: RunDir) -> list[Row]:
    """Validation rows of the mix."""
    if not run.validation_tokens.exists():
        return []
    data = TokenFile(run.validation_tokens)
    return [data[number] for number in range(len(data))]


def held_out_rows(config: Config) -> Iterator[Row]:
    """Instances of the held-out tasks as training rows, the tasks in turn."""
    markup = Markup(config.model.chat, load_tokenizer(config.model))
    tasks = [random.Random(0).sample(instances, len(instances)) for instances in read_instances(config.eval).values()]
    for place in range(max(map(len, tasks))):
        for instances in tasks:
            if place < len(instances):
                one = instances[place]
                rendered = markup.render([Message("user", one.prompt), Message("assistant", one.reference)])
                row = markup.row(rendered, markup.encode([rendered])[0])
                yield row.ids, row.targets


def mean_loss(config: Config, rows: list[Row], workers: Workers) -> float:
    """Mean loss in nats per target token."""
    trainer = backend(config, build(config, workers.device), workers)
    lengths = [len(ids) for ids, _ in rows]
    (pieces,) = pack(lengths, lengths, 1, config.train.micro_batch_tokens)
    batches = [concatenate([rows[number] for number in piece]) for piece in pieces]
    return sum(float(trainer.evaluate(batch)) for batch in batches) / sum(int(batch.targets.sum()) for batch in batches)


def main() -> None:
    """Print the losses before and after."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--rows", type=int, default=60, help="most rows of each kind")
    parser.add_argument("--only", choices=("before", "after"), nargs="+", default=("before", "after"))
    arguments = parser.parse_args()
    run = RunDir(arguments.run)
    config = configuration.load(run.config)
    kinds = {"the mix's validation rows": validation_rows(run), "held-out tasks": list(held_out_rows(config))}
    models = {
        "before": config.model,
        "after": replace(config.model, path=str(run.model), tokenizer=None, revision=None),
    }
    workers = Workers(config)
    for kind, rows in kinds.items():
        fitting = [row for row in rows if len(row[0]) <= config.train.max_length and row[1][1:].any()][: arguments.rows]
        if fitting:
            targets = sum(int(marks[1:].sum()) for _, marks in fitting)
            print(f"{kind}: {len(fitting)} rows, {targets} target tokens", flush=True)
            for name in arguments.only:
                loss = mean_loss(replace(config, model=models[name]), fitting, workers)
                print(f"    {name:8}{loss:.4f}", flush=True)


if __name__ == "__main__":
    main()
