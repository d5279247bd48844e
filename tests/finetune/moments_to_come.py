"""Run as a rank of the training stage: print what `memory_to_come` predicts, and the bytes that a step adds."""

import json
import sys
from pathlib import Path

import torch

from sciriff.config import load
from sciriff.finetune.loop import Trainer
from sciriff.finetune.workers import Workers
from sciriff.run.run_dir import RunDir

run = RunDir(Path(sys.argv[1]))
config = load(run.config)
workers = Workers(config)
trainer = Trainer(config, run, workers)
optimizer = trainer.backend._wrapped.optimizer.optimizer
before = [sum(map(len, optimizer.state.values())), trainer.backend.memory_to_come()]
trainer.optimizer_step(0)
came = [
    value.numel() * value.element_size()
    for state in optimizer.state.values()
    for name, value in state.items()
    if torch.is_tensor(value) and name != "step"
]
print("RESULT", json.dumps([*before, sum(came)]), flush=True)
