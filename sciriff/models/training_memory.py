"""Memory that training needs on each GPU, from the model's shape and the settings alone; loads no framework.

The plan refuses what cannot fit, and DeepSpeed's settings use the room that is left.
"""

import math
import re
from dataclasses import dataclass

from sciriff.config import LOGITS_AT_ONCE, LORA_PATTERN, Config, ShapeConfig, TrainConfig

GIB = 2**30
USABLE = 0.95
"""Share of a GPU's memory that a plan may fill; the rest allows for fragmentation."""
COMFORTABLE = 0.85
"""Share that settings which only improve speed may fill."""
CUDA_CONTEXT = 0.6
"""GiB of a process on a GPU outside torch's allocator: the CUDA context and cuBLAS."""
NCCL = 0.6
"""GiB of NCCL buffers between GPUs, typical of a few dozen ranks."""
MAX_LIVE_PARAMETERS = 1_000_000_000
"""Weights that ZeRO-3 keeps gathered until they are used again: DeepSpeed's default."""
SUB_GROUP = 1_000_000_000
"""Weights that ZeRO-3 updates at a time: DeepSpeed's `sub_group_size`."""
BUCKET = 500_000_000
"""Gradient elements that DeepSpeed collects before it reduces them (`reduce_bucket_size`), its default."""
FOUR_BITS = 0.5 + 0.127 / 8
"""Bytes per weight in NF4 with double quantisation (Dettmers et al. 2023, arXiv 2305.14314, section 3)."""
EIGHT_BIT_MOMENTS = 2 * (1 + 4 / 256)
"""Bytes per weight of AdamW's two moments in 8 bits, a scale per 256 (Dettmers et al. 2022, arXiv 2110.02861)."""


@dataclass(frozen=True)
class Memory:
    """GiB on each GPU at the peak of training."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    logits: float
    buffers: float
    """Gathered weights, buckets of DeepSpeed and DDP, and copies in another type."""
    outside: float
    """GiB outside torch's allocator: the CUDA context and NCCL."""

    @property
    def allocated(self) -> float:
        """The peak of torch.cuda.max_memory_allocated."""
        return self.total - self.outside

    @property
    def total(self) -> float:
        return sum(vars(self).values())


def shape_of(config: Config) -> ShapeConfig:
    """Return the shape of the model that is trained."""
    assert config.model.shape is not None, "a model without weights is not trained"
    return config.model.shape


def fits(memory: Memory, capacity: float) -> bool:
    """Return whether training runs on GPUs of `capacity` GiB."""
    return memory.total <= USABLE * capacity


def training_memory(config: Config, processes: int, *, on_gpu: bool, capacity: float | None = None) -> Memory:
    """Return the GiB that each rank needs; with `capacity` (GiB of a GPU) including the weights that ZeRO-3 keeps
    resident because there is room.

    Model states (ZeRO, Rajbhandari et al. 2020, arXiv 1910.02054): see `_bytes_per_weight`. Activations (Korthikanti et
    al. 2022, arXiv 2205.05198): see `layer_bytes`; a checkpointed layer keeps its input alone, and one layer is always
    whole. Logits: as many as the loss makes at once, in the computing type, in fp32, and their gradient.
    """
    shape, train, zero = shape_of(config), config.train, config.deepspeed
    trained, frozen = trained_parameters(config), frozen_bytes(config)
    weights, gradients, optimizer = _bytes_per_weight(config)
    state_shards = processes if zero.zero_stage >= 2 else 1
    weight_shards = processes if zero.zero_stage == 3 else 1
    offloads = zero.offload and on_gpu
    memory = Memory(
        weights=(weights * trained + frozen) / weight_shards / GIB,
        gradients=0.0 if offloads else gradients * trained / state_shards / GIB,
        optimizer=0.0 if offloads else optimizer * trained / state_shards / GIB,
        activations=_activations(shape, train, _computing_type(config), on_gpu) / GIB,
        logits=min(train.micro_batch_tokens * shape.vocabulary, LOGITS_AT_ONCE) * (computing_bytes(train) + 8) / GIB,
        buffers=0.0,
        outside=(CUDA_CONTEXT + NCCL * (processes > 1)) if on_gpu else 0.0,
    )
    resident = 0 if capacity is None else resident_weights(config, processes, capacity)
    held = _buffers(config, processes, resident)
    # ZeRO's update, when activations are freed, makes fp32 gradients for a group of weights.
    update = 0.0
    if zero.zero_stage and not offloads:
        group = trained / state_shards if zero.zero_stage == 2 else min(trained / state_shards, SUB_GROUP)
        update = group * (2 if train.precision == "bf16_pure" else 4)
    beside = (memory.activations + memory.logits) * GIB
    return Memory(**{**vars(memory), "buffers": max(held, update - beside) / GIB})


