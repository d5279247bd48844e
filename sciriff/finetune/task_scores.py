"""Scores of the held-out tasks during training: a fixed set of prompts is answered with the weights as they are.

Answers are greedy, made by the same code as those of engine=transformers and in the same batches, so that
`train=none engine=transformers` gives the finished model's own again. Whole batches are dealt out to the ranks: an
answer does not depend on their number.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from sciriff.config import Config
from sciriff.data.records import Prediction
from sciriff.data.selection import SelectionPrompt, prompts_of
from sciriff.finetune.backends import Backend
from sciriff.finetune.disk import writing
from sciriff.finetune.model import SummedLoss
from sciriff.finetune.packing_check import use_attention
from sciriff.finetune.workers import Workers
from sciriff.models import chat_markup
from sciriff.models.answer_parts import split_answer, whole_answer
from sciriff.models.engines import Answer
from sciriff.models.engines.thinking import Thinking
from sciriff.models.engines.transformers import decoded, finish_reason, in_halves, last_only, plan_batches
from sciriff.models.loading import load_tokenizer
from sciriff.models.thoughts import thoughts_of
from sciriff.run import known_errors
from sciriff.run.json_lines import write_jsonl
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.tasks.own import held_out
from sciriff.tasks.task import Task

REHEARSED_TOKENS = 3
"""Tokens of each answer of the rehearsal: the prompt, one from the cache, and one after a row was taken out."""


class TaskScores:
    """The prompts of train.best_by=task_mean, and how this training answers and scores them."""

    def __init__(self, config: Config, run: RunDir, workers: Workers, model: SummedLoss) -> None:
        self._run, self._workers, self._model = run, workers, model
        self._prompts = prompts_of(run)
        own = {_task_of(row): row["metric"] for row in self._prompts if row["metric"] is not None}
        self._tasks = {task.name: task for task in held_out(own)}
        self._tokenizer = load_tokenizer(config.model)
        self._end_ids = chat_markup.end_ids(config.model.chat, self._tokenizer, config.model.chat_settings)
        self._thoughts = thoughts_of(config.model, self._tokenizer)
        self._thinking = max(row["thinking"] for row in self._prompts) if self._thoughts is not None else 0
        ids = [row["ids"] for row in self._prompts]
        limits = [row["limit"] + self._thinking for row in self._prompts]
        self._batches = plan_batches(ids, limits, config.engine)
        # Under ZeRO-3 each layer's weights are gathered from all ranks, so none may compute alone.
        self._together = config.deepspeed.zero_stage == 3 and workers.count > 1
        workers.log(
            f"the best model is that of the highest mean of {len({*map(_task_of, self._prompts)})} tasks' scores: "
            f"{len(ids)} prompts are answered every {config.train.eval_every} steps and at the end, in "
            f"{len(self._batches)} batches"
        )

    def rehearse(self, backend: Backend) -> None:
        """Answer the largest batch with a few tokens. UserError if it does not fit, before hours of training."""
        with self._asked(backend) as ask:
            limits = [min(self._prompts[place]["limit"], REHEARSED_TOKENS) for place in self._batches[0]]
            limits[0] = min(limits[0], REHEARSED_TOKENS - 1)
            if self._workers.rank == 0:
                self._answers(ask, self._batches[0], limits, None)
            ask.keep_step()

    def measure(self, backend: Backend, step: int) -> dict[str, float] | None:
        """Return column -> score (0-1) of the answers to all prompts, which RUN/selection/step-N.jsonl keeps; None if
        asked to stop meanwhile. Every rank calls it."""
        mine: list[Answer] = []
        thinking = None
        if self._thoughts is not None:
            thinking = Thinking(self._thoughts, self._tokenizer, self._thinking, self._end_ids)
        with self._asked(backend) as ask:
            for first in range(0, len(self._batches), self._workers.count):
                turn = first + self._workers.rank
                if turn < len(self._batches):
                    batch = self._batches[turn]
                    mine += self._answers(ask, batch, [self._prompts[place]["limit"] for place in batch], thinking)
                ask.keep_step()
                if self._workers.sum([self._run.stop_request.exists()])[0]:
                    return None
        answers = sorted(self._workers.gather(mine), key=lambda answer: answer.place)
        scores: dict[str, float] = {}
        if self._workers.rank == 0:
            rows = [self._row(answer) for answer in answers]
            path = self._run.selection / f"step-{step}.jsonl"
            with writing(path, "Free some space and start again"):
                write_jsonl(path, rows)
            scores = self._scores(rows)
        found: dict[str, float] = self._workers.broadcast(scores)
        return found

    @contextmanager
    def _asked(self, backend: Backend) -> "Iterator[_Asked]":
        """Yield the language model as an engine calls it, with the attention of its family that caches can be used
        with."""
        model, device = self._model, self._workers.device
        before = model.attention_name
        try:
            try:
                use_attention(model, "sdpa")
            except ValueError as error:
                if not known_errors.NO_SDPA.search(error):
                    raise
                use_attention(model, "eager")
            with backend.answering() as forward:
                yield _Asked(model.language_model, forward, self._workers, self._together)
        finally:
            use_attention(model, before)
            if device.type == "cuda":
                torch.cuda.empty_cache()  # caches of odd lengths would leave holes in the training's memory

    def _answers(self, ask: "_Asked", batch: list[int], limits: list[int], thinking: Thinking | None) -> list[Answer]:
        """Answer one batch. UserError if it does not fit the GPU's memory."""
        remedy = "choose a smaller engine.batch_tokens, or a smaller eval.max_new_tokens"

        def answer(rows: Sequence[int]) -> list[list[int]]:
            prompts = [self._prompts[batch[row]]["ids"] for row in rows]
            return decoded(ask, prompts, [limits[row] for row in rows], self._end_ids, thinking=thinking)

        def numbers(row: int) -> str:
            tokens, longest = len(self._prompts[batch[row]]["ids"]), limits[row] + self._thinking
            return f"train.best_by=task_mean: a prompt of {tokens} tokens with an answer of up to {longest}"

        rows = range(len(batch))
        if self._together:
            try:
                outputs = answer(rows)
            except torch.cuda.OutOfMemoryError:
                most = max(len(self._prompts[place]["ids"]) for place in batch) + max(limits) + self._thinking
                raise UserError(
                    f"train.best_by=task_mean: {len(batch)} prompts and answers of up to {most} tokens do not fit in "
                    f"the GPU's memory beside the training; {remedy}"
                ) from None
        else:
            outputs = in_halves(answer, rows, numbers, remedy)
        return [
            Answer(place, ids, finish_reason(self._prompts[place]["ids"], ids, self._end_ids, None, thinking))
            for place, ids in zip(batch, outputs, strict=True)
        ]

    def _row(self, answer: Answer) -> Prediction:
        """An answer as rows of predictions have it."""
        prompt = self._prompts[answer.place]
        found = whole_answer(answer, self._tokenizer)
        if self._thoughts is not None:
            ended = answer.finish_reason == "stop"
            found = split_answer(prompt["ids"], answer, ended, self._thoughts, self._tokenizer, specials=True)
        return Prediction(
            task=_task_of(prompt),
            instance_id=prompt["_instance_id"],
            prompt=prompt["input"],
            prediction=found.text,
            reference=prompt["output"],
            finish_reason=found.finish_reason,
            prompt_tokens=len(prompt["ids"]),
            output_tokens=len(answer.token_ids),
            thought=found.thought,
            thought_tokens=found.thought_tokens,
        )

    def _scores(self, rows: list[Prediction]) -> dict[str, float]:
        """Return the columns of the summary that need no judge, as the score stage computes them."""
        scores: dict[str, float] = {}
        for name, task in self._tasks.items():
            scored = [task.score(row.prediction, row.reference) for row in rows if row.task == name]
            if scored:
                scores |= _columns(task, task.details(scored))
        return scores


class _Asked:
    """The language model of a training, which an engine can call as it calls one of its own."""

    def __init__(self, language_model: Any, forward: Callable[..., Any], workers: Workers, together: bool) -> None:
        self.config = language_model.config
        self.forward = language_model.forward  # whose signature is looked at
        self.parameters = language_model.parameters
        self._ask, self._workers, self._together = forward, workers, together

    def __call__(self, **inputs: Any) -> Any:
        if self._together:
            self._workers.sum([1])
        return self._ask(**inputs)

    def keep_step(self) -> None:
        """Under ZeRO-3, compute nothing of use until all ranks are done: each pass gathers weights from every rank."""
        if not self._together:
            return
        idle = {"input_ids": torch.zeros(1, 1, dtype=torch.long, device=self._workers.device), "use_cache": False}
        while self._workers.sum([0])[0]:
            self._ask(**idle, **last_only(self))


def _task_of(prompt: SelectionPrompt) -> str:
    return prompt["_instance_id"].partition(":")[0]


def _columns(task: Task, details: dict[str, float]) -> dict[str, float]:
    return {column: details[flat] for column, flat in task.flat_names.items() if flat in details}
