"""Answer prompts with vLLM: all of them at once, and every answer is yielded when it is finished."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from sciriff.config import EngineConfig
from sciriff.predict.engines import Answer, Request

TOGETHER = 32
"""Finished answers that are handed over, and so written to the disk, at a time."""


def settings(engine: EngineConfig) -> list[int]:
    """What of the engine's settings an answer depends on."""
    return [engine.tensor_parallel]


def plan_batches(lengths: list[int], max_new_tokens: int, engine: EngineConfig) -> list[list[int]]:
    """Every prompt by itself: vLLM puts them together as they come, and no two runs in the same way."""
    return [[place] for place in range(len(lengths))]


def generate(request: Request) -> Iterator[list[Answer]]:
    """Yield answers as they finish, some at a time. Prompts go in in their order, task after task, so that the
    instruction that a task's prompts begin with is computed once (prefix caching)."""
    # Set before vLLM is imported. Its engine runs in this process: as a process of its own it outlives a killed stage
    # and keeps the GPU's memory (seen). The workers of a tensor-parallel model watch a pipe to their parent; they are
    # spawned, since a forked process cannot use CUDA once this one has.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    from vllm import EngineArgs, LLMEngine, SamplingParams, TokensPrompt
    from vllm.platforms import current_platform
    from vllm.sampling_params import RequestOutputKind
    from vllm.usage.usage_lib import UsageContext

    with ExitStack() as stack:
        model = request.model
        path = model.path
        if path is None:
            path = stack.enter_context(tempfile.TemporaryDirectory())
            _save_random_model(request, path)
        arguments = EngineArgs(
            model=path,
            revision=model.revision,
            dtype=model.dtype,
            trust_remote_code=model.trust_remote_code,
            max_model_len=request.context,
            tensor_parallel_size=request.engine.tensor_parallel,
            gpu_memory_utilization=request.engine.memory_fraction,
            enforce_eager=current_platform.is_cpu(),
            seed=request.seed,
            # Token ids go in and come out: markup and decoding are ours, the same for every engine.
            skip_tokenizer_init=True,
            # Else the model's generation_config.json adds its own penalties and end tokens.
            generation_config="vllm",
            disable_log_stats=True,
        )
        # The context sets how much vLLM takes up at once: that of its LLM class, for throughput, not that of a server.
        engine = LLMEngine.from_engine_args(arguments, usage_context=UsageContext.LLM_CLASS)
        sampling = SamplingParams(
            temperature=0.0,
            max_tokens=request.max_new_tokens,
            stop_token_ids=request.end_ids,
            ignore_eos=True,  # the end tokens say it all
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        for batch in request.batches:
            for place in batch:
                prompt = TokensPrompt(prompt_token_ids=request.prompts[place])
                engine.add_request(str(place), prompt, sampling.clone())
        yield from _finished(engine)


def _finished(engine: Any) -> Iterator[list[Answer]]:
    """The answers of an engine's requests as they finish, some at a time."""
    answers: list[Answer] = []
    while engine.has_unfinished_requests():
        for output in engine.step():  # requests that have finished in this step
            completion = output.outputs[0]
            answers.append(Answer(int(output.request_id), list(completion.token_ids), completion.finish_reason))
        if len(answers) >= TOGETHER:
            yield answers
            answers = []
    if answers:
        yield answers


def _save_random_model(request: Request, folder: str) -> None:
    """vLLM reads weights from a folder only."""
    import torch

    from sciriff.pretrained import load_model

    load_model(request.model, seed=request.seed, dtype=getattr(torch, request.model.dtype)).save_pretrained(folder)
