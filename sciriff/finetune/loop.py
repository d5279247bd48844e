"""The training loop: data order, optimizer steps, metrics, checkpoints, and the model at the end."""

import math
import time
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from sciriff.config import Config
from sciriff.data.token_file import NAME as TOKEN_FILE
from sciriff.data.token_file import TokenFile
from sciriff.data.training_metrics import StepMetrics, ValidationMetrics
from sciriff.finetune import (
    activation_checkpointing,
    disk,
    finished_model,
    metrics,
    packing_check,
    schedule,
    throughput,
)
from sciriff.finetune.backends import Backend, backend
from sciriff.finetune.checkpoint import Checkpoints, settings
from sciriff.finetune.model import SummedLoss, build
from sciriff.finetune.packing import Plan, balance, collate, efficiency, pack
from sciriff.finetune.spikes import is_spike
from sciriff.finetune.validation import HALVES, Validation
from sciriff.finetune.workers import Workers
from sciriff.run.progress import Progress
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError


def finetune(config: Config, run: RunDir) -> None:
    """Train on RUN/mix/tokens and write RUN/model, from the newest checkpoint if there is one.

    Ends early, with a checkpoint and without a model, when RUN/.stop appears.
    """
    workers = Workers(config)
    workers.see(run.tokens / TOKEN_FILE, run.validation_tokens / TOKEN_FILE)
    workers.agree_on(run.stop_request)  # else one of the start before would be heard
    if workers.of_first(finished_model.is_complete(run.model)):
        workers.say(f"{run.model} is already there; nothing to train")
        checkpoints = Checkpoints(run, workers, settings(config, run))
    else:
        trainer = Trainer(config, run, workers)
        if not trainer.train(trainer.resume()):
            return workers.part()
        trainer.write_model()
        checkpoints = trainer.checkpoints
    if config.train.keep_checkpoints:
        checkpoints.keep_only_newest()
    else:
        checkpoints.remove()
    return workers.part()


