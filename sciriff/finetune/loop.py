"""The training loop: data order, optimizer steps, metrics, checkpoints and the finished model."""

import math
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

from sciriff.config import Config
from sciriff.data.token_file import NAME as TOKEN_FILE
from sciriff.data.token_file import TokenFile
from sciriff.data.training_metrics import HALVES, StepMetrics, TaskMetrics, ValidationMetrics
from sciriff.finetune import (
    activation_checkpointing,
    adapters,
    adapters_rehearsal,
    finished_model,
    metrics,
    packing_check,
    router_loss,
    save_rehearsal,
    schedule,
    text_model,
    throughput,
)
from sciriff.finetune.backends import Backend, backend
from sciriff.finetune.checkpoint import Checkpoints, settings
from sciriff.finetune.disk import writing
from sciriff.finetune.model import SummedLoss, build
from sciriff.finetune.packing import Plan, balance, collate, efficiency, pack
from sciriff.finetune.spikes import is_spike
from sciriff.finetune.task_scores import TaskScores
from sciriff.finetune.validation import Validation
from sciriff.finetune.workers import Workers
from sciriff.models import layer_kernels
from sciriff.run.messages import show
from sciriff.run.progress import Progress
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError


def finetune(config: Config, run: RunDir) -> None:
    """Train on RUN/mix/tokens from the newest checkpoint, and write RUN/model, or a checkpoint if RUN/.stop appears."""
    workers = Workers(config)
    workers.wait_for_files(run.tokens / TOKEN_FILE, run.validation_tokens / TOKEN_FILE, run.selection_prompts)
    workers.wait_until_agreed(run.stop_request)  # the driver has just removed that of an earlier start
    if workers.broadcast(finished_model.is_complete(run.model)):
        workers.log(f"{run.model} is already there; nothing to train")
    else:
        trainer = Trainer(config, run, workers)
        if not trainer.train(trainer.resume()):
            return workers.leave()
        trainer.write_model()
    Checkpoints(run, workers, settings={}).finish(keep_newest=config.train.keep_checkpoints)
    return workers.leave()


