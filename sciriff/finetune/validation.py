"""Validation loss, apart for science rows (what is learnt) and general ones (what is forgotten)."""

import math
from collections.abc import Callable

import numpy as np

from sciriff.config import Config
from sciriff.data.token_file import NAME, TokenFile
from sciriff.data.training_metrics import HALVES
from sciriff.finetune.backends import Backend
from sciriff.finetune.metrics import MEAN, Measured
from sciriff.finetune.packing import Plan, collate
from sciriff.finetune.workers import Workers
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

ROWS_AT_A_TIME = 128
"""Rows packed and evaluated together; a request to stop is noticed after each such chunk."""


class Validation:
    """The validation rows of a run and the losses measured on them so far; the same on every rank."""

    def __init__(self, config: Config, run: RunDir, workers: Workers) -> None:
        """UserError if train.keep=best has nothing to choose by."""
        self.every = config.train.eval_every
        self.measured: dict[int, float] = {}
        """Optimizer steps done -> what decides which model is best: a loss, or the negative mean of the tasks."""
        self._train = config.train
        self._stop_request = run.stop_request
        self._workers = workers
        self._data = TokenFile(run.validation_tokens) if (run.validation_tokens / NAME).is_file() else None
        self._rows: dict[str, np.ndarray] = {}
        if self._data is not None and self.every is not None:
            self._rows = usable_rows(self._data, config.train.max_length, workers)
        self._answers = config.train.answers
        by = config.train.best_by
        wanted = [half for half in HALVES if by == f"{half}_loss"] or list(self._rows)
        if config.train.keep == "best" and not self._answers and not set(wanted) & self._rows.keys():
            chosen, kind = ("train.keep=best", "") if by is None else (f"train.best_by={by}", f"{wanted[0]} ")
            raise UserError(
                f"{chosen} needs {kind}validation rows, and there are no {kind}rows in {run.validation_tokens} "
                f"(mix.validation_rows={config.mix.validation_rows}; mix/card.json says what was drawn); "
                "set train.keep=last, or run the mix stage with validation rows"
            )

    @property
    def decides(self) -> str | None:
        """What decides which model is best: MEAN, or the half that train.best_by names, else science, if it has rows.
        None without any."""
        if self._answers:
            return MEAN
        named = [half for half in HALVES if self._train.best_by == f"{half}_loss"]
        return next((half for half in named or HALVES if half in self._rows), None)

    def describe_best(self, step: int) -> str:
        """Return why the model after `step` steps is the best."""
        value = self.measured[step]
        what = f"{MEAN}: {-value:.4f}" if self._answers else f"{self.decides} validation loss: {value:.4f}"
        return f"best {what}, after step {step}"

    def describe(self) -> str:
        """Return one line for the log on what will be measured, and when."""
        if self.every is None:
            return "no validation loss: train.eval_every=null"
        if not self._rows:
            return "no validation loss: the mix has no validation rows"
        rows = " and ".join(f"{len(rows)} {half}" for half, rows in self._rows.items())
        return f"validation loss on {rows} rows before training, every {self.every} steps and at the end"

    def due(self, step: int, steps: int) -> bool:
        """Return whether to measure once `step` of `steps` optimizer steps are done."""
        return (
            bool(self._rows or self._answers) and self.every is not None and (step % self.every == 0 or step == steps)
        )

    def losses(self, backend: Backend, plan: Callable[[list[int]], Plan], vocabulary: int) -> Measured | None:
        """Return half -> mean cross entropy of its target tokens in nats, None if not finite; None altogether if asked
        to stop meanwhile. `plan(lengths)` spreads sequences over the ranks and their micro-batches."""
        means: Measured = {}
        for half, rows in self._rows.items():
            total, targets = 0.0, 0.0
            for start in range(0, len(rows), ROWS_AT_A_TIME):
                chunk = self._chunk_loss(backend, rows[start : start + ROWS_AT_A_TIME], plan, vocabulary)
                if chunk is None:
                    return None
                total, targets = total + chunk[0], targets + chunk[1]
            means[half] = total / targets if math.isfinite(total) else None
            if means[half] is None:
                self._workers.log(f"warning: the validation loss of the {half} rows is not finite")
        return means

    def _chunk_loss(
        self, backend: Backend, rows: np.ndarray, plan: Callable[[list[int]], Plan], vocabulary: int
    ) -> tuple[float, float] | None:
        """Return the summed loss and the number of target tokens of `rows`, over all ranks; None if asked to stop."""
        assert self._data is not None
        lengths: list[int] = self._data.lengths[rows].tolist()
        mine = plan(lengths)[self._workers.rank]
        batches = [collate(self._data, rows[piece].tolist(), vocabulary) for piece in mine]
        loss = math.fsum(float(backend.evaluate(batch)) for batch in batches)
        targets = sum(int(batch.targets.sum()) for batch in batches)
        total, count, stops = self._workers.sum([loss, targets, self._stop_request.exists()])
        return None if stops else (total, count)

    def record(self, step: int, measured: Measured) -> bool:
        """Record what was measured after `step` steps. Returns whether train.keep=best and this is the best trained
        model."""
        found = measured.get(self.decides) if self.decides is not None else None
        value = math.inf if found is None else -found if self._answers else found
        best = step > 0 and value < min((v for s, v in self.measured.items() if s > 0), default=math.inf)
        self.measured[step] = value
        return best and self._train.keep == "best"

    def best_first(self) -> list[int]:
        """Return the measured steps but 0, the best first; of equal ones the earliest."""
        return sorted((step for step in self.measured if step > 0), key=lambda step: (self.measured[step], step))


def usable_rows(data: TokenFile, max_length: int, workers: Workers) -> dict[str, np.ndarray]:
    """Return half -> indices of the rows to evaluate on, for halves that have any. Reports the rows left out."""
    usable = (data.lengths <= max_length) & (data.target_counts > 0)
    if not usable.all():
        left_out = f"{(~usable).sum()} of {len(data)} validation rows left out"
        workers.log(f"{left_out}: longer than train.max_length={max_length}, or without a target token")
    science = np.array([row_id.startswith("science.") for row_id in data.ids], np.bool_)
    halves = {"science": np.flatnonzero(usable & science), "general": np.flatnonzero(usable & ~science)}
    return {half: rows for half, rows in halves.items() if len(rows)}
