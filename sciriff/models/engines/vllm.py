"""Answer prompts with vLLM: all are scheduled at once, and answers are yielded as they finish."""

import contextlib
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from inspect import signature
from typing import Any

from sciriff.config import EngineConfig
from sciriff.models.engines import COMPUTES_NAN, Answer, Request, scored_answer
from sciriff.models.engines.sampling import seed_of
from sciriff.models.engines.stop_strings import StopStrings, Watched
from sciriff.models.engines.thinking import Thinking, WatchedThought
from sciriff.models.loading import load_tokenizer
from sciriff.run import known_errors
from sciriff.run.messages import say_traceback
from sciriff.run.user_error import UserError

TOGETHER = 32
"""Finished answers yielded, and so written to disk, at a time."""
MOST_NAMED = 128
"""Most tokens whose probabilities one request may ask for (vLLM 0.32)."""
INVARIANT_FROM = 80
"""Lowest compute capability, times ten, with batch-invariant kernels in vLLM 0.32 (docs.vllm.ai, Batch Invariance)."""


def settings(engine: EngineConfig) -> list[Any]:
    """Engine settings that an answer depends on."""
    return [engine.tensor_parallel, engine.batch_invariant, engine.extra]


def plan_batches(prompts: list[list[int]], limits: list[int], engine: EngineConfig) -> list[list[int]]:
    """One prompt per batch: vLLM schedules prompts itself, differently in each run. They are sorted, so that prompts
    with the same instruction follow each other and it is computed once (prefix caching)."""
    return [[place] for place in sorted(range(len(prompts)), key=lambda place: (prompts[place], place))]


def plan_general_batches(prompts: list[list[int]], limits: list[int], engine: EngineConfig) -> list[list[int]]:
    """As `plan_batches`: prompts that begin alike follow each other anyway."""
    return plan_batches(prompts, limits, engine)