class Trainer:
    """The model, its data and its optimizer; `optimizer_step` is one step."""

    def __init__(self, config: Config, run: RunDir, workers: Workers) -> None:
        self.config = config
        self.run = run
        self.workers = workers
        self.checkpoints = Checkpoints(run, workers, settings(config, run))
        self.validation = Validation(config, run, workers)
        self.data = TokenFile(run.tokens)
        self.rows = usable_rows(self.data, config, workers)
        self.steps = schedule.total_steps(
            len(self.rows), config.train.global_batch_size, config.train.epochs, config.train.max_steps
        )
        self.model: SummedLoss = build(config, workers.device)
        text = self.model.language_model.config.get_text_config()
        check_context(self.data, self.rows, getattr(text, "max_position_embeddings", None), config)
        self.vocabulary: int = text.vocab_size
        self.layers: int = text.num_hidden_layers
        self.attention_width = throughput.attention_width(text)
        self.parameters = throughput.matrix_parameters(self.model.language_model)
        self.peak = throughput.peak_flops(workers.device, config.train.precision)
        self.losses: list[float] = []
        """Of the steps done so far; whole on rank 0 only."""
        on_gpu = workers.device.type == "cuda"
        recomputed = activation_checkpointing.enable(self.model.language_model, config.train, on_gpu)
        self.backend: Backend = backend(config, self.model, workers)
        packing_check.check(self.model, self.backend, config.train.precision, self.vocabulary, workers)
        if config.train.activation_checkpointing == "auto" and on_gpu:
            longest = int(self.data.lengths[self.rows].max())
            recomputed = activation_checkpointing.fewest_that_fit(
                self.model, self.backend, config.train.micro_batch_tokens, longest, self.vocabulary, workers
            )
        workers.say(
            f"{self.steps} steps of {config.train.global_batch_size} of {len(self.rows)} rows; {workers.count} "
            f"{workers.device.type} process{'es' if workers.count > 1 else ''}, {config.train.precision}, attention "
            f"{self.model.attention_name}, cross entropy {self.model.cross_entropy}, {recomputed} of {self.layers} "
            "layers' activations computed again, "
            + (f"DeepSpeed ZeRO-{config.deepspeed.zero_stage}" if config.deepspeed.zero_stage else "no DeepSpeed")
        )
        workers.say(self.validation.describe())

    def resume(self) -> int:
        """Go back to the newest checkpoint, with metrics.jsonl. Returns the optimizer steps that are done."""
        done = 0
        if checkpoint := self.checkpoints.newest():
            self.backend.load(checkpoint.folder)
            done = checkpoint.step
            self.workers.say(f"going on from {checkpoint.folder}")
        measured: list[tuple[int, dict[str, float | None]]] = []
        if self.workers.rank == 0:
            metrics.cut(self.run.metrics, done)
            self.losses = metrics.losses(self.run.metrics)
            measured = metrics.validations(self.run.metrics)
        for step, losses in self.workers.gather(measured):
            if self.validation.note(step, losses):
                self.checkpoints.keep_still(step)
        return done

    def train(self, done: int) -> bool:
        """Do the steps after the first `done`. False where the driver asked to stop: a checkpoint was written."""
        every = self.config.train.checkpoint_every
        progress = Progress(self.steps)
        for step in range(done, self.steps):
            if not self.validate(step):
                return self.stopped(step)
            row, asked_to_stop = self.optimizer_step(step)
            if self.workers.rank == 0:
                metrics.append(self.run.metrics, row)
                progress(row.step, metrics.line(row))
                if row.spike:
                    print(f"step {row.step}: loss spike, {row.loss:.4f}", flush=True)
            at_end = row.step == self.steps
            if asked_to_stop and not at_end:
                return self.stopped(row.step)
            due = every is not None and (at_end or row.step % every == 0)
            if due or (at_end and self.config.train.keep_checkpoints):
                # Before it is measured, so that whatever comes meanwhile costs no step.
                self.checkpoints.save(row.step, self.backend.save)
        return self.validate(self.steps) or self.stopped(self.steps)

    def stopped(self, step: int) -> bool:
        """Write the checkpoint after `step` steps, say so, and return False."""
        if step:
            self.checkpoints.save(step, self.backend.save)
            self.workers.say(f"stopped as asked after step {step}; its checkpoint is in {self.run.checkpoints}")
        else:
            self.workers.say("stopped as asked before the first step")
        return False

    def validate(self, step: int) -> bool:
        """Measure the loss on the validation rows if that is due after `step` steps. False where the driver asked to
        stop meanwhile."""
        if not self.validation.due(step, self.steps):
            return True
        started = self.now()
        losses = self.validation.losses(self.backend, self.costs, self.vocabulary)
        if losses is None:
            return False
        if self.workers.rank == 0:
            science, general = (losses.get(half) for half in HALVES)
            row = ValidationMetrics(step, self.steps, science, general, round(self.now() - started, 4))
            metrics.append(self.run.metrics, row)
            print(metrics.validation_line(row), flush=True)
        if self.validation.note(step, losses):
            self.checkpoints.keep_best(step, self.backend.save)
        return True

    def write_model(self) -> None:
        """Write RUN/model: the last model, or the best one that can be read back."""
        step = self.take_best() if self.config.train.keep == "best" else self.steps
        with disk.writing(self.run.model, "Make room and start again: the checkpoints are still there"):
            finished_model.write(self.config, self.run, self.model.language_model, self.backend, self.workers, step)
        self.workers.say(f"the model is in {self.run.model}")

    def take_best(self) -> int:
        """Go back to the model with the best validation loss, or the next best where its checkpoint is damaged. Returns
        the optimizer steps that it had."""
        for step in self.validation.best_first():
            found = None if step == self.steps else self.checkpoints.whole(step)
            if found is not None:
                self.backend.load(found.folder)
            if found is not None or step == self.steps:
                loss = self.validation.measured[step]
                self.workers.say(f"best {self.validation.chooses_by} validation loss: {loss:.4f}, after step {step}")
                return step
            self.workers.say(f"the checkpoint of step {step}, the best one, is damaged or gone; the next best is taken")
        raise AssertionError("the last step was measured")

    def costs(self, lengths: list[int]) -> list[float]:
        """Operations of a training pass over sequences of these lengths."""
        return [throughput.sequence_flops(self.parameters, n, self.layers, self.attention_width) for n in lengths]

    def optimizer_step(self, step: int) -> tuple[StepMetrics, bool]:
        """Do optimizer step `step` (from 0). Returns its metrics and whether any process was asked to stop."""
        train, workers = self.config.train, self.workers
        clock = [self.now()]
        torch.manual_seed(schedule.step_seed(self.config.seed, step, workers.rank))
        rows = self.rows[schedule.step_rows(step, len(self.rows), train.global_batch_size, self.config.seed)]
        lengths: list[int] = self.data.lengths[rows].tolist()
        costs = self.costs(lengths)
        plan = pack(lengths, costs, workers.count, train.micro_batch_tokens)
        batches = [collate(self.data, rows[piece].tolist(), self.vocabulary) for piece in plan[workers.rank]]

        # One sum over all processes and micro-batches, before the first of them: what the loss is divided by.
        count = sum(int(batch.targets.sum()) for batch in batches)
        targets, stops = workers.total([count, self.run.stop_request.exists()])
        if not targets:
            raise UserError(f"step {step + 1} has no target token: rows {self.name_rows(rows)}")
        clock.append(self.now())

        # Gradients are averaged over processes, so each is scaled up by their number.
        scale = workers.count / targets
        losses = [self.backend.accumulate(b, scale, last=n == len(batches)) for n, b in enumerate(batches, 1)]
        loss = self.total_loss(losses, plan, rows, step) / targets
        clock.append(self.now())

        learning_rate = schedule.learning_rate(
            step, self.steps, train.learning_rate, train.warmup_ratio, train.schedule
        )
        grad_norm = self.backend.update(learning_rate)
        if not math.isfinite(grad_norm):
            raise UserError(f"the gradient of step {step + 1} is not finite ({grad_norm}): {self.name_rows(rows)}")
        clock.append(self.now())

        seconds = clock[-1] - clock[0]
        parts = [round(end - start, 4) for start, end in pairwise(clock)]
        per_epoch = schedule.steps_per_epoch(len(self.rows), train.global_batch_size)
        row = StepMetrics(
            step=step + 1,
            steps=self.steps,
            epoch=round((step + 1) / per_epoch, 4),
            loss=loss,
            lr=learning_rate,
            grad_norm=grad_norm,
            tokens=sum(lengths),
            target_tokens=int(targets),
            packing_efficiency=round(efficiency(plan, lengths, train.micro_batch_tokens), 4),
            balance=round(balance(plan, costs), 4),
            tokens_per_second=round(targets / seconds, 1),
            total_tokens_per_second=round(sum(lengths) / seconds, 1),
            seconds=round(seconds, 4),
            seconds_data=parts[0],
            seconds_compute=parts[1],
            seconds_optimizer=parts[2],
            mfu=round(sum(costs) / seconds / (self.peak * workers.count), 4) if self.peak else None,
            memory=throughput.peak_memory(workers.device),
            spike=is_spike(loss, self.losses),
        )
        self.losses.append(loss)
        return row, stops > 0

    def now(self) -> float:
        """Seconds of a clock, once what the GPU was given is done."""
        if self.workers.device.type == "cuda":
            torch.cuda.synchronize(self.workers.device)
        return time.perf_counter()

    def total_loss(self, losses: list[torch.Tensor], plan: Plan, rows: np.ndarray, step: int) -> float:
        """The sum of all processes' losses. UserError names the rows of a micro-batch whose loss is not finite."""
        mine = torch.stack(losses).double().tolist()
        slots = [0.0] * (len(plan) * len(mine))
        slots[self.workers.rank * len(mine) : (self.workers.rank + 1) * len(mine)] = mine
        everyone = self.workers.total(slots)
        broken = [slot for slot, loss in enumerate(everyone) if not math.isfinite(loss)]
        if broken:
            culprits = [row for slot in broken for row in rows[plan[slot // len(mine)][slot % len(mine)]]]
            raise UserError(
                f"the loss of step {step + 1} is not finite: {self.name_rows(culprits)}; "
                "look at these rows, or lower train.learning_rate"
            )
        return math.fsum(everyone)

    def name_rows(self, rows: Sequence[int] | np.ndarray, most: int = 8) -> str:
        ids = [self.data.ids[row] for row in rows]
        return ", ".join(ids[:most]) + (f" and {len(ids) - most} more" if len(ids) > most else "")


def usable_rows(data: TokenFile, config: Config, workers: Workers) -> np.ndarray:
    """Indices of the rows to train on: not too long, with something to learn. What is left out is said."""
    train = config.train
    too_long = data.lengths > train.max_length
    nothing_to_learn = (data.target_counts == 0) & ~too_long
    rows = np.flatnonzero(~too_long & ~nothing_to_learn)
    if too_long.any():
        workers.say(f"{too_long.sum()} of {len(data)} rows left out: longer than train.max_length={train.max_length}")
    if nothing_to_learn.any():
        workers.say(f"{nothing_to_learn.sum()} of {len(data)} rows left out: no target token")
    if not len(rows):
        raise UserError(
            f"none of the mix's {len(data)} rows can be trained on: see what the mix stage kept in mix/card.json, and "
            f"train.max_length={train.max_length}"
        )
    if train.global_batch_size > len(rows):
        workers.say(
            f"warning: train.global_batch_size={train.global_batch_size} is more than the {len(rows)} rows: "
            "an epoch is one step of them all"
        )
    return rows


def check_context(data: TokenFile, rows: np.ndarray, context: int | None, config: Config) -> None:
    """UserError where a row is longer than the model was made for; `context` is None where a model has no limit."""
    longest = int(data.lengths[rows].max())
    if context is not None and longest > context:
        raise UserError(
            f"row {data.ids[rows[data.lengths[rows].argmax()]]} has {longest} tokens, and {config.model.name} was made "
            f"for {context}; set train.max_length={context}"
        )
