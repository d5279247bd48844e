"""Run as a rank of the training stage: probe its checkpoints after a step, then with DeepSpeed's insides moved."""

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from sciriff.config import load
from sciriff.finetune import zero_state
from sciriff.finetune.loop import Trainer
from sciriff.finetune.workers import Workers
from sciriff.run.run_dir import RunDir

run = RunDir(Path(sys.argv[1]))
config = load(run.config)
workers = Workers(config)
trainer = Trainer(config, run, workers)
engine = trainer.backend._wrapped
zero = engine.optimizer


def everything() -> str:
    """Digest of all that this rank holds: weights, master weights, moments, and the number of steps."""
    digest = hashlib.sha256()
    held = [getattr(weight, "ds_tensor", weight) for weight in engine.module.parameters()]
    for flat in zero_state.masters(engine):
        held += [flat, *(value for _, value in sorted(zero.optimizer.state[flat].items()))]
    for value in held:
        tensor = torch.as_tensor(value).detach().float()
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def moved() -> Any:
    """Exchange where two weights of different values are said to be, as another version might."""
    named = dict(engine.module.named_parameters())
    first, second = [weight for name, weight in named.items() if name.endswith(("q_proj.weight", "o_proj.weight"))][:2]
    if config.deepspeed.zero_stage == 3:
        places = zero.grad_position
        one, other = zero.get_param_id(first), zero.get_param_id(second)
        places[one], places[other] = places[other], places[one]
    else:
        first._hp_mapping, second._hp_mapping = second._hp_mapping, first._hp_mapping


trainer.optimizer_step(0)
before, started = everything(), time.monotonic()
trainer.backend.probe()
seconds, after = time.monotonic() - started, everything()
trainer.optimizer_step(1)
moved()
try:
    trainer.backend.probe()
    said = ""
except ValueError as error:
    said = str(error)
found = workers.gather([[before == after, round(seconds, 3), said]])
if workers.rank == 0:
    print("RESULT", json.dumps(found), flush=True)
workers.leave()