def generate(request: Request) -> Iterator[list[Answer]]:
    """Yield answers as they finish, up to TOGETHER at a time. UserError if vLLM does not start or fails."""
    # Set before vLLM is imported. In a process of its own the engine was seen to outlive a killed stage and keep the
    # GPU's memory. Tensor-parallel workers are spawned, since a forked process cannot use CUDA once this one has.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    # Without it NaN logits give an answer like any other.
    os.environ.setdefault("VLLM_RAISE_ON_LOGIT_NANS", "1")
    if request.engine.batch_invariant:
        os.environ["VLLM_BATCH_INVARIANT"] = "1"
    from vllm import EngineArgs, LLMEngine, SamplingParams, TokensPrompt
    from vllm.platforms import current_platform
    from vllm.sampling_params import RequestOutputKind
    from vllm.usage.usage_lib import UsageContext

    if request.engine.batch_invariant and not current_platform.has_device_capability(INVARIANT_FROM):
        needed = f"an NVIDIA GPU of compute capability {INVARIANT_FROM / 10} or more"
        raise UserError(f"engine.batch_invariant=true needs {needed}, and there is none here")
    with ExitStack() as stack:
        model = request.model
        path = model.path
        if path is None:
            import torch

            from sciriff.models.loading import load_model

            path = stack.enter_context(tempfile.TemporaryDirectory())  # vLLM reads weights only from files
            load_model(model, seed=request.seed, dtype=getattr(torch, model.dtype)).save_pretrained(path)
        with _in_one_line("does not start"):
            try:
                arguments = arguments_of(request, path, on_cpu=current_platform.is_cpu())
                if "language_model_only" in signature(EngineArgs).parameters:
                    # Prompts are text: the memory for pictures and sounds is not set aside, and a folder without files
                    # about them is taken too. It has no effect on a model that takes text alone.
                    arguments = {"language_model_only": True, **arguments}
                chosen = EngineArgs(**arguments)
            except TypeError as error:
                raise UserError(f"engine.extra: {error}") from None
            # The usage context sets the batch size: that of vLLM's LLM class, for throughput, not a server's.
            engine = LLMEngine.from_engine_args(chosen, usage_context=UsageContext.LLM_CLASS)
        sampling, thoughts = request.sampling, request.thoughts
        longest = request.longest
        greedy = SamplingParams(
            temperature=0.0,
            # in a thought of gpt-oss some of them only end a message; Stopped watches these
            stop_token_ids=[id for id in request.end_ids if not thoughts or id not in thoughts.message_ends],
            ignore_eos=True,  # end_ids has all end tokens
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        sampled = greedy.clone()
        if sampling:
            sampled.temperature, sampled.top_p = sampling.temperature, sampling.top_p
        scores = Scores(request, names_tokens=hasattr(greedy, "logprob_token_ids"))
        stopped = Stopped(engine, request)

        def add(place: int) -> None:
            if place in request.continuations:
                for name, prompt, wanted in scores.parts(place):
                    parameters = SamplingParams(
                        **{"temperature": 0.0, "max_tokens": 1, "detokenize": False, "ignore_eos": True, **wanted},
                        output_kind=RequestOutputKind.FINAL_ONLY,
                    )
                    engine.add_request(name, TokensPrompt(prompt_token_ids=prompt), parameters)
                return
            draws = sampling is not None and place < len(sampling.streams)
            parameters = (sampled if draws else greedy).clone()
            parameters.max_tokens = longest[place]
            parameters.seed = seed_of(sampling.streams[place]) if sampling and draws else None
            if stopped.watches(place):
                parameters.output_kind = RequestOutputKind.DELTA
                stopped.watch(place)
            engine.add_request(str(place), TokensPrompt(prompt_token_ids=request.prompts[place]), parameters)

        def read(output: Any) -> Answer | None:
            if scores.has(output.request_id):
                return scores.read(output)
            return stopped.read(output) if stopped.has(output.request_id) else _whole_answer(output)

        with _in_one_line("failed on the way; what it answered before is kept"):
            yield from _finished(engine, add, request.batches, request.in_hands or math.inf, read, request.waits)


def arguments_of(request: Request, path: str, *, on_cpu: bool) -> dict[str, Any]:
    """Arguments of vLLM's engine for a model in `path`, a folder or hub id; those of engine.extra over ours."""
    return {
        "model": path,
        "revision": request.model.revision,
        "dtype": request.model.dtype,
        "trust_remote_code": request.model.trust_remote_code,
        "max_model_len": request.context,
        "tensor_parallel_size": request.engine.tensor_parallel,
        "gpu_memory_utilization": request.engine.memory_fraction,
        "enforce_eager": on_cpu,
        "seed": request.seed,
        # Token ids go in and come out: markup and decoding are ours, the same for every engine.
        "skip_tokenizer_init": True,
        # Without it the model's generation_config.json adds its own penalties and end tokens.
        "generation_config": "vllm",
        "disable_log_stats": True,
        **request.engine.extra,
    }


def _whole_answer(output: Any) -> Answer:
    """The answer to a prompt, from its only output."""
    completion = output.outputs[0]
    return Answer(int(output.request_id), list(completion.token_ids), completion.finish_reason)


def _finished(
    engine: Any,
    add: Callable[[int], None],
    batches: Iterable[list[int]],
    in_hands: float,
    read: Callable[[Any], Answer | None] = _whole_answer,
    waits: int | None = None,
) -> Iterator[list[Answer]]:
    """Yield answers as they finish, taking prompts from `batches` while fewer than `in_hands` are in flight, and those
    from `waits` on when all before are finished. `read` makes an answer of the last of its outputs."""
    waiting = iter(batches)
    held: list[int] | None = None
    more, has_waited = True, waits is None
    answers: list[Answer] = []
    while more or engine.has_unfinished_requests():
        while more and engine.get_num_unfinished_requests() < in_hands:
            batch = held or next(waiting, None)
            held = None
            more = batch is not None
            if batch and not has_waited and waits is not None and batch[0] >= waits:
                if engine.has_unfinished_requests():
                    held = batch
                    break
                has_waited = True
            for place in batch or ():
                add(place)
        for output in engine.step():
            reason = output.outputs[0].finish_reason
            if reason not in (None, "stop", "length"):
                yield answers
                raise RuntimeError(f"an answer has ended with {reason!r}")
            if answer := read(output):
                answers.append(answer)
        if len(answers) >= TOGETHER:
            yield answers
            answers = []
    if answers:
        yield answers


class Stopped:
    """Outputs that come token by token, until a stop string is complete in the answer, or the thought before it or the
    answer has run into its own limit."""

    def __init__(self, engine: Any, request: Request) -> None:
        self._engine = engine
        self._request = request
        thoughts = request.thoughts
        self._tokenizer = load_tokenizer(request.model) if request.stops or thoughts else None
        self._thinking: Thinking | None = None
        if thoughts is not None:
            self._thinking = Thinking(thoughts, self._tokenizer, request.thinking, request.end_ids)
        self._all = thoughts is not None and bool(request.thinking or thoughts.message_ends)
        self._growing: dict[str, tuple[list[int], Watched | WatchedThought]] = {}

    def watches(self, place: int) -> bool:
        """Whether a prompt's output has to come token by token."""
        return self._all or place in self._request.stops

    def watch(self, place: int) -> None:
        stops = self._stops(place)
        if self._thinking is not None:
            self._growing[str(place)] = (
                [],
                self._thinking.watch(self._request.prompts[place], self._request.limits[place], stops),
            )
        elif stops is not None:
            self._growing[str(place)] = [], Watched(stops)

    def _stops(self, place: int) -> StopStrings | None:
        strings = self._request.stops.get(place)
        return StopStrings(self._tokenizer, strings) if strings else None

    def has(self, name: str) -> bool:
        return name in self._growing

    def read(self, output: Any) -> Answer | None:
        """Take in the next tokens of an answer, which is returned if it has ended."""
        ids, watched = self._growing[output.request_id]
        completion = output.outputs[0]
        ids += completion.token_ids
        reason = completion.finish_reason
        if isinstance(watched, WatchedThought):
            return self._read_thought(output.request_id, ids, watched, reason)
        stop = watched.stop(ids, ended=reason is not None)
        if stop is None and reason is None:
            return None
        del self._growing[output.request_id]
        if stop is None:
            return Answer(int(output.request_id), ids, reason)
        if reason is None:
            self._engine.abort_request([output.request_id])
        return Answer(int(output.request_id), ids[:stop], "stop")

    def _read_thought(self, name: str, ids: list[int], watched: WatchedThought, reason: str | None) -> Answer | None:
        end = watched.end(ids, over=reason is not None)
        if end is None:
            return None
        del self._growing[name]
        if reason is None:
            self._engine.abort_request([name])
        assert self._thinking is not None
        place, ids = int(name), ids[:end]
        ended = self._thinking.ended(self._request.prompts[place], ids, self._stops(place))
        return Answer(place, ids, "stop" if ended else "length")


class Scores:
    """Prompts with continuations, each asked as one request or several, until all of these are answered.

    Continuations of a single token (letters) are one request for the probabilities of these tokens after the prompt,
    most of which the prefix cache has. Of a longer one all tokens but the last are part of the prompt, whose
    probabilities vLLM computes without that cache; the last is the one token that may follow, so that prompt and
    continuation need no more room than they have. Log-probabilities are those before any such choice.
    """

    def __init__(self, request: Request, names_tokens: bool) -> None:
        """`names_tokens`: whether this vLLM can be asked for the probabilities of certain tokens."""
        self._request = request
        self._names_tokens = names_tokens
        self._left: dict[int, int] = {}
        self._found: dict[int, list[tuple[float, bool]]] = {}

    def parts(self, place: int) -> Iterator[tuple[str, list[int], dict[str, Any]]]:
        """Yield name, prompt and sampling parameters of the requests for a place."""
        prompt, continuations = self._request.prompts[place], self._request.continuations[place]
        self._found[place] = [(0.0, False)] * len(continuations)
        tokens = list(dict.fromkeys(continuation[0] for continuation in continuations))
        if self._names_tokens and len(tokens) <= MOST_NAMED and all(len(one) == 1 for one in continuations):
            self._left[place] = 1
            yield f"{place}:all", prompt, {"logprob_token_ids": tokens}
            return
        self._left[place] = len(continuations)
        for number, continuation in enumerate(continuations):
            *before, last = continuation
            wanted: dict[str, Any] = {"allowed_token_ids": [last], "logprobs": 0}
            if before:
                wanted["prompt_logprobs"] = 0
            yield f"{place}:{number}", prompt + before, wanted

    def has(self, name: str) -> bool:
        return ":" in name

    def read(self, output: Any) -> Answer | None:
        """Take in what one request has found; the answer is returned once all are here."""
        name, _, part = output.request_id.partition(":")
        place = int(name)
        continuations, found = self._request.continuations[place], self._found[place]
        completion = output.outputs[0]
        (last,) = completion.logprobs
        if part == "all":
            chosen = completion.token_ids[0]
            found[:] = [(last[token].logprob, token == chosen) for (token,) in continuations]
        else:
            tokens = continuations[int(part)]
            at = len(self._request.prompts[place])
            steps = [*(output.prompt_logprobs or ())[at:], last] if len(tokens) > 1 else [last]
            each = [step[token] for step, token in zip(steps, tokens, strict=True)]
            found[int(part)] = sum(one.logprob for one in each), all(one.rank == 1 for one in each)
        self._left[place] -= 1
        if self._left[place]:
            return None
        del self._left[place], self._found[place]
        return scored_answer(place, *zip(*found, strict=True))


@contextlib.contextmanager
def _in_one_line(what: str) -> Iterator[None]:
    """Print the traceback of vLLM's error and raise it as a UserError of one line. Too little memory, an unknown model
    and a dead worker are RuntimeError or ValueError; too few cores for tensor parallelism an AssertionError."""
    try:
        yield
    except (RuntimeError, ValueError, AssertionError) as error:
        say_traceback(type(error), error, error.__traceback__)
        if known_errors.NAN_LOGITS.search(error):
            raise UserError(COMPUTES_NAN) from None
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
        raise UserError(f"vLLM {what} ({type(error).__name__}: {reason})") from None