def trained_parameters(config: Config) -> int:
    """Return the number of weights that training changes: all but those of towers, or those of the adapters."""
    shape, train = shape_of(config), config.train
    if not train.adapts:
        return shape.language_parameters
    assert train.lora_rank is not None
    lengths = 1 if train.lora_variant == "dora" else 0  # a trained length for each output
    return sum(
        round(count * _share_adapted(name, shape, train)) * (train.lora_rank * (m + n) + lengths * n)
        for name, sizes in linear_layers(shape).items()
        for count, m, n in sizes
    )


def _share_adapted(name: str, shape: ShapeConfig, train: TrainConfig) -> float:
    """Return the share of the layers called `name` that have an adapter, with full names as a Llama has them."""
    if name == "experts":
        return float(any("experts" in target for target in train.lora_targets or ()))

    def means(target: str, layer: int) -> bool:
        if LORA_PATTERN.search(target):
            return any(re.fullmatch(target, f"model.layers.{layer}.{part}.{name}") for part in ("self_attn", "mlp"))
        *path, end = target.split(".")
        return end == name and all(int(part) == layer for part in path if part.isdecimal())

    adapted = 0
    for layer in range(shape.layers):
        wanted = train.lora_targets is None or any(means(target, layer) for target in train.lora_targets)
        adapted += wanted and not any(means(target, layer) for target in train.lora_exclude or ())
    return adapted / shape.layers


def frozen_bytes(config: Config) -> float:
    """Return the bytes of the weights that training does not change."""
    shape, train = shape_of(config), config.train
    if not train.adapts:
        return float(_bytes_per_weight(config)[0] * (shape.frozen or 0))
    if train.method == "lora":
        return float(computing_bytes(train) * shape.parameters)
    # Experts are one tensor in transformers 5, and no linear layers: they stay as they are.
    linear = sum(count * m * n for sizes in _outside_experts(linear_layers(shape)).values() for count, m, n in sizes)
    return FOUR_BITS * linear + computing_bytes(train) * (shape.parameters - linear)


def resident_weights(config: Config, processes: int, capacity: float) -> int:
    """Return how many weights ZeRO-3 keeps whole on each GPU of `capacity` GiB; a single process has all anyway."""
    resident, parameters = config.deepspeed.resident_weights, shape_of(config).parameters
    if resident == "none" or config.deepspeed.zero_stage != 3:
        return 0
    if resident == "all" or processes == 1:
        return parameters
    least = training_memory(config, processes, on_gpu=True)
    room = int((COMFORTABLE * capacity - least.total) * GIB / computing_bytes(config.train))
    # If all weights are resident, none is gathered for a while only.
    return parameters if parameters <= room + live_weights(shape_of(config)) else max(0, room)


def live_weights(shape: ShapeConfig) -> int:
    """Return the weights that ZeRO-3 may have gathered at a time: at least two successive layers."""
    return max(MAX_LIVE_PARAMETERS, 2 * layer_parameters(shape))


def layer_parameters(shape: ShapeConfig) -> int:
    """Return the weights of the largest layer; of a Llama, whose layers are equal, rounded up."""
    if shape.layer is not None:
        return shape.layer
    return math.ceil((shape.parameters - shape.vocabulary * shape.hidden) / shape.layers)


