"""Answer prompts with vLLM: all are scheduled at once, and answers are yielded as they finish."""

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
"""Finished answers yielded, and so written to disk, at a time."""
INVARIANT_FROM = 80
"""Lowest compute capability, times ten, with batch-invariant kernels in vLLM 0.32 (docs.vllm.ai, Batch Invariance)."""


def settings(engine: EngineConfig) -> list[Any]:
    """Engine settings that an answer depends on."""
    return [engine.tensor_parallel, engine.batch_invariant, engine.extra]


def plan_batches(prompts: list[list[int]], limits: list[int], engine: EngineConfig) -> list[list[int]]:
    """One prompt per batch: vLLM schedules prompts itself, differently in each run. They are sorted, so that prompts
    with the same instruction follow each other and it is computed once (prefix caching)."""
    return [[place] for place in sorted(range(len(prompts)), key=lambda place: (prompts[place], place))]


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
            # Without it the model's generation_config.json adds its own penalties and end tokens.
            "generation_config": "vllm",
            "disable_log_stats": True,
        }
        with _in_one_line("does not start"):
            try:
                chosen = EngineArgs(**{**arguments, **request.engine.extra})
            except TypeError as error:
                raise UserError(f"engine.extra: {error}") from None
            # The usage context sets the batch size: that of vLLM's LLM class, for throughput, not a server's.
            engine = LLMEngine.from_engine_args(chosen, usage_context=UsageContext.LLM_CLASS)
        sampling = request.sampling
        shared = SamplingParams(
            temperature=sampling.temperature if sampling else 0.0,
            top_p=sampling.top_p if sampling else 1.0,
            stop_token_ids=request.end_ids,
            ignore_eos=True,  # end_ids has all end tokens
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

        def add(place: int) -> None:
            parameters = shared.clone()
            parameters.max_tokens = request.limits[place]
            parameters.seed = seed_of(sampling.streams[place]) if sampling else None
            engine.add_request(str(place), TokensPrompt(prompt_token_ids=request.prompts[place]), parameters)

        with _in_one_line("failed on the way; what it answered before is kept"):
            yield from _finished(engine, add, request.batches, request.in_hands or math.inf)


def _finished(
    engine: Any, add: Callable[[int], None], batches: Iterable[list[int]], in_hands: float
) -> Iterator[list[Answer]]:
    """Yield answers as they finish, taking prompts from `batches` while fewer than `in_hands` are in flight."""
    waiting = iter(batches)
    more = True
    answers: list[Answer] = []
    while more or engine.has_unfinished_requests():
        while more and engine.get_num_unfinished_requests() < in_hands:
            batch = next(waiting, None)
            more = batch is not None
            for place in batch or ():
                add(place)
        for output in engine.step():
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
    """Print the traceback of vLLM's error and raise it as a UserError of one line. Too little memory, an unknown model
    and a dead worker are RuntimeError or ValueError; too few cores for tensor parallelism an AssertionError."""
    try:
        yield
    except (RuntimeError, ValueError, AssertionError) as error:
        traceback.print_exc()
        if known_errors.NAN_LOGITS.search(error):
            raise UserError(COMPUTES_NAN) from None
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
        raise UserError(f"vLLM {what} ({type(error).__name__}: {reason})") from None
