"""model: whose weights, or whose answers."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from sciriff.config.roles import setting
from sciriff.run.user_error import UserError

CHAT_FORMATS = ("tulu", "llama2", "llama3", "qwen", "general", "tokenizer")

SIZES = ("layers", "hidden", "intermediate", "heads", "kv_heads", "vocabulary", "context")
"""Keys of a shape that have no default."""
CHAT_DATE = "2024-07-26"
"""The day that templates see as today unless model.chat_date names another: the one that Llama 3.1's has built in."""

_NOT_ARGUMENTS = (
    *("messages", "tools", "documents", "add_generation_prompt", "continue_final_message", "conversation", "tokenize"),
    *("chat_template", "padding", "truncation", "max_length", "return_tensors", "return_dict", "tokenizer_kwargs"),
    *("return_assistant_tokens_mask", "sanitize_control_tokens", "raise_exception", "namespace", "strftime_now"),
    *("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"),
)
"""What a template or its caller has already."""


@dataclass(frozen=True)
class ChatSettings:
    """What a tokenizer's chat template is told besides the messages."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Its variables, such as enable_thinking, with plain values."""
    date: str = CHAT_DATE
    """The day, in ISO form, that it sees as today."""


def shares_heads(heads: int, kv_heads: int, ways: int) -> bool:
    """Whether vLLM can share heads among `ways` GPUs: query heads are split, key and value heads split or repeated."""
    return heads % ways == 0 and (kv_heads % ways == 0 or ways % kv_heads == 0)


