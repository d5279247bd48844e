"""GPU memory for answering: a copy of the model, and the keys and values of at least one sequence."""

from sciriff.config import Config, ShapeConfig
from sciriff.config.model import shares_heads
from sciriff.driver.model_shape import answering_shape
from sciriff.models.training_memory import GIB

WORKSPACE = 2.0
"""GiB that vLLM uses on each GPU for activations, CUDA graphs and the context, typical of 7B to 70B."""


def generation_memory(config: Config, shape: ShapeConfig, tensor_parallel: int) -> float:
    """Return the GiB on each of the `tensor_parallel` GPUs that share a copy of the model: its weights, and keys and
    values of a sequence as long as the context window (Pope et al. 2022, arXiv 2211.05102)."""
    width = 4 if config.answering_model.dtype == "float32" else 2
    keys = 2 * shape.layers_with_attention * shape.keys
    longest = min(shape.context, 8192)  # engines shorten the context if memory is short
    return width * (shape.parameters + keys * longest) / tensor_parallel / GIB + WORKSPACE


def problem(config: Config, gpus: int, capacity: float) -> str | None:
    """Why the model cannot answer on `gpus` GPUs of `capacity` GiB, and a fix; None if it can, or is an `eval.model`
    that cannot be read."""
    engine = config.engine
    if "predict" not in config.active_stages or engine.asks or (shape := answering_shape(config)) is None:
        return None
    if not shares_heads(shape.heads, shape.kv_heads, engine.tensor_parallel):
        return (
            f"engine.tensor_parallel={engine.tensor_parallel} does not share out the {shape.heads} attention heads of "
            f"eval.model ({shape.kv_heads} of keys and values)"
        )
    room = capacity * (engine.memory_fraction if engine.name == "vllm" else 0.95)
    needed = generation_memory(config, shape, engine.tensor_parallel)
    if needed <= room:
        return None
    message = f"answering needs about {needed:.0f} GiB on each GPU, of which {engine.name} may fill {room:.0f}: "
    for ways in range(engine.tensor_parallel + 1, gpus + 1):
        if shares_heads(shape.heads, shape.kv_heads, ways) and generation_memory(config, shape, ways) <= room:
            using = "" if engine.name == "vllm" else "engine=vllm "
            return f"{message}{using}engine.tensor_parallel={ways} would fit"
    return f"{message}use more or larger GPUs in one machine, or leave it out: stages=[mix,train]"
