"""What the stage must know of a model before it loads it: how much text it takes, and whether it is still the same."""

import hashlib
from pathlib import Path
from typing import Any

from sciriff.config import ModelConfig, as_dict
from sciriff.config.model import shares_heads
from sciriff.run.digest import file_digest, value_digest
from sciriff.run.user_error import UserError

WHOLE = 16 * 2**20
"""Files up to this size, bytes, are read whole."""
SAMPLES = 64
SAMPLE_BYTES = 64 * 1024


def model_identity(model: ModelConfig, own: Any | None, seed: int) -> str:
    """The digest of a model: of a local folder its files, of the hub its id and commit, of a random one shape and seed.

    Of a weight file the size and 64 evenly spaced samples count, 4 MiB in all: fine-tuning moves every one of them, and
    a 140 GB model is told apart in a second. Times do not count, so that a copied run folder keeps its answers.
    """
    if model.path is None:
        return value_digest([as_dict(model.shape), seed])
    folder = Path(model.path)
    if not folder.is_dir():
        return value_digest([model.path, model.revision, getattr(own, "_commit_hash", None)])
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


def context_of(model: ModelConfig, own: Any | None) -> int:
    """Tokens that the model takes: the smaller of its context as configured and what its own files say."""
    said = getattr(own.get_text_config(), "max_position_embeddings", None) if own is not None else None
    return min(model.context, said) if said else model.context


def check_tensor_parallel(model: ModelConfig, own: Any | None, ways: int) -> None:
    """UserError where `ways` GPUs (engine.tensor_parallel) cannot share the model's attention heads."""
    assert model.shape is not None, "ModelConfig refuses weights without one"
    said = own.get_text_config() if own is not None else None
    heads = getattr(said, "num_attention_heads", None) or model.shape.heads
    kv_heads = getattr(said, "num_key_value_heads", None) or (model.shape.kv_heads if said is None else heads)
    if not shares_heads(heads, kv_heads, ways):
        fitting = [str(n) for n in range(1, heads + 1) if shares_heads(heads, kv_heads, n)]
        raise UserError(
            f"engine.tensor_parallel={ways} does not share out the {heads} attention heads ({kv_heads} of keys and "
            f"values) of this model; it can be {', '.join(fitting)}"
        )
