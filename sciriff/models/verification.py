"""Verify that the model on disk is the one that was trained: every weight bit for bit, its tokenizer, and an answer.

Rank 0 loads the folder as anybody would, with transformers on its CPU, once the weights it was written from are freed
(140 GB of memory for 70B in bf16). All ranks together compute the trained model's logits of prompt and answer.
"""

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sciriff.config import Config, ModelConfig
from sciriff.models.chat_markup import prompt_ids, saved_template
from sciriff.models.loading import auto_class, load_config, load_tokenizer
from sciriff.run import machine
from sciriff.run.json_lines import Message
from sciriff.run.user_error import UserError

QUESTION = (Message("user", "Which genes does the following abstract name? Answer with a list."),)
MAX_NEW_TOKENS = 16
ROUNDING = {"float32": 1e-3, "bfloat16": 0.1, "float16": 0.1}
"""Difference of two logits, as a share of the largest, that other kernels or another device may cause, by computing
type. Wide: noise must not fail a training, and the errors that this finds (another position encoding, another norm,
missing adapter) change logits by their own size."""
USE_ANYWAY = "its weights are the trained ones: rename the folder to `model` to use it anyway"


class Digest(NamedTuple):
    shape: tuple[int, ...]
    sha256: str


class GreedyAnswer(NamedTuple):
    """The answer of the model in the folder to `QUESTION`."""

    tokens: list[int]
    """Token ids of prompt and answer."""
    length: int
    """Number of tokens of the answer, the last of `tokens`."""
    logits: torch.Tensor
    """Logits of the tokens of the answer, float32, (length, vocabulary)."""


def digests(weights: Mapping[str, torch.Tensor]) -> dict[str, Digest]:
    """Return the shape and the SHA-256 of the bytes of each weight; all must be on the CPU."""

    def digest(tensor: torch.Tensor) -> Digest:
        content = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data
        return Digest(tuple(tensor.shape), hashlib.sha256(content).hexdigest())

    with ThreadPoolExecutor(machine.cores()) as pool:  # hashlib releases Python's lock
        return dict(zip(weights, pool.map(digest, weights.values()), strict=True))


def reload(model: ModelConfig, folder: Path, trained: Mapping[str, Digest]) -> GreedyAnswer:
    """Load the folder, compare type, weights and tokenizer, and answer `QUESTION`. UserError names what differs."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    trust = model.trust_remote_code
    kind = auto_class(load_config(replace(model, path=str(folder), revision=None)))
    loaded: Any = kind.from_pretrained(folder, dtype="auto", trust_remote_code=trust).eval()
    if loaded.dtype != getattr(torch, model.dtype):
        raise UserError(f"{folder}: its weights are of type {loaded.dtype}, and model.dtype={model.dtype}")
    found = digests(loaded.state_dict())
    if missing := sorted(trained.keys() ^ found.keys()):
        raise UserError(f"{folder}: {missing[0]} was trained but not saved, or the reverse; is the disk full?")
    for name, digest in trained.items():
        if digest != found[name]:
            raise UserError(f"{folder}: {name} reads back differently from what was trained; is the disk full?")
    return _answer(loaded, prompt(model, folder))


def prompt(model: ModelConfig, folder: Path) -> list[int]:
    """Token ids of `QUESTION` by the folder's tokenizer. UserError if it differs from that of training."""
    trained = load_tokenizer(model)
    saved = load_tokenizer(replace(model, path=str(folder), tokenizer=None, revision=None))
    ids = prompt_ids(model.chat, QUESTION, saved, model.chat_settings)
    if ids != prompt_ids(model.chat, QUESTION, trained, model.chat_settings):
        raise UserError(f"{folder}: its tokenizer makes other tokens than the one used in training")
    if saved.chat_template != saved_template(model.chat, trained, model.chat_settings):
        raise UserError(f"{folder}: its chat template is not that of model.chat={model.chat}")
    return ids


def _answer(loaded: Any, prompt: list[int]) -> GreedyAnswer:
    prompt_tokens = torch.tensor([prompt])
    with torch.inference_mode():
        mask = torch.ones_like(prompt_tokens)
        tokens = loaded.generate(prompt_tokens, attention_mask=mask, max_new_tokens=MAX_NEW_TOKENS)
        logits = loaded(tokens, use_cache=False).logits[0, len(prompt) - 1 : -1].float()
    return GreedyAnswer(tokens[0].tolist(), len(logits), logits)


def compare(answer: GreedyAnswer, trained: torch.Tensor, config: Config, folder: Path) -> None:
    """Compare the logits of the folder's answer with `trained`, those of the trained model, shape (length, vocabulary).
    UserError if they differ by more than rounding, or if greedy decoding would answer differently."""
    trained = trained.cpu()
    coarsest = config.model.dtype if config.train.precision == "fp32" else "bfloat16"
    rounding = ROUNDING[coarsest] * float(answer.logits.abs().max())
    gap = float((trained - answer.logits).abs().max())
    if not gap <= rounding:
        raise UserError(
            f"{folder}: its logits differ by up to {gap:.3g} from those of the trained model, more than the rounding "
            f"of {rounding:.3g}; {USE_ANYWAY}"
        )
    tokens = answer.tokens[-answer.length :]
    chosen = trained.gather(1, torch.tensor(tokens)[:, None])[:, 0]
    behind = trained.max(dim=1).values - chosen
    if bool((behind > rounding).any()):
        raise UserError(
            f"{folder}: its greedy answer is {tokens}, and that of the trained model "
            f"{trained.argmax(dim=1).tolist()}; {USE_ANYWAY}"
        )
