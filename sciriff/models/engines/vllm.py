"""Answer prompts with vLLM: all of them at once, and every answer is yielded when it is finished."""

import contextlib
import math
import os
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any

from sciriff.config import EngineConfig
from sciriff.models.engines import COMPUTES_NAN, Answer, Request
from sciriff.models.engines.sampling import seed_of
from sciriff.run import known_errors
from sciriff.run.user_error import UserError

TOGETHER = 32
"""Finished answers that are handed over, and so written to the disk, at a time."""

INVARIANT_FROM = 80
"""Compute capability, times ten, of the first GPUs for which vLLM 0.32 has batch-invariant kernels
(docs.vllm.ai, "Batch Invariance"); an older vLLM refuses by itself what it does not have."""


def settings(engine: EngineConfig) -> list[Any]:
    """What of the engine's settings an answer depends on."""
    return [engine.tensor_parallel, engine.batch_invariant, engine.extra]


def plan_batches(prompts: list[list[int]], limits: list[int], engine: EngineConfig) -> list[list[int]]:
    """Every prompt by itself: vLLM puts them together as they come, and no two runs in the same way. Prompts that begin
    alike follow each other, so that the instruction they begin with is computed once (prefix caching)."""
    return [[place] for place in sorted(range(len(prompts)), key=lambda place: (prompts[place], place))]


def generate(request: Request) -> Iterator[list[Answer]]:
    """Yield answers as they finish, some at a time. UserError, with vLLM's own words in the log before it, where vLLM
    does not start or fails on the way."""
    # Set before vLLM is imported. Its engine runs in this process: as a process of its own it outlives a killed stage
    # and keeps the GPU's memory (seen). The workers of a tensor-parallel model watch a pipe to their parent; they are
    # spawned, since a forked process cannot use CUDA once this one has.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    # Else logits that are no numbers give an answer like any other.
    os.environ.setdefault("VLLM_RAISE_ON_LOGIT_NANS", "1")
    if request.engine.batch_invariant:
        os.environ["VLLM_BATCH_INVARIANT"] = "1"
    from vllm import EngineArgs, LLMEngine, SamplingParams, TokensPrompt
    from vllm.platforms import current_platform
    from vllm.sampling_params import RequestOutputKind
    from vllm.usage.usage_lib import UsageContext

    if request.engine.batch_invariant and not current_platform.has_device_capability(INVARIANT_FROM):
        raise UserError(
            "engine.batch_invariant=true needs an NVIDIA GPU of compute capability "
            f"{INVARIANT_FROM / 10} or more, and there is none here"
        )
    with ExitStack() as stack:
        model = request.model
        path = model.path
        if path is None:
            path = stack.enter_context(tempfile.TemporaryDirectory())
            _save_random_model(request, path)
        arguments: dict[str, Any] = {
            "model": path,
            "revision": model.revision,
            "dtype": model.dtype,
            "trust_remote_code": model.trust_remote_code,
            "max_model_len": request.context,
            "tensor_parallel_size": request.engine.tensor_parallel,
            "gpu_memory_utilization": request.engine.memory_fraction,
            "enforce_eager": current_platform.is_cpu(),
            "seed": request.seed,
            # Token ids go in and come out: markup and decoding are ours, the same for every engine.
            "skip_tokenizer_init": True,
            # Else the model's generation_config.json adds its own penalties and end tokens.
            "generation_config": "vllm",
            "disable_log_stats": True,
        }
        with _in_one_line("does not start"):
            try:
                chosen = EngineArgs(**{**arguments, **request.engine.extra})
            except TypeError as error:
                raise UserError(f"engine.extra: {error}") from None
            # The context sets how much vLLM takes up at once: that of its LLM class, for throughput, not a server's.
            engine = LLMEngine.from_engine_args(chosen, usage_context=UsageContext.LLM_CLASS)
        chance = request.sampling
        sampling = SamplingParams(
            temperature=chance.temperature if chance else 0.0,
            top_p=chance.top_p if chance else 1.0,
            stop_token_ids=request.end_ids,
            ignore_eos=True,  # the end tokens say it all
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

        def add(place: int) -> None:
            own = sampling.clone()
            own.max_tokens = request.limits[place]
            own.seed = seed_of(chance.streams[place]) if chance else None
            engine.add_request(str(place), TokensPrompt(prompt_token_ids=request.prompts[place]), own)

        with _in_one_line("failed on the way; what it answered before is kept"):
            yield from _finished(engine, add, request.batches, request.in_hands or math.inf)


def _finished(
    engine: Any, add: Callable[[int], None], batches: Iterable[list[int]], in_hands: float
) -> Iterator[list[Answer]]:
    """The answers of an engine as they finish, some at a time. It takes prompts from `batches` as long as it has fewer
    than `in_hands` of them."""
    waiting = iter(batches)
    more = True
    answers: list[Answer] = []
    while more or engine.has_unfinished_requests():
        while more and engine.get_num_unfinished_requests() < in_hands:
            batch = next(waiting, None)
            more = batch is not None
            for place in batch or ():
                add(place)
        for output in engine.step():  # requests that have finished in this step
            completion = output.outputs[0]
            if completion.finish_reason not in ("stop", "length"):
                yield answers
                raise RuntimeError(f"an answer has ended with {completion.finish_reason!r}")
            answers.append(Answer(int(output.request_id), list(completion.token_ids), completion.finish_reason))
        if len(answers) >= TOGETHER:
            yield answers
            answers = []
    if answers:
        yield answers


@contextlib.contextmanager
def _in_one_line(what: str) -> Iterator[None]:
    """Turn what vLLM raises into a UserError of one line, after the traceback. Memory that does not suffice, a model
    that it does not know and a worker that has died come as RuntimeError or UserError, some of them empty; cores that
    do not suffice for tensor parallelism on a CPU as AssertionError."""
    try:
        yield
    except (RuntimeError, ValueError, AssertionError) as error:
        traceback.print_exc()
        if known_errors.NAN_LOGITS.search(error):
            raise UserError(COMPUTES_NAN) from None
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
        raise UserError(f"vLLM {what} ({type(error).__name__}: {reason})") from None


def _save_random_model(request: Request, folder: str) -> None:
    """vLLM reads weights from a folder only."""
    import torch

    from sciriff.models.loading import load_model

    load_model(request.model, seed=request.seed, dtype=getattr(torch, request.model.dtype)).save_pretrained(folder)
