"""Facts about a model that a stage needs before loading it: its identity, its context window, how it can be split."""

import hashlib
from pathlib import Path
from typing import Any

from sciriff.config import ModelConfig, as_dict
from sciriff.config.model import shares_heads
from sciriff.run.digest import file_digest, value_digest
from sciriff.run.user_error import UserError

WHOLE = 16 * 2**20
"""Files up to this size in bytes are digested whole."""
SAMPLES = 64
SAMPLE_BYTES = 64 * 1024


def model_identity(model: ModelConfig, hf_config: Any | None, seed: int) -> str:
    """Return a digest of the model: of a local folder's files, a hub id and commit, or a random model's shape and seed.

    `hf_config` is its transformers config, None for a random model. From a large weight file the size and 64 samples
    count, 4 MiB in all: fine-tuning changes every one, and a 140 GB model takes a second. File times do not count, so
    that a copied run folder keeps its answers.
    """
    if model.path is None:
        return value_digest([as_dict(model.shape), seed])
    folder = Path(model.path)
    if not folder.is_dir():
        return value_digest([model.path, model.revision, getattr(hf_config, "_commit_hash", None)])
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return value_digest([[path.name, _sampled_digest(path)] for path in files])


def _sampled_digest(path: Path) -> str:
    size = path.stat().st_size
    if size <= WHOLE:
        return file_digest(path)
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for sample in range(SAMPLES):
            file.seek(sample * (size - SAMPLE_BYTES) // (SAMPLES - 1))
            digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


def context_of(model: ModelConfig, hf_config: Any | None) -> int:
    """Return the context window in tokens: the smaller of `model.context` and that of the model's own config."""
    limit = getattr(hf_config.get_text_config(), "max_position_embeddings", None) if hf_config is not None else None
    return min(model.context, limit) if limit else model.context


def check_tensor_parallel(model: ModelConfig, hf_config: Any | None, ways: int) -> None:
    """UserError if `ways` GPUs (engine.tensor_parallel) do not divide the model's attention heads."""
    assert model.shape is not None, "ModelConfig refuses weights without one"
    from sciriff.models.parts import number  # with torch

    text = hf_config.get_text_config() if hf_config is not None else None
    heads = number(text, "num_attention_heads") or model.shape.heads
    kv_heads = number(text, "num_key_value_heads") or (model.shape.kv_heads if text is None else heads)
    if not shares_heads(heads, kv_heads, ways):
        fitting = [str(n) for n in range(1, heads + 1) if shares_heads(heads, kv_heads, n)]
        raise UserError(
            f"engine.tensor_parallel={ways} does not divide the model's {heads} attention heads ({kv_heads} of keys "
            f"and values); use {', '.join(fitting)}"
        )
