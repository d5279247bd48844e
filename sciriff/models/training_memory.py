"""Memory that training needs on each GPU, from the model's shape and the settings alone; loads no framework.

The plan refuses by it what cannot fit, and DeepSpeed's settings are made of the room that it leaves.
"""

import math
from dataclasses import dataclass

from sciriff.config import LOGITS_AT_ONCE, Config, ShapeConfig, TrainConfig

GIB = 2**30

USABLE = 0.95
"""Share of a GPU's memory that a plan may fill; the rest falls between the allocator's blocks."""

COMFORTABLE = 0.85
"""Share that settings which only buy speed may fill."""

CUDA_CONTEXT = 0.6
"""GiB of a process on a GPU outside torch's allocator: the CUDA context and cuBLAS."""

NCCL = 0.6
"""GiB for the channels of NCCL between GPUs, typical of some tens of processes."""

LIVE = 1_000_000_000
"""Weights that ZeRO-3 has gathered and lets stay until they are used again, DeepSpeed's default; see `live_weights`."""

SUB_GROUP = 1_000_000_000
"""Weights that ZeRO-3 updates at a time: DeepSpeed's `sub_group_size`."""

BUCKET = 500_000_000
"""Gradients that DeepSpeed gathers before it adds them up over processes (`reduce_bucket_size`), its default."""

FOUR_BITS = 0.5 + 0.127 / 8
"""Bytes of a weight in NF4 with its doubly quantised constants (Dettmers et al. 2023, arXiv 2305.14314, section 3)."""

EIGHT_BIT_MOMENTS = 2 * (1 + 4 / 256)
"""Bytes of AdamW's two moments of a weight in 8 bits, a scale for each 256 (Dettmers et al. 2022, arXiv 2110.02861)."""


@dataclass(frozen=True)
class Memory:
    """GiB on each GPU when training needs most."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    logits: float
    buffers: float
    """Weights of other processes while they are here, DeepSpeed's and DDP's buckets, copies in another type."""
    outside: float
    """What torch's allocator does not know of: the CUDA context and NCCL."""

    @property
    def allocated(self) -> float:
        """What torch.cuda.max_memory_allocated will say."""
        return self.total - self.outside

    @property
    def total(self) -> float:
        return sum(vars(self).values())


def shape_of(config: Config) -> ShapeConfig:
    """The shape of the model that is trained; one that only its provider has is not."""
    assert config.model.shape is not None, "a model without weights is not trained"
    return config.model.shape


def fits(memory: Memory, capacity: float) -> bool:
    """Whether training runs on GPUs of so many GiB."""
    return memory.total <= USABLE * capacity


def training_memory(config: Config, processes: int, *, on_gpu: bool, capacity: float | None = None) -> Memory:
    """GiB on each process, from the model's shape. With `capacity`, the GiB of a GPU, it counts the weights that ZeRO-3
    keeps because there is room for them; without, it is the least that training can do with.

    The states (ZeRO, Rajbhandari et al. 2020, arXiv 1910.02054): see `_bytes_per_weight`. Activations (the counting of
    Korthikanti et al. 2022, arXiv 2205.05198, done for a Llama layer): see `layer_bytes`; a layer that is computed
    again keeps its input alone, and one layer is always there whole. `auto` is planned as `all`, since it keeps only
    those layers for which there is room. Logits: as many as the loss makes at once, in the computing type, in fp32, and
    their gradient.
    """
    shape, train, zero = shape_of(config), config.train, config.deepspeed
    trained, frozen = trained_parameters(config), frozen_bytes(config)
    weights, gradients, optimizer = _bytes_per_weight(config)
    shared = processes if zero.zero_stage >= 2 else 1
    whole = processes if zero.zero_stage == 3 else 1
    offloads = zero.offload and on_gpu
    memory = Memory(
        weights=(weights * trained + frozen) / whole / GIB,
        gradients=0.0 if offloads else gradients * trained / shared / GIB,
        optimizer=0.0 if offloads else optimizer * trained / shared / GIB,
        activations=_activations(shape, train, _type_of(config), on_gpu) / GIB,
        logits=min(train.micro_batch_tokens * shape.vocabulary, LOGITS_AT_ONCE) * (_width(train) + 8) / GIB,
        buffers=0.0,
        outside=(CUDA_CONTEXT + NCCL * (processes > 1)) if on_gpu else 0.0,
    )
    resident = 0 if capacity is None else resident_weights(config, processes, capacity)
    held = _buffers(config, processes, resident)
    # The update of ZeRO comes when nothing else is held: it makes fp32 gradients of a group of weights.
    update = 0.0
    if zero.zero_stage and not offloads:
        group = trained / shared if zero.zero_stage == 2 else min(trained / shared, SUB_GROUP)
        update = group * (2 if train.precision == "bf16_pure" else 4)
    beside = (memory.activations + memory.logits) * GIB
    return Memory(**{**vars(memory), "buffers": max(held, update - beside) / GIB})


