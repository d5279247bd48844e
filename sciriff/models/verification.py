"""Is the model on disk the one that was trained? Every weight bit for bit, its tokenizer, and an answer.

The folder is loaded as anybody would load it, with transformers, on the CPU of rank 0, once the weights that it was
written from are gone from there: a 70B model in bf16 needs 140 GB of memory for it, as much as collecting its weights
from the processes did. The trained model need not be loaded again anywhere: all processes together, under ZeRO-3 too,
compute the logits of the folder's prompt and answer in one pass.
"""

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sciriff.config import Config, ModelConfig
from sciriff.models.chat_markup import jinja_template, prompt_ids
from sciriff.models.loading import load_tokenizer
from sciriff.run import machine
from sciriff.run.json_lines import Message
from sciriff.run.user_error import UserError

QUESTION = (Message("user", "Which genes does the following abstract name? Answer with a list."),)
ANSWER = 16
"""Tokens that the folder's model answers it with at most."""

ROUNDING = {"float32": 1e-3, "bfloat16": 0.1, "float16": 0.1}
"""Difference of two logits, as a share of the largest, that can come of other kernels on another device, by the type
that they compute in. Wide, because the weights have been compared already and a training must not fail on noise: what
this looks for, another position encoding, another norm, an adapter left out, changes logits by their own size."""

ALL_THE_SAME = "its weights are those that were trained: rename it to `model` to use it all the same"


class Digest(NamedTuple):
    shape: tuple[int, ...]
    sha256: str


class Answer(NamedTuple):
    """What the model in the folder says."""

    tokens: list[int]
    """The prompt's and the answer's."""
    answer: int
    """How many of them are the answer's."""
    logits: torch.Tensor
    """Of the tokens of the answer, float32, (answer, vocabulary)."""


def digests(weights: Mapping[str, torch.Tensor]) -> dict[str, Digest]:
    """Shape and SHA-256 of the bytes of each weight, all on the CPU."""

    def one(tensor: torch.Tensor) -> Digest:
        content = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data
        return Digest(tuple(tensor.shape), hashlib.sha256(content).hexdigest())

    with ThreadPoolExecutor(machine.cores()) as pool:  # hashlib lets go of Python's lock
        return dict(zip(weights, pool.map(one, weights.values()), strict=True))


def reload(model: ModelConfig, folder: Path, trained: Mapping[str, Digest]) -> Answer:
    """Load the folder, compare type, weights and tokenizer, and answer a question. UserError names what differs."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype="auto", trust_remote_code=model.trust_remote_code
    ).eval()
    if loaded.dtype != getattr(torch, model.dtype):
        raise UserError(f"{folder}: its weights are of type {loaded.dtype}, and model.dtype={model.dtype}")
    found = digests(loaded.state_dict())
    if missing := sorted(trained.keys() ^ found.keys()):
        raise UserError(f"{folder}: {missing[0]} was trained but not saved, or the other way round; is the disk full?")
    for name, digest in trained.items():
        if digest != found[name]:
            raise UserError(f"{folder}: {name} reads back differently from what was trained; is the disk full?")
    return _answer(loaded, _prompt(model, folder))


def _prompt(model: ModelConfig, folder: Path) -> list[int]:
    """The question's tokens, by the folder's tokenizer. UserError where it is not that of training."""
    trained, saved = load_tokenizer(model), load_tokenizer(replace(model, path=str(folder), tokenizer=None))
    prompt = prompt_ids(model.chat, QUESTION, saved)
    if prompt != prompt_ids(model.chat, QUESTION, trained):
        raise UserError(f"{folder}: its tokenizer makes other tokens than that of training")
    if saved.chat_template != (jinja_template(model.chat) or trained.chat_template):
        raise UserError(f"{folder}: its chat template is not that of model.chat={model.chat}")
    return prompt


def _answer(loaded: Any, prompt: list[int]) -> Answer:
    tokens = torch.tensor([prompt])
    with torch.inference_mode():
        whole = loaded.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=ANSWER)
        logits = loaded(whole, use_cache=False).logits[0, len(prompt) - 1 : -1].float()
    return Answer(whole[0].tolist(), len(logits), logits)


def compare(said: Answer, trained: torch.Tensor, config: Config, folder: Path) -> None:
    """Compare the logits of the folder's answer with those that the trained model has for the same tokens.

    `trained` is (answer, vocabulary). UserError where they differ by more than rounding, or where the trained model,
    asked for its likeliest tokens, would have answered otherwise.
    """
    trained = trained.cpu()
    coarsest = config.model.dtype if config.train.precision == "fp32" else "bfloat16"
    rounding = ROUNDING[coarsest] * float(said.logits.abs().max())
    gap = float((trained - said.logits).abs().max())
    if not gap <= rounding:
        raise UserError(
            f"{folder}: its logits differ by up to {gap:.3g} from those of the trained model, and rounding explains "
            f"{rounding:.3g}; {ALL_THE_SAME}"
        )
    answer = said.tokens[-said.answer :]
    chosen = trained.gather(1, torch.tensor(answer)[:, None])[:, 0]
    behind = trained.max(dim=1).values - chosen
    if bool((behind > rounding).any()):
        raise UserError(
            f"{folder}: its greedy answer is {answer}, and the trained model would have said "
            f"{trained.argmax(dim=1).tolist()}; {ALL_THE_SAME}"
        )