def largest_matrix(shape: ShapeConfig) -> int:
    """Return the weights of the largest tensor: the embedding, a matrix of the MLP, or all experts' in one."""
    if shape.largest is not None:
        return shape.largest
    return max(shape.vocabulary * shape.hidden, shape.hidden * shape.intermediate)


def layer_bytes(shape: ShapeConfig, kind: str, *, copies_output: bool = True) -> float:
    """Return the bytes per token that a layer keeps for its backward pass; tests measure what autograd keeps.

    Each of the two norms keeps its input (twice as wide in bf16, since it computes in fp32), the normalised values, and
    its output; attention keeps queries, keys, values and output, of which SDPA makes one more copy (`copies_output`);
    the MLP keeps four values of its width. Under autocast the norms are fp32 throughout, and every matrix gets its own
    bf16 copy. That is a Llama's, to 2 %; what other families keep besides (`shape.kept`) is a rule that was within
    20 % of what Qwen3, OLMo 3, Gemma 3 and three mixtures of experts keep. State-space layers were not measured.
    """
    hidden, queries, keys = shape.hidden, shape.queries, shape.keys
    attention = 2 * queries + 2 * keys + queries * copies_output
    if kind == "fp32":
        return 4.0 * (6 * hidden + attention + 4 * shape.intermediate) + 1.5 * (shape.kept or 0)
    norms = 16 + 10 if kind == "autocast" else 16
    besides = (1.5 if kind == "autocast" else 1) * (shape.kept or 0)
    return norms * hidden + 2.0 * (attention + 4 * shape.intermediate) + besides


def checkpointed_layers(shape: ShapeConfig, train: TrainConfig, on_gpu: bool = True) -> int:
    """Return the number of layers whose activations are recomputed; `auto` on a GPU is planned as `all`."""
    words = {"all": shape.layers, "none": 0, "auto": shape.layers if on_gpu else 0}
    return min(words.get(train.activation_checkpointing, train.activation_checkpointing), shape.layers)


def _activations(shape: ShapeConfig, train: TrainConfig, kind: str, on_gpu: bool) -> float:
    tokens = train.micro_batch_tokens
    checkpointed = checkpointed_layers(shape, train, on_gpu)
    layer = tokens * layer_bytes(shape, kind, copies_output=train.attention in ("sdpa", "eager") or not on_gpu)
    if train.attention == "eager":  # scores over all pairs of tokens, in fp32 and in the computing type
        layer += shape.heads * tokens**2 * (4 + computing_bytes(train))
    if train.adapts:
        layer += tokens * _adapters_bytes(train, shape, kind)
    state = tokens * shape.hidden * (2 if kind == "bf16" else 4)
    kept = max(1, shape.layers - checkpointed)
    return state * checkpointed + layer * kept + _adapted_experts_bytes(train, shape, kept)


def _adapters_bytes(train: TrainConfig, shape: ShapeConfig, kind: str) -> float:
    """Bytes per token in a layer with adapters: dropped-out inputs, their mask, and a byte for casts of autocast."""
    layers = _outside_experts(linear_layers(shape)).values()
    inputs = sum(count * m for sizes in layers for count, m, _ in sizes) / shape.layers
    return inputs * ((5 if train.lora_dropout else 0) + (1 if kind == "bf16" else 0))


def _adapted_experts_bytes(train: TrainConfig, shape: ShapeConfig, kept: int) -> float:
    """Bytes of the weights of experts with their adapters' change: peft adds it to those of all experts in each forward
    pass, and the sum is kept for the backward pass of `kept` layers, which makes a gradient of one tensor at a time."""
    if not train.adapts or not _share_adapted("experts", shape, train):
        return 0.0
    weights = sum(count * m * n for count, m, n in linear_layers(shape).get("experts", []))
    one = min(weights, layer_parameters(shape))
    return computing_bytes(train) * (max(one, weights * kept / shape.layers) + min(one, largest_matrix(shape)))