def trained_parameters(config: Config) -> int:
    """Weights that training changes: all, or those of the adapters."""
    shape, train = shape_of(config), config.train
    if not train.adapts:
        return shape.parameters
    assert train.lora_rank is not None
    wanted = _linear_layers(shape) if train.lora_targets is None else train.lora_targets
    sides = [sum(_linear_layers(shape).get(name, (0, 0))) for name in wanted]
    return shape.layers * train.lora_rank * sum(sides)


def frozen_bytes(config: Config) -> float:
    """Bytes of all the weights that training does not change."""
    shape, train = shape_of(config), config.train
    if not train.adapts:
        return 0.0
    if train.method == "lora":
        return float(_width(train) * shape.parameters)
    linear = shape.layers * sum(m * n for m, n in _linear_layers(shape).values())
    return FOUR_BITS * linear + _width(train) * (shape.parameters - linear)


def resident_weights(config: Config, processes: int, capacity: float) -> int:
    """How many weights ZeRO-3 keeps whole on each GPU of `capacity` GiB from one update to the next: as many as there
    is room for once all else is counted, up to all. One process has them all anyway."""
    resident, parameters = config.deepspeed.resident_weights, shape_of(config).parameters
    if resident == "none" or config.deepspeed.zero_stage != 3:
        return 0
    if resident == "all" or processes == 1:
        return parameters
    least = training_memory(config, processes, on_gpu=True)
    room = int((COMFORTABLE * capacity - least.total) * GIB / _width(config.train))
    # Where all are resident, none is live for a while only.
    return parameters if parameters <= room + live_weights(shape_of(config)) else max(0, room)


def live_weights(shape: ShapeConfig) -> int:
    """Weights that ZeRO-3 may have gathered at a time: at least a layer and the one after it."""
    return max(LIVE, 2 * layer_parameters(shape))


def layer_parameters(shape: ShapeConfig) -> int:
    """Weights of one layer, rounded up."""
    return math.ceil((shape.parameters - shape.vocabulary * shape.hidden) / shape.layers)


def largest_matrix(shape: ShapeConfig) -> int:
    """Weights of the largest single tensor: the embedding, or a matrix of the MLP."""
    return max(shape.vocabulary * shape.hidden, shape.hidden * shape.intermediate)


def layer_bytes(shape: ShapeConfig, kind: str, *, copies_output: bool = True) -> float:
    """Bytes of one token in a Llama layer that are kept for its backward pass.

    Counted in words per token, h the hidden width and i that of the MLP: each of the two norms keeps its input, twice
    as wide in bf16 because it computes in fp32, what it has normalised, and its output; attention its queries, keys,
    values and output, of which SDPA makes one more copy (`copies_output`); the MLP four of width i. Under autocast the
    norms are fp32 throughout, and every matrix is given a bf16 copy of its own. What autograd really keeps is a test.
    Kernels that fuse norms and SwiGLU would keep 16 h + 6 i bytes in bf16 instead of 24 h + 8 i; they are not used.
    """
    hidden, queries, keys = shape.hidden, shape.queries, shape.keys
    attention = 2 * queries + 2 * keys + queries * copies_output
    if kind == "fp32":
        return 4.0 * (6 * hidden + attention + 4 * shape.intermediate)
    norms = 16 + 10 if kind == "autocast" else 16
    return norms * hidden + 2.0 * (attention + 4 * shape.intermediate)


