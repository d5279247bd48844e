"""The schema of conf/, one plain dataclass per folder: a misspelt key, a wrong type, an impossible value ends here."""

import difflib
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from sciriff.run_dir import RunDir

PACKAGE = Path(__file__).resolve().parent
SAMPLE = PACKAGE / "sample"

STAGES = ("mix", "train", "predict", "judge", "score", "report")
ADDRESS = re.compile(r"https?://[\w.:\[\]-]+(/[\w./~%-]*)?")
"""Of a server; no user, password or query, since config.yaml is copied into logs and trackers."""
ATTENTIONS = ("auto", "flash_attention_3", "flash_attention_2", "sdpa", "eager")
LOGITS_AT_ONCE = 1 << 25
"""Logits that the training loss makes at a time: 128 MiB in fp32. Of a vocabulary of 32,000 that is 1,048 tokens,
enough to keep a GPU busy; a small model's whole micro-batch is one piece."""
DECIDES_NOTHING = (
    "train.num_processes",
    "train.micro_batch_tokens",
    "train.attention",
    "train.cross_entropy",
    "train.activation_checkpointing",
    "train.checkpoint_every",
    "train.keep_checkpoints",
)
"""Keys that say how a training is done, not what is learnt (beyond rounding): a run may go on with other values."""
CHAT_FORMATS = ("tulu", "llama2", "llama3", "qwen", "general", "tokenizer")
PROVIDERS = ("openai", "local", "anthropic")
"""Who answers over HTTP: OpenAI, any other server that speaks OpenAI's language, Anthropic."""


def conf_dir() -> Path:
    """The folder conf/: beside the package in a checkout, inside it in an installed wheel."""
    checkout = PACKAGE.parent / "conf"
    return checkout if (checkout / "config.yaml").is_file() else PACKAGE / "conf"