def linear_layers(shape: ShapeConfig) -> dict[str, list[tuple[int, int, int]]]:
    """Return how many linear layers there are of each name and size, with their input and output features: those of
    `shape.linear`, else a Llama's by transformers' names."""
    if shape.linear:
        return {
            name: list(zip(sizes[::3], sizes[1::3], sizes[2::3], strict=True)) for name, sizes in shape.linear.items()
        }
    hidden, queries, keys, inner = shape.hidden, shape.queries, shape.keys, shape.intermediate
    sizes = {
        "q_proj": (hidden, queries),
        "k_proj": (hidden, keys),
        "v_proj": (hidden, keys),
        "o_proj": (queries, hidden),
        "gate_proj": (hidden, inner),
        "up_proj": (hidden, inner),
        "down_proj": (inner, hidden),
    }
    return {name: [(shape.layers, m, n)] for name, (m, n) in sizes.items()}


def _outside_experts(layers: dict[str, list[tuple[int, int, int]]]) -> dict[str, list[tuple[int, int, int]]]:
    """Return the layers that get an adapter by default, and are quantised."""
    return {name: sizes for name, sizes in layers.items() if name != "experts"}


def _bytes_per_weight(config: Config) -> tuple[float, float, float]:
    """Bytes of a trained weight, its gradient, and its optimizer states.

    Plain torch: `bf16` is autocast over fp32. DeepSpeed keeps a master copy beside the weights in every precision, and
    accumulates gradients in fp32 unless everything is bf16.
    """
    train = config.train
    if config.deepspeed.zero_stage:
        return {"bf16": (2, 4, 12), "bf16_pure": (2, 2, 6), "fp32": (4, 4, 12)}[train.precision]
    size = 2 if train.precision == "bf16_pure" else 4
    return size, size, EIGHT_BIT_MOMENTS if train.optimizer == "adamw_8bit" else 2 * size


def _buffers(config: Config, processes: int, resident: int) -> float:
    """Bytes held during a pass beside states, activations and logits, with `resident` weights resident."""
    shape, stage = shape_of(config), config.deepspeed.zero_stage
    trained, width = trained_parameters(config), computing_bytes(config.train)
    if stage:
        # A bucket and the copy that is reduced; stage 2 fills a second one meanwhile.
        buckets = width * min(BUCKET, trained) * (2 if stage == 3 else 3)
        gathered = min(shape.parameters, resident + live_weights(shape)) if stage == 3 and processes > 1 else 0
        return float(buckets + width * gathered + _dora_bytes(config))
    # Autocast's bf16 weights are kept until the pass ends.
    copies = 2 * trained if _computing_type(config) == "autocast" else 0
    ddp = _bytes_per_weight(config)[1] * trained if processes > 1 else 0  # DDP's buckets are a second gradient
    dequantised = width * largest_matrix(shape) if config.train.method == "qlora" else 0
    return float(copies + ddp + dequantised + _dora_bytes(config))


def _dora_bytes(config: Config) -> float:
    """Bytes that DoRA needs for a moment in its largest layer: the weight, its change and their sum in fp32, and an
    identity matrix of the inputs, from which peft computes the change."""
    if config.train.lora_variant != "dora":
        return 0.0
    sizes = [(m, n) for sizes in linear_layers(shape_of(config)).values() for _, m, n in sizes]
    return 4.0 * max(3 * m * n + m * m for m, n in sizes)


def _computing_type(config: Config) -> str:
    """Return the type a layer computes in: bf16 (frozen weights are already), fp32 or autocast."""
    if config.train.precision == "bf16" and config.deepspeed.zero_stage == 0 and not config.train.adapts:
        return "autocast"
    return "fp32" if config.train.precision == "fp32" else "bf16"


def computing_bytes(train: TrainConfig) -> int:
    """Return the bytes of a number in the computing type."""
    return 4 if train.precision == "fp32" else 2