def _activations(shape: ShapeConfig, train: TrainConfig, kind: str, on_gpu: bool) -> float:
    tokens = train.micro_batch_tokens
    words = {"all": shape.layers, "none": 0, "auto": shape.layers if on_gpu else 0}
    again = min(words.get(train.activation_checkpointing, train.activation_checkpointing), shape.layers)
    layer = tokens * layer_bytes(shape, kind, copies_output=train.attention in ("sdpa", "eager") or not on_gpu)
    if train.attention == "eager":  # its block mask is over all tokens: scores in fp32, and in the computing type
        layer += shape.heads * tokens**2 * (4 + _width(train))
    if train.adapts:
        layer += tokens * _adapters_bytes(train, shape, kind)
    state = tokens * shape.hidden * (2 if kind == "bf16" else 4)
    return state * again + layer * max(1, shape.layers - again)


def _adapters_bytes(train: TrainConfig, shape: ShapeConfig, kind: str) -> float:
    """Of a token in a layer whose linear layers have adapters: their inputs with some dropped out, and which; a byte
    more for what autocast turns into another type."""
    inputs = sum(m for m, _ in _linear_layers(shape).values())
    return inputs * ((5 if train.lora_dropout else 0) + (1 if kind == "bf16" else 0))


def _linear_layers(shape: ShapeConfig) -> dict[str, tuple[int, int]]:
    """Input and output features of the linear layers of one Llama layer, by transformers' names."""
    hidden, queries, keys, inner = shape.hidden, shape.queries, shape.keys, shape.intermediate
    return {
        "q_proj": (hidden, queries),
        "k_proj": (hidden, keys),
        "v_proj": (hidden, keys),
        "o_proj": (queries, hidden),
        "gate_proj": (hidden, inner),
        "up_proj": (hidden, inner),
        "down_proj": (inner, hidden),
    }


def _bytes_per_weight(config: Config) -> tuple[float, float, float]:
    """Bytes of a trained weight, its gradient, and what the optimizer keeps of it.

    Plain torch: `bf16` is autocast over fp32, the other two are one type throughout. DeepSpeed keeps a master copy
    beside the weights in every precision, and adds gradients up in fp32 unless all is bf16.
    """
    train = config.train
    if config.deepspeed.zero_stage:
        return {"bf16": (2, 4, 12), "bf16_pure": (2, 2, 6), "fp32": (4, 4, 12)}[train.precision]
    size = 2 if train.precision == "bf16_pure" else 4
    return size, size, EIGHT_BIT_MOMENTS if train.optimizer == "adamw_8bit" else 2 * size


def _buffers(config: Config, processes: int, resident: int) -> float:
    """Bytes held during a pass beside states, activations and logits, with so many weights resident."""
    shape, stage = shape_of(config), config.deepspeed.zero_stage
    trained, width = trained_parameters(config), _width(config.train)
    if stage:
        # A bucket and what it is copied into to be added up; stage 2 fills a second one meanwhile.
        buckets = width * min(BUCKET, trained) * (2 if stage == 3 else 3)
        here = min(shape.parameters, resident + live_weights(shape)) if stage == 3 and processes > 1 else 0
        return float(buckets + width * here)
    copies = 2 * trained if _type_of(config) == "autocast" else 0  # autocast's bf16 weights, until the pass ends
    ddp = _bytes_per_weight(config)[1] * trained if processes > 1 else 0  # DDP's buckets are a second gradient
    unpacked = width * largest_matrix(shape) if config.train.method == "qlora" else 0
    return float(copies + ddp + unpacked)


def _type_of(config: Config) -> str:
    """bf16, fp32 or autocast: in what a layer computes. Frozen weights are in bf16, which leaves autocast nothing."""
    if config.train.precision == "bf16" and config.deepspeed.zero_stage == 0 and not config.train.adapts:
        return "autocast"
    return "fp32" if config.train.precision == "fp32" else "bf16"


def _width(train: TrainConfig) -> int:
    """Bytes of a number in the computing type."""
    return 4 if train.precision == "fp32" else 2