class Trainer:
    """The model, its data and its optimizer; `optimizer_step` does one step."""

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
        self.done = self.checkpoints.newest() or 0
        """Optimizer steps of the checkpoint that training resumes from; 0 without one."""
        resumed = self.checkpoints.folder(self.done) if self.done else None
        self.model: SummedLoss = build(config, workers.device, workers.log, resumed)
        if config.train.adapts:
            workers.log(adapters.describe(self.model.language_model, config.train))
            adapters_rehearsal.check(config, self.model.language_model, run, workers)
        text = self.model.language_model.config.get_text_config()
        longest_row = self.rows[self.data.lengths[self.rows].argmax()]
        longest = int(self.data.lengths[longest_row])
        context = getattr(text, "max_position_embeddings", None)
        if context is not None and longest > context:
            problem = f"row {self.data.ids[longest_row]} has {longest} tokens, and the context window of "
            raise UserError(f"{problem}{config.model.name} is {context}; set train.max_length={context}")
        self.vocabulary: int = text.vocab_size
        self.attention_layers = throughput.attention_layers(self.model.language_model)
        self.attention_width = throughput.attention_width(text)
        self.plan = save_rehearsal.rehearse(config.model, self.model.language_model, workers)
        with packing_check.own_forward(self.model):
            rehearsal = text_model.rehearse(self.model, self.vocabulary, workers, config.deepspeed.zero_stage == 3)
        if line := rehearsal.line():
            workers.log(line)
        self.parameters = throughput.matrix_parameters(self.model.language_model)
        self.peak = throughput.peak_flops(workers.device, config.train.precision)
        self.seconds = 0.0
        """Seconds of the steps since the last validation."""
        self.losses: list[float] = []
        """Losses of the steps done so far; complete on rank 0 only."""
        on_gpu = workers.device.type == "cuda"
        recomputed = activation_checkpointing.enable(self.model.language_model, config.train, on_gpu)
        layers = len(text_model.outermost_layers(self.model.language_model))
        refuse_uneven(config, rehearsal)
        self.backend: Backend = backend(config, self.model, workers, uneven=bool(rehearsal.by_chance))
        reason = packing_check.settle(self.model, self.backend, config.train, self.vocabulary, longest, workers)
        if reason is not None:
            workers.log(self.cost_of_single_rows(reason))
        if note := router_loss.describe(self.model.language_model, config.train):
            workers.log(note)
        if config.train.activation_checkpointing == "auto" and on_gpu:
            recomputed = activation_checkpointing.fewest_that_fit(
                self.model, self.backend, self.largest_micro_batch(longest), longest, self.vocabulary, workers
            )
        workers.log(
            f"{self.steps} steps of {config.train.global_batch_size} of {len(self.rows)} rows; {workers.count} "
            f"{workers.device.type} process{'es' if workers.count > 1 else ''}, {config.train.precision}, attention "
            f"{self.model.attention_name}, cross entropy {self.model.cross_entropy}, {recomputed} of {layers} "
            "layers' activations computed again, "
            + (f"DeepSpeed ZeRO-{config.deepspeed.zero_stage}" if config.deepspeed.zero_stage else "no DeepSpeed")
            + ("" if (ratio := config.train.lora_plus_ratio) is None else f", LoRA+ with ratio {ratio:g}")
            + ("" if (alpha := config.train.neftune_alpha) is None else f", NEFTune's noise with alpha {alpha:g}")
        )
        if on_gpu and (advice := layer_kernels.layer_advice(self.model.language_model.config.model_type)):
            workers.log(advice)
        workers.log(self.validation.describe())
        self.task_scores = TaskScores(config, run, workers, self.model) if config.train.answers else None
        if self.task_scores is not None:
            self.task_scores.rehearse(self.backend)

    def resume(self) -> int:
        """Load the newest checkpoint and cut metrics.jsonl back to it. Returns the number of optimizer steps done."""
        if done := self.done:
            self.backend.load(self.checkpoints.folder(done))
            self.workers.log(f"resuming from {self.checkpoints.folder(done)}")
        measured: list[tuple[int, metrics.Measured]] = []
        if self.workers.rank == 0:
            metrics.cut(self.run.metrics, done)
            self.losses, measured = metrics.losses(self.run.metrics)
        for step, found in self.workers.gather(measured):
            if self.validation.record(step, found):
                self.checkpoints.best = step
        return done

    def train(self, done: int) -> bool:
        """Do the steps after the first `done`. Returns False, after a checkpoint, if the driver asked to stop."""
        every = self.config.train.checkpoint_every
        progress = Progress(self.steps)
        for step in range(done, self.steps):
            if not self.validate(step):
                return self.stopped(step)
            row, stop_requested = self.optimizer_step(step)
            if step == done:
                self.backend.probe()
            if self.workers.rank == 0:
                metrics.append(self.run.metrics, row)
                progress(row.step, metrics.line(row))
                self.seconds += row.seconds
                if row.spike:
                    show(f"step {row.step}: loss spike, {row.loss:.4f}")
            at_end = row.step == self.steps
            if stop_requested and not at_end:
                return self.stopped(row.step)
            due = every is not None and (at_end or row.step % every == 0)
            if due or (at_end and self.config.train.keep_checkpoints):
                # Before the validation, so that a kill during it costs no step.
                self.checkpoints.save(row.step, self.save)
        return self.validate(self.steps) or self.stopped(self.steps)

    def stopped(self, step: int) -> bool:
        """Write the checkpoint of step `step`, report it, and return False."""
        if step:
            self.checkpoints.save(step, self.save)
            self.workers.log(f"stopped as asked after step {step}; its checkpoint is in {self.run.checkpoints}")
        else:
            self.workers.log("stopped as asked before the first step")
        return False

    def save(self, folder: Path) -> None:
        """Write what a checkpoint has into `folder`, on every rank."""
        self.backend.save(folder)
        if self.workers.rank == 0:
            adapters.save_first(self.model.language_model, folder)

    def validate(self, step: int) -> bool:
        """Measure the validation loss, and the tasks' scores, if that is due after `step` steps. Returns False if asked
        to stop meanwhile."""
        if not self.validation.due(step, self.steps):
            return True
        clock = [self.now()]
        measured = self.validation.losses(self.backend, self.spread, self.vocabulary)
        if measured is None:
            return False
        clock.append(self.now())
        tasks = None
        if self.task_scores is not None and step > 0:  # the untrained model is never the best
            columns = self.task_scores.measure(self.backend, step)
            if columns is None:
                return False
            tasks = TaskMetrics(fmean(columns.values()), columns, round(self.now() - clock[1], 4))
            measured[metrics.MEAN] = tasks.mean
        if self.workers.rank == 0:
            science, general = (measured.get(half) for half in HALVES)
            row = ValidationMetrics(step, self.steps, science, general, round(clock[1] - clock[0], 4), tasks)
            metrics.append(self.run.metrics, row)
            show(metrics.validation_line(row))
            if tasks is not None and tasks.seconds > self.seconds:
                show(
                    f"to answer the prompts took {tasks.seconds:.1f} s, and the steps before it {self.seconds:.1f}: a "
                    "larger train.eval_every, or fewer train.best_rows, would cost less"
                )
            self.seconds = 0.0
        if self.validation.record(step, measured):
            self.checkpoints.best = step
            self.checkpoints.save(step, self.save)
        return True

    def write_model(self) -> None:
        """Write RUN/model: the last model, or with train.keep=best the best one whose checkpoint is whole."""
        step = self.take_best() if self.config.train.keep == "best" else self.steps
        with writing(self.run.model, "Free some space and start again: the checkpoints are still there"):
            model = self.model.language_model
            finished_model.write(self.config, self.run, model, self.backend, self.workers, step, self.plan)
        self.workers.log(f"the model is in {self.run.model}")

    def take_best(self) -> int:
        """Load the best model (train.best_by) whose checkpoint is whole. Returns its step."""
        for step in self.validation.best_first():
            if step == self.steps or self.checkpoints.is_whole(step):
                if step < self.steps:
                    self.backend.load(self.checkpoints.folder(step))
                self.workers.log(self.validation.describe_best(step))
                return step
            self.workers.log(f"the checkpoint of step {step}, the best one, is damaged or gone; the next best is used")
        raise AssertionError("the last step was measured")

    def costs(self, lengths: list[int]) -> list[float]:
        """Return the FLOPs of a training pass over sequences of these lengths."""
        return [
            throughput.sequence_flops(self.parameters, n, self.attention_layers, self.attention_width) for n in lengths
        ]

    def spread(self, lengths: list[int]) -> Plan:
        """Return how sequences of these lengths are spread over the ranks and their micro-batches."""
        tokens, one_by_one = self.config.train.micro_batch_tokens, self.model.one_by_one
        return pack(lengths, self.costs(lengths), self.workers.count, tokens, one_by_one)

    def largest_micro_batch(self, longest: int) -> int:
        """Return the tokens of the largest micro-batch, if the longest row has so many."""
        return longest if self.model.one_by_one else self.config.train.micro_batch_tokens

    def cost_of_single_rows(self, reason: str) -> str:
        """Return a line for the log: why rows are not packed, and what that costs in the first step."""
        train = self.config.train
        rows = self.rows[schedule.step_rows(0, len(self.rows), train.global_batch_size, self.config.seed)]
        lengths: list[int] = self.data.lengths[rows].tolist()
        packed = pack(lengths, self.costs(lengths), self.workers.count, train.micro_batch_tokens)
        family = type(self.model.language_model).__name__
        return (
            f"{family}: rows are computed one by one, {reason}; the first step takes "
            f"{len(self.spread(lengths)[0])} forward passes a process instead of {len(packed[0])}"
        )

    def optimizer_step(self, step: int) -> tuple[StepMetrics, bool]:
        """Do optimizer step `step` (from 0). Returns its metrics and whether any rank saw a request to stop."""
        train, workers = self.config.train, self.workers
        clock = [self.now()]
        torch.manual_seed(schedule.step_seed(self.config.seed, step, workers.rank))
        if self.model.noise is not None:
            self.model.noise.step = step
        rows = self.rows[schedule.step_rows(step, len(self.rows), train.global_batch_size, self.config.seed)]
        lengths: list[int] = self.data.lengths[rows].tolist()
        costs = self.costs(lengths)
        plan = self.spread(lengths)
        batches = [collate(self.data, rows[piece].tolist(), self.vocabulary) for piece in plan[workers.rank]]

        # The loss is divided by the target tokens of all ranks, so they are counted first.
        count = sum(int(batch.targets.sum()) for batch in batches)
        targets, stops = workers.sum([count, self.run.stop_request.exists()])
        if not targets:
            raise UserError(f"step {step + 1} has no target token: rows {self.name_rows(rows)}")
        clock.append(self.now())

        scale = workers.count / targets  # the backend averages gradients over the ranks
        losses = [self.backend.accumulate(b, scale, last=n == len(batches)) for n, b in enumerate(batches, 1)]
        loss = self.total_loss(losses, plan, rows, step) / targets
        clock.append(self.now())

        rate = schedule.learning_rate(step, self.steps, train.learning_rate, train.warmup_ratio, train.schedule)
        grad_norm = self.backend.update(rate)
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
            lr=rate,
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
        """Read a clock in seconds, once the GPU has finished its queue."""
        if self.workers.device.type == "cuda":
            torch.cuda.synchronize(self.workers.device)
        return time.perf_counter()

    def total_loss(self, losses: list[torch.Tensor], plan: Plan, rows: np.ndarray, step: int) -> float:
        """Return the loss summed over all ranks. UserError names the rows of a micro-batch with a loss not finite."""
        mine = torch.stack(losses).double().tolist()
        slots = [0.0] * (len(plan) * len(mine))
        slots[self.workers.rank * len(mine) : (self.workers.rank + 1) * len(mine)] = mine
        everyone = self.workers.sum(slots)
        broken = [slot for slot, loss in enumerate(everyone) if not math.isfinite(loss)]
        if broken:
            suspects = [row for slot in broken for row in rows[plan[slot // len(mine)][slot % len(mine)]]]
            problem = f"the loss of step {step + 1} is not finite: {self.name_rows(suspects)}"
            raise UserError(f"{problem}; look at these rows, or lower train.learning_rate")
        return math.fsum(everyone)

    def name_rows(self, rows: Sequence[int] | np.ndarray, limit: int = 8) -> str:
        ids = [self.data.ids[row] for row in rows]
        return ", ".join(ids[:limit]) + (f" and {len(ids) - limit} more" if len(ids) > limit else "")


def refuse_uneven(config: Config, rehearsal: text_model.Rehearsal) -> None:
    """UserError if ranks may use other weights than each other in a micro-batch and DeepSpeed would send both."""
    zero = config.deepspeed
    whole = zero.zero_stage == 3 and zero.whole_layers and not config.train.adapts
    if rehearsal.by_chance and zero.zero_stage and not whole:
        fix = "" if config.train.adapts else " or deepspeed=zero3 deepspeed.whole_layers=true"
        raise UserError(
            f"deepspeed.zero_stage={zero.zero_stage} does not go with {config.model.name}, whose experts are layers of "
            f"their own ({rehearsal.by_chance[0]}): a rank whose text uses none of one would be waited for; choose "
            f"deepspeed=none{fix}"
        )


def usable_rows(data: TokenFile, config: Config, workers: Workers) -> np.ndarray:
    """Return the indices of the rows to train on: within `train.max_length`, with a target token. UserError if none."""
    train = config.train
    too_long = data.lengths > train.max_length
    no_target = (data.target_counts == 0) & ~too_long
    rows = np.flatnonzero(~too_long & ~no_target)
    if too_long.any():
        workers.log(f"{too_long.sum()} of {len(data)} rows left out: longer than train.max_length={train.max_length}")
    if no_target.any():
        workers.log(f"{no_target.sum()} of {len(data)} rows left out: no target token")
    if not len(rows):
        raise UserError(
            f"none of the mix's {len(data)} rows can be trained on with train.max_length={train.max_length}; raise it, "
            "or see mix/card.json for what the mix stage kept"
        )
    if train.global_batch_size > len(rows):
        problem = f"train.global_batch_size={train.global_batch_size} is more than the {len(rows)} rows"
        workers.log(f"warning: {problem}: each epoch is one step over all of them")
    return rows