@dataclass
class ShapeConfig:
    """The size of a model, from which the plan computes memory and time without a download.

    The keys down to `head_width` describe a Llama. The others are what a Llama's formula cannot say of other families;
    they are null where it does, and seldom typed: `model.shape=null` reads all of them.
    """

    layers: int = setting(MISSING, least=1)
    hidden: int = setting(MISSING, least=1)
    """Width of the residual stream."""
    intermediate: int = setting(MISSING, least=1)
    """Width inside the MLP; in a mixture of experts the widths of all experts that one token goes through, summed."""
    heads: int = setting(MISSING, least=1)
    kv_heads: int = setting(MISSING, least=1)
    """Key and value heads; fewer than `heads` under grouped-query attention."""
    vocabulary: int = setting(MISSING, least=1)
    """Rows of the embedding matrix."""
    context: int = setting(MISSING, least=1)
    """Longest sequence that the model was made for, tokens."""
    tied_embeddings: bool = False
    """The output layer shares the embedding matrix."""
    head_width: int | None = setting(None, least=1)
    """Width of one attention head; null is hidden / heads. Gemma and Qwen3 have another (`head_dim` in config.json)."""
    total: int | None = setting(None, least=1, unwritten_if_empty=True)
    """All weights; null is those of a Llama of this shape."""
    active: int | None = setting(None, least=1, unwritten_if_empty=True)
    """Weights that one token goes through, embeddings included; fewer than all in a mixture of experts and beside a
    tower. Null is all."""
    frozen: int | None = setting(None, least=0, unwritten_if_empty=True)
    """Weights of a vision or audio tower, which gets no input here and is not trained; null is none."""
    without_attention: int | None = setting(None, least=0, unwritten_if_empty=True)
    """Layers of another kind, such as state-space layers of hybrids, which keep no keys and values; null is none."""
    layer: int | None = setting(None, least=1, unwritten_if_empty=True)
    """Weights of the largest layer."""
    largest: int | None = setting(None, least=1, unwritten_if_empty=True)
    """Weights of the largest tensor."""
    kept: int | None = setting(None, least=0, unwritten_if_empty=True)
    """Bytes of each token that a layer keeps in bf16 for its backward pass besides those of a Llama: further norms, and
    what goes into each expert and comes out. Null is none."""
    linear: dict[str, list[int]] = setting(factory=dict, unwritten_if_empty=True)
    """Name of a linear layer, such as in_proj -> how many there are, their inputs and outputs, three numbers for each
    size; `experts` are the matrices of all experts. Routers and the output layer are left out. Empty is a Llama's."""
    read_from: str | None = setting(None, unwritten_if_empty=True)
    """Digest of the config.json that these numbers were read from; null where they were typed."""

    def __post_init__(self) -> None:
        for name, sizes in self.linear.items():
            if not sizes or len(sizes) % 3 or min(sizes) < 1:
                raise UserError(
                    f"model.shape.linear.{name}={sizes} must be numbers of 1 or more, three for each size: how many "
                    "such layers, inputs, outputs"
                )
        for part in ("active", "frozen", "layer", "largest"):
            if (getattr(self, part) or 0) > self.parameters:
                raise UserError(
                    f"model.shape.{part}={getattr(self, part)} is more than all {self.parameters} weights; see "
                    "model.shape.total"
                )
        if self.layers_with_attention < 0:
            raise UserError(
                f"model.shape.without_attention={self.without_attention} is more than model.shape.layers={self.layers}"
            )
        if self.head_width is None and self.hidden % self.heads:
            raise UserError(f"model.shape.hidden={self.hidden} is not a multiple of model.shape.heads={self.heads}")
        if self.heads % self.kv_heads:
            raise UserError(f"model.shape.heads={self.heads} is not a multiple of model.shape.kv_heads={self.kv_heads}")

    @property
    def queries(self) -> int:
        """Width of all heads together."""
        return self.heads * (self.head_width or self.hidden // self.heads)

    @property
    def keys(self) -> int:
        """Width of all key heads together, and of all value heads."""
        return self.queries // self.heads * self.kv_heads

    @property
    def parameters(self) -> int:
        """All weights: `total`, else those of a Llama of this shape: q, k, v, o, a gated MLP, two norms a layer,
        embeddings."""
        if self.total is not None:
            return self.total
        attention = 2 * self.hidden * (self.queries + self.keys)
        layer = attention + 3 * self.hidden * self.intermediate + 2 * self.hidden
        embeddings = self.vocabulary * self.hidden * (1 if self.tied_embeddings else 2)
        return self.layers * layer + embeddings + self.hidden

    @property
    def active_parameters(self) -> int:
        """Weights that one token goes through."""
        return self.parameters if self.active is None else self.active

    @property
    def language_parameters(self) -> int:
        """All weights but those of a tower."""
        return self.parameters - (self.frozen or 0)

    @property
    def layers_with_attention(self) -> int:
        """Layers that keep keys and values."""
        return self.layers - (self.without_attention or 0)


@dataclass
class ApiModelConfig:
    """A model whose weights nobody has but its provider."""

    provider: str = setting(MISSING, choices=("openai", "anthropic"))
    name: str = MISSING
    """The provider's name for it. One with a date does not change."""
    context: int = setting(MISSING, least=1)
    """Tokens of prompt and answer together, at the price that is known here."""
    takes_temperature: bool = True
    """Whether a request may have a temperature. Models that think refuse it."""
    thinking_tokens: int = setting(0, least=0)
    """Thinking tokens on top of eval.max_new_tokens where eval.thinking_tokens gives none; they are paid for like an
    answer."""
    request: dict[str, Any] = setting(factory=dict, runs_or_sends=True)
    """Further keys of every request, as the provider names them: `+model.api.request.reasoning_effort=low`."""


@dataclass
class ModelConfig:
    name: str = MISSING
    """The name in tables and run folders."""
    path: str | None = setting(None, path=True, or_hub_id=True)
    """A Hugging Face folder or hub id; null builds a Llama of `shape` with random weights from the seed."""
    api: ApiModelConfig | None = None
    """Set for a model behind an API: then path, tokenizer and shape are null."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    tokenizer: str | None = setting(None, path=True, or_hub_id=True)
    """Folder or hub id of the tokenizer; null is `path`."""
    chat: str = setting(MISSING, choices=(*CHAT_FORMATS, "server"))
    """Markup of a conversation: tulu, llama2, llama3, qwen, general, or the tokenizer's own template. A server gets
    messages and writes the markup; a model with `api` says server."""
    chat_arguments: dict[str, Any] = setting(factory=dict, unwritten_if_empty=True)
    """Variables of the tokenizer's chat template (model.chat=tokenizer), in training and for every prompt:
    `++model.chat_arguments.enable_thinking=false`. A server that is asked gets them as `chat_template_kwargs`."""
    chat_date: str | None = setting(None, unwritten_if_empty=True)
    """The day (YYYY-MM-DD) that a tokenizer's chat template sees as today, so that prompts are the same on every day;
    null is 2024-07-26."""
    dtype: str = setting("bfloat16", choices=("bfloat16", "float16", "float32"))
    """Precision of the saved weights and of generation."""
    trust_remote_code: bool = setting(False, runs_or_sends=True)
    """Let a hub repository run its own Python code here."""
    license: str | None = None
    """Licence of the weights for the card of a trained model, by the hub's name (apache-2.0, llama2); null is that in
    the README.md of a local folder, if any."""
    shape: ShapeConfig | None = None
    """Sizes for the plan and DeepSpeed's buckets; null is read from the config.json of `path` before a run starts. Of a
    model that is read, model.shape={context: 8192} alone sets another longest sequence."""
    thinking: str | None = setting(None, may_change=True, unwritten_if_empty=True)
    """How the model marks its thoughts: a name of vLLM's reasoning parsers (qwen3, openai_gptoss, mistral ...), or
    `none` where the whole output is the answer; null finds it out from the tokenizer."""

    def __post_init__(self) -> None:
        self._check_chat()
        if self.api is not None:
            for name in ("path", "tokenizer", "shape"):
                if getattr(self, name) is not None:
                    raise UserError(
                        f"model.{name} has no meaning for model={self.name}, whose weights {self.api.provider} keeps; "
                        "for another model: model=custom model.path=FOLDER_OR_HUB_ID"
                    )
            if self.thinking not in (None, "none"):
                raise UserError(
                    f"model.thinking={self.thinking} has no meaning for model={self.name}, whose thoughts "
                    f"{self.api.provider} tells apart itself: leave it out, or say none of a model that does not think"
                )
            if self.chat != "server":
                raise UserError(f"model.chat={self.chat}: {self.api.provider} writes the markup, so it must be server")
            return
        if self.name == "merged" and self.path is None:
            raise UserError(
                "model=merged has its weights from merge.models, which names none: give merge=linear "
                "merge.models=[RUN_OR_FOLDER,...], or choose another model"
            )
        if self.shape is None and self.path is None:
            raise UserError(
                "model.shape is not set, and without model.path nothing to read it from: give model.shape=..., "
                "as in conf/model/tiny.yaml"
            )
        if self.chat == "server":
            raise UserError(f"model.chat=server needs model.api; of weights it is one of {', '.join(CHAT_FORMATS)}")
        if self.path is None and self.tokenizer is None:
            raise UserError(
                "model.path is null, so model.tokenizer must name a tokenizer; or give model.path=FOLDER_OR_HUB_ID"
            )

    def _check_chat(self) -> None:
        """UserError for arguments and dates that no template of a tokenizer would see."""
        for name in self.chat_arguments:
            if self.chat not in ("tokenizer", "server"):
                raise UserError(
                    f"model.chat_arguments.{name} is for a tokenizer's own chat template, and model.chat={self.chat} "
                    "takes no arguments; choose model.chat=tokenizer, or leave it out"
                )
            if name in _NOT_ARGUMENTS:
                day = "; the day is model.chat_date=YYYY-MM-DD" if name == "strftime_now" else ""
                raise UserError(f"model.chat_arguments.{name} is set for every template already; leave it out{day}")
            if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII):
                raise UserError(f"model.chat_arguments: {name!r} is no name of a template's variable")
        if self.chat_date is None:
            return
        if self.chat != "tokenizer":
            raise UserError(
                f"model.chat_date={self.chat_date} is for a tokenizer's own chat template, and model.chat={self.chat} "
                "prints no date of its own; choose model.chat=tokenizer, or leave it out"
            )
        try:
            known = date.fromisoformat(self.chat_date).isoformat() == self.chat_date
        except ValueError:
            known = False
        if not known:
            raise UserError(f"model.chat_date={self.chat_date} is not a day; write it as {CHAT_DATE}")

    @property
    def chat_settings(self) -> ChatSettings:
        """What the tokenizer's chat template is told besides the messages."""
        return ChatSettings(self.chat_arguments, self.chat_date or CHAT_DATE)

    @property
    def context(self) -> int:
        """Longest prompt and answer together, tokens."""
        sized = self.api or self.shape
        if sized is None:  # a run that only scored what was there has read none
            raise UserError(
                "model.shape is null in this run's config: the command that made the run reads it, or give "
                f"model.shape={{context: TOKENS}}, the longest sequence that model={self.name} takes"
            )
        return sized.context

    @property
    def hub_id(self) -> str | None:
        """The model's name on the hub; None for a local folder, whose path is absolute, and for one built here."""
        return None if self.path is None or Path(self.path).is_absolute() else self.path