def nearest(word: str, names: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the name most like `word`, or the names there are where none is like it."""
    names = sorted(names)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; it is one of {', '.join(names)}"


def _one_of(key: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{key}={value} is not known{nearest(str(value), allowed)}")


def _at_least(key: str, value: float | None, least: float) -> None:
    if value is not None and value < least:
        raise ValueError(f"{key}={value} is too small: it must be {least} or more")


def _number_or(key: str, value: object, least: int, words: tuple[str, ...]) -> None:
    """A field that holds a word or a whole number (OmegaConf cannot merge a union into a section still missing)."""
    if isinstance(value, int) and not isinstance(value, bool):
        _at_least(key, value, least)
    elif value not in words:
        raise ValueError(f"{key}={value} must be {', '.join(words)} or a whole number of {least} or more")


def _above_zero(key: str, value: float | None) -> None:
    if value is not None and value <= 0:
        raise ValueError(f"{key}={value} must be above 0")


@dataclass
class ShapeConfig:
    """The size of a model, from which the plan computes memory and time without a download."""

    layers: int = MISSING
    hidden: int = MISSING
    """Width of the residual stream."""
    intermediate: int = MISSING
    """Width inside the MLP."""
    heads: int = MISSING
    kv_heads: int = MISSING
    """Key and value heads; fewer than `heads` under grouped-query attention."""
    vocabulary: int = MISSING
    """Rows of the embedding matrix."""
    context: int = MISSING
    """Longest sequence that the model was made for, tokens."""
    tied_embeddings: bool = False
    """The output layer shares the embedding matrix."""

    def __post_init__(self) -> None:
        for name in ("layers", "hidden", "intermediate", "heads", "kv_heads", "vocabulary", "context"):
            _at_least(f"model.shape.{name}", getattr(self, name), 1)
        if self.hidden % self.heads:
            raise ValueError(f"model.shape.hidden={self.hidden} is not a multiple of model.shape.heads={self.heads}")
        if self.heads % self.kv_heads:
            raise ValueError(
                f"model.shape.heads={self.heads} is not a multiple of model.shape.kv_heads={self.kv_heads}"
            )

    @property
    def parameters(self) -> int:
        """Weights of a Llama-style model of this shape: q, k, v, o, a gated MLP, two norms a layer, embeddings."""
        width = self.hidden // self.heads
        attention = 2 * self.hidden * self.heads * width + 2 * self.hidden * self.kv_heads * width
        layer = attention + 3 * self.hidden * self.intermediate + 2 * self.hidden
        embeddings = self.vocabulary * self.hidden * (1 if self.tied_embeddings else 2)
        return self.layers * layer + embeddings + self.hidden


@dataclass
class ApiModelConfig:
    """A model whose weights nobody has but its provider."""

    provider: str = MISSING
    """openai or anthropic."""
    name: str = MISSING
    """The provider's own name for it. One with a date stays what it is."""
    context: int = MISSING
    """Tokens that prompt and answer may take together, at the price that is known here."""
    takes_temperature: bool = True
    """Whether a request may say engine.temperature. Models that think refuse it, and answer as their provider likes."""
    thinking_tokens: int = 0
    """Tokens that it may think before it answers, on top of eval.max_new_tokens; they are paid for like an answer."""
    request: dict[str, Any] = field(default_factory=dict)
    """Further keys of every request, in the provider's own words: `+model.api.request.reasoning_effort=low`."""

    def __post_init__(self) -> None:
        _one_of("model.api.provider", self.provider, ("openai", "anthropic"))
        _at_least("model.api.context", self.context, 1)
        _at_least("model.api.thinking_tokens", self.thinking_tokens, 0)


@dataclass
class ModelConfig:
    name: str = MISSING
    """The name in tables and run folders."""
    path: str | None = None
    """A Hugging Face folder or hub id; null builds a Llama of `shape` with random weights from the seed."""
    api: ApiModelConfig | None = None
    """Set where there are no weights, only a provider who answers: then path, tokenizer and shape are null."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    tokenizer: str | None = None
    """Folder or hub id of the tokenizer; null is `path`."""
    chat: str = MISSING
    """Markup of a conversation (chat.py): tulu, llama2, llama3, qwen, general, or the tokenizer's own template. With
    engine=openai, local or anthropic the server gets messages and writes the markup; a model with `api` says server."""
    dtype: str = "bfloat16"
    """Of the saved weights and of generation: bfloat16, float16 or float32."""
    trust_remote_code: bool = False
    """Let a hub repository run its own Python code here. Off unless you turn it on."""
    license: str | None = None
    """Licence of the weights, by the hub's name for it (apache-2.0, llama2), for the card of what is trained from them;
    null is what the README.md of a local folder says, if it says so."""
    shape: ShapeConfig | None = None

    def __post_init__(self) -> None:
        if self.api is not None:
            for name in ("path", "tokenizer", "shape"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"model.{name} has no meaning for model={self.name}, whose weights {self.api.provider} keeps; "
                        "for another model: model=custom model.path=FOLDER_OR_HUB_ID"
                    )
            if self.chat != "server":
                raise ValueError(f"model.chat={self.chat}: {self.api.provider} writes the markup, so it must be server")
            return
        if self.shape is None:
            raise ValueError("model.shape is not set: give model.shape=..., as in conf/model/llama2_7b.yaml")
        _one_of("model.chat", self.chat, CHAT_FORMATS)
        _one_of("model.dtype", self.dtype, ("bfloat16", "float16", "float32"))
        if self.path is None and self.tokenizer is None:
            raise ValueError(
                "model.path is null, so model.tokenizer must name a tokenizer; or give model.path=FOLDER_OR_HUB_ID"
            )

    @property
    def context(self) -> int:
        """Tokens that prompt and answer may take together."""
        if self.api is not None:
            return self.api.context
        assert self.shape is not None, "refused above"
        return self.shape.context

    @property
    def hub_id(self) -> str | None:
        """The model's name on the hub; None for a local folder, whose path is absolute, and for one built here."""
        return None if self.path is None or Path(self.path).is_absolute() else self.path


@dataclass
class SourceConfig:
    """Where rows come from: a local file or folder, or a dataset of the Hugging Face hub."""

    path: str | None = None
    """A local jsonl, jsonl.gz, json or parquet file, or a folder of them. It replaces `hub`."""
    hub: str | None = None
    """Dataset id on the hub; a source with neither `path` nor `hub` does not exist."""
    config: str | None = None
    """Configuration of the hub dataset (for SciRIFF the context length)."""
    split: str = "train"
    revision: str | None = None
    """Branch, tag or commit of the hub dataset; null is the newest there, or without a network the copy made last."""

    @property
    def exists(self) -> bool:
        return self.path is not None or self.hub is not None


@dataclass
class MixSourceConfig(SourceConfig):
    """A source that the recipe of a mix chooses rows from."""

    weight: float = 1.0
    """The source's share of the mix under mix.tulu=match, relative to the other's: with mix.sources.tulu.weight=2 the
    mix takes two general rows for each science row. Only the ratio counts. mix.tulu=all or a number says itself
    how many general rows there are, and refuses a weight."""
    epochs: float = 1.0
    """How often the rows that the mix takes from this source stand in it, once all else (caps, mix.tulu, weights) has
    been decided by counting each of them once. 2 has each row twice, under the same id, at two places of the order. Of
    a part of an epoch the first rows that the cap takes are there: 0.5 has half of each science task, or of the general
    rows, rounded; those of a smaller part are among those of a larger."""
    license: str | None = None
    """What the card says of these rows' licence; null is what is known of the hub's datasets."""


@dataclass
class SourcesConfig:
    sciriff: MixSourceConfig = field(default_factory=MixSourceConfig)
    """Science: rows `input`, `output`, `metadata`, `_instance_id`."""
    tulu: MixSourceConfig = field(default_factory=MixSourceConfig)
    """General: rows `dataset`, `id`, `messages`."""
    published: SourceConfig = field(default_factory=SourceConfig)
    """A finished mix (rows `dataset`, `id`, `messages`), taken whole in its own order."""


@dataclass
class MixConfig:
    name: str = MISSING
    sources: SourcesConfig = field(default_factory=SourcesConfig)
    per_task: int | None = 1000
    """Rows of each science task at most; null takes all, 0 none."""
    tulu: Any = "match"
    """General rows: none, match (as many as science rows), all, or a number."""
    tasks: list[str] | None = None
    """Science tasks that enter, such as genia_ner; null is all. A row must pass this and the next two."""
    families: list[str] | None = None
    """Task families that enter, such as ie.named_entity_recognition (a row's `metadata.task_family`); null is all."""
    domains: list[str] | None = None
    """Domains that enter, such as biomedicine: one of a row's `metadata.domains` must be among them; null is all."""
    include_heldout: bool = False
    """Let the training rows of the nine held-out tasks in."""
    context_window: int | None = 4096
    """Rows longer than this less 20 tokens, by the model's tokenizer and markup, are left out; null keeps all."""
    truncate: str = "drop"
    """What becomes of a row longer than that: drop, or turns (it keeps the first turns that fit whole, up to the end of
    an answer, and is left out where the first answer does not fit). No answer is ever cut."""
    take: str = "sample"
    """Which rows a cap keeps: a seeded sample, or the first of each task, as the published mix did."""
    on_bad_row: str = "error"
    """A row that cannot be used stops the build (error), or is left out and counted (drop)."""
    overlap: str = "report"
    """Rows that hold text of the evaluation prompts (the whole prompt, or the document in it), by whatever way it came
    there: report lists them in the card, drop leaves them out before the caps are filled, none does not look. The
    prompts are those of all held-out tasks at `eval.path` or `eval.source`. Where these cannot be read, drop and a run
    that is to answer them stop; a run that only trains says that its rows were not checked, and so does its card."""
    validation_rows: int = 0
    """Rows to watch training with: so many science rows, and as many general ones, where the source of these is given,
    also if the mix itself takes none of it. They are drawn from what the caps leave, each task in turn, and where that
    is not enough from the source's own validation split. None is of a held-out task, begins like a training row,
    asks about a document of one or, unless mix.overlap=none, holds text of the evaluation prompts. A hub dataset that
    is wanted for these rows alone may be out of reach, which the card then says."""
    seed: int = 76
    """Of the mix alone, so that a sweep over `seed` shares one mix."""
    path: str | None = None
    """A finished mix (jsonl of `dataset`, `id`, `messages`) to use as it is: it replaces the sources and the recipe,
    and so leaves no rows for validation_rows."""

    def __post_init__(self) -> None:
        _at_least("mix.per_task", self.per_task, 0)
        _at_least("mix.context_window", self.context_window, 32)
        _number_or("mix.tulu", self.tulu, 0, ("none", "match", "all"))
        _one_of("mix.truncate", self.truncate, ("drop", "turns"))
        _one_of("mix.take", self.take, ("sample", "first"))
        _one_of("mix.on_bad_row", self.on_bad_row, ("error", "drop"))
        _one_of("mix.overlap", self.overlap, ("report", "drop", "none"))
        _at_least("mix.validation_rows", self.validation_rows, 0)
        for name in ("tasks", "families", "domains"):
            if getattr(self, name) == []:
                raise ValueError(f"mix.{name}=[] lets no science row in; say mix.per_task=0, or null for all")
        for name in ("sciriff", "tulu"):
            source: MixSourceConfig = getattr(self.sources, name)
            for key in ("weight", "epochs"):
                value = getattr(source, key)
                if not 0 < value < math.inf:
                    raise ValueError(f"mix.sources.{name}.{key}={value} must be a number above 0")
            if source.weight != 1 and self.tulu not in ("match", "none"):
                raise ValueError(
                    f"mix.sources.{name}.weight={source.weight} is a share under mix.tulu=match, and mix.tulu is "
                    f"{self.tulu}: leave the weight out, or match"
                )
        if self.sources.published.exists and self.path is None:
            self._refuse_a_recipe()

    def _refuse_a_recipe(self) -> None:
        """The rows of a published mix are taken whole, so settings that choose among them say what cannot be done."""
        for name in ("tasks", "families", "domains", "validation_rows"):
            if value := getattr(self, name):
                raise ValueError(
                    f"mix.{name}={value} cannot be had of mix.sources.published, a finished mix that is taken whole; "
                    "choose a mix that is built of sources (mix=scitulu), or leave it out"
                )

    @property
    def has_source(self) -> bool:
        return self.sources.sciriff.exists or self.sources.tulu.exists or self.sources.published.exists


@dataclass
class TrainConfig:
    method: str = MISSING
    """full (all weights), lora (a small adapter beside each linear layer, the model's own weights frozen), qlora (the
    same over weights that are kept in four bits), or none: evaluate the model as it is."""
    lora_rank: int | None = None
    """Rank of the adapters: one of a layer from m to n features has lora_rank * (m + n) weights. This and the other
    three are for lora and qlora alone."""
    lora_alpha: float | None = None
    """What an adapter gives is multiplied with lora_alpha / lora_rank."""
    lora_dropout: float | None = None
    """Share of an adapter's inputs that are dropped in training. Above 0 the losses depend on how rows are packed."""
    lora_targets: list[str] | None = None
    """Names of the layers that get an adapter, such as [q_proj, v_proj]; null is every linear layer but the head."""
    num_processes: Any = "auto"
    """Training processes on this machine; auto is one per GPU, or one without a GPU."""
    epochs: int = 2
    max_steps: int | None = None
    """End after so many optimizer steps, whatever `epochs` says; the learning rate is planned for that end."""
    learning_rate: float = 2e-5
    """Its peak, after warm-up."""
    schedule: str = "linear"
    """After warm-up: linear (to 0), cosine (to 0) or constant."""
    warmup_ratio: float = 0.03
    """Share of all steps in which the learning rate rises."""
    weight_decay: float = 0.0
    optimizer: str = "adamw"
    """adamw, or adamw_8bit: its two moments in 8 bits (bitsandbytes), a quarter of the memory, without DeepSpeed."""
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    max_grad_norm: float = 1.0
    """Clip the norm of the whole gradient; set on every path, since DeepSpeed and torch have different defaults."""
    global_batch_size: int = 128
    """Sequences per optimizer step, over all processes and micro-batches."""
    micro_batch_tokens: int = 8192
    """Tokens that one process takes through the model at a time, at most. Whole sequences are packed together, none of
    which sees another; memory depends on it, and not what is learnt."""
    max_length: int = 4096
    """Longest sequence, tokens. Rows that are longer are left out of training and counted."""
    precision: str = "bf16"
    """bf16 (fp32 master weights), bf16_pure (weights and optimizer in bf16 too) or fp32."""
    attention: str = "auto"
    """flash_attention_3 (Hopper), flash_attention_2, sdpa, eager, or auto: the first of them that is installed and
    works on this device in this precision. sdpa works everywhere; eager is slow, for families that need it."""
    cross_entropy: str = "auto"
    """liger (a kernel for GPUs, from liger-kernel), chunked (plain torch), or auto: liger where it works. Neither makes
    the logits of all tokens at once."""
    activation_checkpointing: Any = "all"
    """Layers that are computed again in the backward pass, to save memory: all, none, so many of the first ones, or
    auto: as few as fit, measured on the GPU with the largest micro-batch. Without a GPU auto is none."""
    checkpoint_every: int | None = 200
    """Optimizer steps between resumable checkpoints; null writes none except when asked to stop."""
    keep_checkpoints: bool = False
    """Keep the last checkpoint after training has finished."""
    eval_every: int | None = None
    """Optimizer steps between measurements of the loss on the mix's validation rows (`mix.validation_rows`), science
    and general ones apart; also before the first step and after the last. Null measures none. It changes nothing of
    what is learnt, and costs a third of training on as many tokens."""
    keep: str = "last"
    """Which model is written in the end: last, or best, that of the measurement with the lowest science loss (general,
    where there are no science rows). A checkpoint of the best so far is kept besides the newest."""

    def __post_init__(self) -> None:
        _one_of("train.method", self.method, ("full", "lora", "qlora", "none"))
        self._check_lora()
        if self.method == "none":
            return
        _number_or("train.num_processes", self.num_processes, 1, ("auto",))
        for name in (
            "epochs",
            "max_steps",
            "global_batch_size",
            "micro_batch_tokens",
            "max_length",
            "checkpoint_every",
            "eval_every",
        ):
            _at_least(f"train.{name}", getattr(self, name), 1)
        for name in ("learning_rate", "max_grad_norm", "adam_epsilon"):
            _above_zero(f"train.{name}", getattr(self, name))
        for name in ("warmup_ratio", "adam_beta1", "adam_beta2"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ValueError(f"train.{name}={value} must be at least 0 and below 1")
        _at_least("train.weight_decay", self.weight_decay, 0)
        _one_of("train.optimizer", self.optimizer, ("adamw", "adamw_8bit"))
        _one_of("train.schedule", self.schedule, ("linear", "cosine", "constant"))
        _one_of("train.precision", self.precision, ("bf16", "bf16_pure", "fp32"))
        _one_of("train.attention", self.attention, ATTENTIONS)
        _one_of("train.keep", self.keep, ("last", "best"))
        if self.keep == "best" and self.eval_every is None:
            raise ValueError("train.keep=best needs train.eval_every=STEPS, and it is null: nothing would be measured")
        _one_of("train.cross_entropy", self.cross_entropy, ("auto", "liger", "chunked"))
        _number_or("train.activation_checkpointing", self.activation_checkpointing, 0, ("all", "none", "auto"))
        if self.max_length > self.micro_batch_tokens:
            raise ValueError(
                f"train.max_length={self.max_length} does not fit train.micro_batch_tokens={self.micro_batch_tokens}: "
                "a micro-batch must hold the longest sequence"
            )

    @property
    def adapts(self) -> bool:
        """Whether adapters are trained beside the model's own weights, which stay as they are."""
        return self.method in ("lora", "qlora")

    def _check_lora(self) -> None:
        for name in ("lora_rank", "lora_alpha", "lora_dropout", "lora_targets"):
            value = getattr(self, name)
            if not self.adapts and value is not None:
                raise ValueError(f"train.{name}={value} is of train=lora and train=qlora, and this is {self.method}")
            if self.adapts and value is None and name != "lora_targets":
                raise ValueError(f"train.method={self.method} needs train.{name}; train={self.method} has one")
        if not self.adapts:
            return
        _at_least("train.lora_rank", self.lora_rank, 1)
        _above_zero("train.lora_alpha", self.lora_alpha)
        if not 0 <= (self.lora_dropout or 0.0) < 1:
            raise ValueError(f"train.lora_dropout={self.lora_dropout} must be at least 0 and below 1")
        if self.lora_targets == []:
            raise ValueError("train.lora_targets=[] gives no layer an adapter; null is every linear layer but the head")


@dataclass
class DeepspeedConfig:
    zero_stage: int = MISSING
    """0 trains without DeepSpeed; 2 shares gradients and optimizer states among the processes, 3 the weights too."""
    offload: bool = False
    """Keep the optimizer's states in the machine's memory; several times slower, so only where they do not fit."""
    resident_weights: str = "auto"
    """zero3: weights that stay whole on every GPU between passes instead of being gathered for each layer anew: auto
    (as many as fit, by the plan), all, or none."""
    whole_layers: bool = True
    """zero3: fetch the weights of a layer in one piece and add its gradients up together, not matrix by matrix; where
    all weights are trained."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Any other key of DeepSpeed's JSON, merged over ours; `+deepspeed.extra.zero_optimization.overlap_comm=false`."""

    def __post_init__(self) -> None:
        if self.zero_stage not in (0, 2, 3):
            raise ValueError(f"deepspeed.zero_stage={self.zero_stage} is not known; it is one of 0, 2, 3")
        if self.offload and self.zero_stage == 0:
            raise ValueError("deepspeed.offload=true needs DeepSpeed: deepspeed=zero3_offload")
        _one_of("deepspeed.resident_weights", self.resident_weights, ("auto", "all", "none"))


@dataclass
class ServerConfig:
    """How a model behind a server is reached, how fast, and what it may cost."""

    base_url: str | None = None
    """Up to and including the version: https://api.openai.com/v1."""
    api_key_env: str | None = None
    """Environment variable that holds the key; null sends none. The key itself is written nowhere."""
    temperature: float | None = None
    """Null is the server's own."""
    batch: bool = False
    """Send all calls through the provider's batch interface: half the price, up to a day."""
    max_usd: float | None = None
    """US dollars that the stage may cost in all, earlier starts included; null sets no bound. Where the model's price
    is not known it must be null, or the two prices below be given. A call that times out counts at the most it can
    cost."""
    input_usd: float | None = None
    """US dollars per million tokens of prompts; null looks the model up in the list of known prices."""
    output_usd: float | None = None
    """The same for responses."""
    max_concurrency: int = 8
    """Calls under way at once."""
    requests_per_minute: float | None = None
    """Calls a minute at most, evenly spread; null sets no bound, and waits only when the server says so."""
    tokens_per_minute: float | None = None
    """The same for tokens: a call counts with its prompt, by estimate, and the longest answer it may bring."""
    timeout: float = 120
    """Seconds for one call."""
    attempts: int = 8
    """How often a call is made before it counts as failed."""
    poll_seconds: float = 60
    """Seconds between looks at a batch."""

    def check(self, section: str, chosen: str) -> None:
        """ValueError for what cannot be. `section` is judge or engine, `chosen` its option."""
        if not self.base_url:
            raise ValueError(f"{section}={chosen} needs {section}.base_url=...")
        if not ADDRESS.fullmatch(self.base_url):
            raise ValueError(f"{section}.base_url must be http(s)://HOST[:PORT]/v1, with no password or key in it")
        if self.api_key_env is not None and not self.api_key_env.isidentifier():
            raise ValueError(f"{section}.api_key_env must be the name of an environment variable, not the key itself")
        if (self.input_usd is None) != (self.output_usd is None):
            raise ValueError(f"{section}.input_usd and {section}.output_usd must be given together")
        for name in ("max_concurrency", "attempts"):
            _at_least(f"{section}.{name}", getattr(self, name), 1)
        for name in ("temperature", "max_usd", "input_usd", "output_usd"):
            _at_least(f"{section}.{name}", getattr(self, name), 0)
        for name in ("requests_per_minute", "tokens_per_minute", "timeout", "poll_seconds"):
            _above_zero(f"{section}.{name}", getattr(self, name))


HOW_TO_ASK = tuple(known.name for known in fields(ServerConfig) if known.name != "temperature")
"""Keys of a server that say where, how fast and at what price it is asked, and change no answer."""


@dataclass
class EngineConfig(ServerConfig):
    name: str = MISSING
    """vllm or transformers, which run the model here; openai, anthropic, or local (any server that speaks OpenAI's
    language), which ask for its answers."""
    batch_tokens: int = 16384
    """transformers: prompt and answer tokens, padding included, that are in one batch at most."""
    tensor_parallel: int = 1
    """vllm: GPUs that share one copy of the model."""
    replicas: Any = "auto"
    """vllm, transformers: engines side by side, each with a copy of the model on engine.tensor_parallel GPUs of its
    own; they share the prompts. auto: as many as the GPUs give, one without a GPU."""
    memory_fraction: float = 0.9
    """vllm: share of each GPU's memory that it may take."""
    batch_invariant: bool = False
    """vllm: only kernels whose results do not depend on what else is computed at the time (VLLM_BATCH_INVARIANT), so
    that a prompt has the same answer in every run, whatever was resumed or shared out. Slower, and for NVIDIA GPUs of
    compute capability 8.0 or more alone (9.0 in older versions of vLLM)."""
    extra: dict[str, Any] = field(default_factory=dict)
    """vllm: any other of its engine arguments, merged over ours; `+engine.extra.max_num_seqs=64`."""
    python: str | None = None
    """Interpreter for the prediction stage; vLLM pins its torch, so it often lives in an environment of its own."""
    model: str | None = None
    """The server's name for the model; null is model.api.name, or else model.path, which is what `vllm serve` takes."""
    temperature: float | None = 0.0
    """Of a server; null is its own. Engines that run here are greedy."""
    timeout: float = 600
    """Seconds for one call. Longer than a judge's: an answer that is given up on may be paid for, and then again."""

    def __post_init__(self) -> None:
        _one_of("engine.name", self.name, ("vllm", "transformers", *PROVIDERS))
        _at_least("engine.batch_tokens", self.batch_tokens, 1)
        _at_least("engine.tensor_parallel", self.tensor_parallel, 1)
        _number_or("engine.replicas", self.replicas, 1, ("auto",))
        if not 0 < self.memory_fraction <= 1:
            raise ValueError(f"engine.memory_fraction={self.memory_fraction} must be above 0 and at most 1")
        if self.asks:
            self.check("engine", self.name)
            if self.python is not None:
                raise ValueError(f"engine.python has no meaning for engine={self.name}, which runs no model here")
        elif self.temperature:
            raise ValueError(f"engine.temperature={self.temperature:g} is not for engine={self.name}, which is greedy")
        for key, value in (("tensor_parallel", self.tensor_parallel > 1), ("batch_invariant", self.batch_invariant)):
            if value and self.name != "vllm":
                raise ValueError(f"engine.{key}={getattr(self, key)} needs engine=vllm, and this is {self.name}")

    @property
    def asks(self) -> bool:
        """Whether a server is asked."""
        return self.name in PROVIDERS


@dataclass
class EvalConfig:
    tasks: list[str] | None = None
    """Held-out tasks to answer; null is all nine."""
    path: str | None = None
    """Local instances in SciRIFF's row format (a file, or a folder); they replace the hub's."""
    source: SourceConfig = field(default_factory=SourceConfig)
    split: str = "validation"
    """Split of the hub dataset; of a local folder, the files whose name begins with it."""
    limit: int | None = None
    """Instances of each task at most: a seeded choice."""
    model: str | None = None
    """Answer with this folder or hub id instead of the run's own model."""
    parity: str = "none"
    """reference: score as the original code does, its traps included, so that numbers can be set beside its own."""
    resamples: int = 10_000
    """Bootstrap samples behind the 95 % intervals of the scores; 0 leaves the intervals out."""
    truncation: str = "middle_of_document"
    """What happens to a prompt that is too long: middle_of_document, left, error or skip."""
    max_new_tokens: int = 1024
    """Longest answer, tokens."""
    max_new_tokens_of: dict[str, int] = field(default_factory=dict)
    """The same for single tasks, where it is another: `+eval.max_new_tokens_of.biored_ner=2048`."""

    def __post_init__(self) -> None:
        _at_least("eval.limit", self.limit, 1)
        _at_least("eval.max_new_tokens", self.max_new_tokens, 1)
        for task, limit in self.max_new_tokens_of.items():
            _at_least(f"eval.max_new_tokens_of.{task}", limit, 1)
        _at_least("eval.resamples", self.resamples, 0)
        _one_of("eval.parity", self.parity, ("none", "reference"))
        _one_of("eval.truncation", self.truncation, ("middle_of_document", "left", "error", "skip"))

    def longest_answer(self, task: str) -> int:
        """Tokens that an answer to this task may have."""
        return self.max_new_tokens_of.get(task, self.max_new_tokens)


@dataclass
class JudgeConfig(ServerConfig):
    provider: str = MISSING
    """openai, anthropic, local (any server that speaks OpenAI's language), recorded (responses that were saved before),
    or none: the two columns that need a judge stay missing, and say so."""
    model: str | None = None
    """The judge, by the server's name for it. Its answers are kept under this name and the prompt, never paid twice."""
    max_tokens: int = 512
    """Longest response, tokens."""
    path: str | None = None
    """recorded: a folder with `<task>/lm_judge_raw.json`, as the original code's batches leave them."""

    def __post_init__(self) -> None:
        _one_of("judge.provider", self.provider, ("none", "recorded", *PROVIDERS))
        if not self.asks:
            return
        if not self.model:
            raise ValueError(f"judge={self.provider} needs judge.model=...")
        self.check("judge", self.provider)
        _at_least("judge.max_tokens", self.max_tokens, 1)

    @property
    def asks(self) -> bool:
        """Whether a server is asked."""
        return self.provider in PROVIDERS


@dataclass
class LogConfig:
    tracker: str = MISSING
    """none, wandb or tensorboard."""
    mode: str = "offline"
    """wandb: offline (send it later with `wandb sync`) or online (needs an account)."""
    project: str = "sciriff"
    entity: str | None = None
    group: str | None = None
    """Null is none, or in a sweep the sweep's name."""
    tags: list[str] = field(default_factory=list)
    """None are model, mix and method."""

    def __post_init__(self) -> None:
        _one_of("log.tracker", self.tracker, ("none", "wandb", "tensorboard"))
        _one_of("log.mode", self.mode, ("offline", "online"))


@dataclass
class ReportConfig:
    beside: list[str] = field(default_factory=list)
    """Run folders whose scores are shown beside this run's."""
    untrained: bool = False
    """Show the model as it was before training, too: in a run of its own, `train=none` with the same model and
    evaluation, which is made first where it is not there and shared by all runs that it belongs to."""
    predictions_per_task: int | None = None
    """How many predictions of each task the page holds, evenly spaced over its file; null for all. SciRIFF's 4,177 make
    a page of some 7 MB."""
    figures: bool = False
    """Draw the scores, the training and the mix for papers too, as PNG and PDF in figures/ (needs sciriff[figures])."""

    def __post_init__(self) -> None:
        _at_least("report.predictions_per_task", self.predictions_per_task, 0)


@dataclass
class PlanConfig:
    gpu: str | None = None
    """Plan for this GPU (a100_40gb, a100_80gb, h100, h200, ...) instead of what this machine has."""
    gpus: int | None = None
    """GPUs per node to plan for."""
    nodes: int = 1
    usd_per_gpu_hour: float | None = None
    """US dollars for an hour of one GPU; null is a typical price of its kind, where one is known (plan/speed.py)."""

    def __post_init__(self) -> None:
        _at_least("plan.usd_per_gpu_hour", self.usd_per_gpu_hour, 0)
        _at_least("plan.gpus", self.gpus, 1)
        _at_least("plan.nodes", self.nodes, 1)


@dataclass
class Config:
    """Everything that a run depends on; what `python -m sciriff.train --cfg job` prints."""

    model: ModelConfig = MISSING
    mix: MixConfig = MISSING
    train: TrainConfig = MISSING
    deepspeed: DeepspeedConfig = MISSING
    engine: EngineConfig = MISSING
    eval: EvalConfig = MISSING
    judge: JudgeConfig = MISSING
    log: LogConfig = MISSING
    report: ReportConfig = field(default_factory=ReportConfig)
    plan: PlanConfig = field(default_factory=PlanConfig)

    name: str | None = None
    """Name of the run; null makes it from the choices and overrides that were typed."""
    stages: list[str] = field(default_factory=lambda: list(STAGES))
    """Which stages to run, of mix, train, predict, judge, score, report."""
    run_dir: str = "runs/${name}"
    cache_dir: str = MISSING
    """Where mixes and their tokens are kept and shared by all runs."""
    seed: int = 42
    """Drives the order of training, initial weights and sampling."""
    dry_run: bool = False
    """Print the plan and stop."""
    predictions: str | None = None
    """Score the predictions of this folder instead of generating any."""
    allow_missing: bool = False
    """Score what is there when instances are missing, and say so."""

    def __post_init__(self) -> None:
        for stage in self.stages:
            _one_of("stages", stage, STAGES)
        if not self.stages:
            raise ValueError(f"stages=[] runs nothing; name some of {', '.join(STAGES)}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed={self.seed} must be at least 0 and below 2**32")
        if self.name is not None and ("/" in self.name or self.name in ("", ".", "..")):
            raise ValueError(f"name={self.name!r} must be a plain folder name")
        if "train" in self.active_stages and not self.mix.path and not self.mix.has_source:
            raise ValueError("mix has no source: give mix.sources.sciriff.path=FOLDER, or choose a mix")
        if "train" in self.active_stages and self.deepspeed.zero_stage:
            self._refuse_with_deepspeed()
        if "train" in self.active_stages and self.train.keep == "best":
            self._refuse_a_choice_without_rows()
        if self.model.api is not None:
            self._check_api_model(self.model.api)
        elif "predict" in self.active_stages and self.engine.name == "anthropic":
            raise ValueError(f"engine=anthropic has no model={self.model.name}; its models are model=claude_...")
        if {"train", "predict"} <= set(self.active_stages) and self.engine.asks:
            raise ValueError(
                f"engine={self.engine.name} asks a server, and none has the model that this run trains: choose "
                "engine=vllm; or train first, serve the run's model, and then run stages=[predict,score,report]"
            )
        ways = self.engine.tensor_parallel
        heads = self.model.shape.heads if self.model.shape is not None else ways
        if "predict" in self.active_stages and heads % ways:
            raise ValueError(
                f"engine.tensor_parallel={ways} does not divide model.shape.heads={heads}, the attention heads of the "
                "model"
            )

    def _check_api_model(self, api: ApiModelConfig) -> None:
        """ValueError for what cannot be done with a model that only its provider has."""
        model = self.model.name
        if self.train.method != "none":
            raise ValueError(f"model={model} cannot be trained here, for {api.provider} keeps its weights: train=none")
        if self.eval.model is not None:
            raise ValueError(f"eval.model names weights, and model={model} is one that {api.provider} answers for")
        if "predict" not in self.active_stages:
            return
        if self.engine.name not in (api.provider, "local"):
            raise ValueError(f"model={model} answers over {api.provider}'s API: engine={api.provider}")
        if not api.takes_temperature and self.engine.temperature:
            raise ValueError(f"engine.temperature={self.engine.temperature:g}: model={model} takes no temperature")

    def _refuse_with_deepspeed(self) -> None:
        stage = f"deepspeed.zero_stage={self.deepspeed.zero_stage}"
        if self.train.method == "qlora":
            raise ValueError(
                f"train=qlora does not go with {stage}, which cannot share out four-bit weights: choose "
                "deepspeed=none, where each GPU has a whole copy, or train=lora"
            )
        if self.train.optimizer != "adamw":
            raise ValueError(
                f"train.optimizer={self.train.optimizer} does not go with {stage}, which shares out AdamW's states "
                "itself: leave train.optimizer out, or choose deepspeed=none"
            )

    def _refuse_a_choice_without_rows(self) -> None:
        if self.mix.path is not None:
            raise ValueError(f"train.keep=best needs validation rows, and mix.path={self.mix.path} brings none")
        if not self.mix.validation_rows:
            raise ValueError(
                "train.keep=best chooses by the loss on validation rows, and mix.validation_rows=0 draws none"
            )

    @property
    def active_stages(self) -> list[str]:
        """The chosen stages in their order, without those that other choices leave out."""
        left_out: set[str] = set()
        if self.train.method == "none":
            left_out |= {"mix", "train"}
        if self.judge.provider == "none":
            left_out.add("judge")
        if self.predictions is not None:
            left_out |= {"mix", "train", "predict"}
        return [stage for stage in STAGES if stage in self.stages and stage not in left_out]

    @property
    def answering_model(self) -> ModelConfig:
        """Whose answers are scored: `eval.model`, else the model that this run trains, else `model` as it is. Under
        eval.parity=reference it computes in float16, as the original code has vLLM do."""
        model = replace(self.model, dtype="float16") if self.eval.parity == "reference" else self.model
        if self.eval.model is not None:
            return replace(model, path=self.eval.model, tokenizer=None, revision=None)
        if self.train.method != "none":
            return replace(model, path=str(RunDir(Path(self.run_dir)).model), tokenizer=None, revision=None)
        return model


def known_keys(kind: type = Config, prefix: str = "") -> Iterator[str]:
    """Every key of the schema, `train.learning_rate` and the like."""
    hints = get_type_hints(kind)
    for known in fields(kind):
        yield prefix + known.name
        for inner in (hints[known.name], *get_args(hints[known.name])):  # of an optional section, too
            if is_dataclass(inner) and isinstance(inner, type):
                yield from known_keys(inner, f"{prefix}{known.name}.")


def from_container(values: DictConfig) -> Config:
    """The checked config of composed values. ValueError says which key is unknown, unset or wrong."""
    try:
        plain = OmegaConf.to_container(values, resolve=True, throw_on_missing=True)
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), plain))
    except MissingMandatoryValue as error:
        raise ValueError(f"{error.full_key} is not set: give {error.full_key}=...") from None
    except ConfigKeyError as error:
        unknown = str(error.full_key)
        raise ValueError(f"{unknown} is not a key of the config{nearest(unknown, known_keys())}") from None
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None)
        raise ValueError(f"{key + ': ' if key else ''}{str(error).splitlines()[0]}") from None
    assert isinstance(config, Config)
    return config


def load(path: Path) -> Config:
    """The config that was frozen into a run folder."""
    if not path.is_file():
        raise ValueError(f"{path}: there is no run here; `python -m sciriff.train` makes one")
    values = OmegaConf.load(path)
    assert isinstance(values, DictConfig)
    return from_container(values)


def to_yaml(config: Config) -> str:
    """The text of config.yaml."""
    return OmegaConf.to_yaml(OmegaConf.structured(config), resolve=True)


def as_dict(part: Any) -> Any:
    """Plain containers of a config or a part of it, for digests and logs."""
    return OmegaConf.to_container(OmegaConf.structured(part), resolve=True)
