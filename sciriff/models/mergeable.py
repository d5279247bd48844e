"""Which models can be merged, by their configs, tokenizers and headers of weights alone. Loads no framework.

What differs is one line: the model, the key, both values, and what to do.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciriff.config import MergeConfig, ModelConfig
from sciriff.config.parents import Parent, parent, plain_json
from sciriff.models.safetensors_header import BUFFERS, BYTES, Stored, stored_tensors
from sciriff.models.stored_formats import NO_MODEL, is_no_model, no_model_folder
from sciriff.run.digest import file_digest
from sciriff.run.user_error import UserError
from sciriff.run.visible import shortened, visible_line

FLOATS = ("F64", "F32", "F16", "BF16")
INTEGERS = ("I64", "I32", "I16", "BOOL")
"""Types of tensors that are no weights: positions, counts, masks."""
STORED_AS = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
DECIDES_NOTHING = re.compile(
    r"_name_or_path|transformers_version|(torch_)?dtype|use_cache|\w+_token_id|\w*(dropout|drop|pdrop)|initializer_range"
    r"|max_position_embeddings|output_\w+|\w*aux_loss_coef|auto_map|_attn_implementation\w*|pretraining_tp|_commit_hash"
    r"|id2label|label2id|\w*dropout_prob|return_dict|gradient_checkpointing|attn_implementation"
)
"""Keys of a config.json that decide neither what weights there are nor what they compute. Tokens are compared as the
vocabulary, and the longest sequence is that of the first model."""
EMBEDDING = re.compile(r"(^|\.)(embed_tokens|wte|word_embeddings|tok_embeddings|embed_in)\.weight$")
HEAD = re.compile(r"(^|\.)(lm_head|embed_out)\.weight$")
OTHER_TOKENIZERS = ("tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
"""Files of a tokenizer that has no tokenizer.json."""
TOKENIZER = 200 * 2**20
"""Bytes of the largest tokenizer.json that is compared."""
LONGEST = 80
"""Characters of a value that a message shows."""


@dataclass(frozen=True)
class Merged:
    """A tensor of the merged model."""

    shape: tuple[int, ...]
    dtype: str
    """As safetensors writes it."""
    sources: tuple[Stored, ...]
    """Where it lies in each parent, in their order, the base last if there is one."""
    copied: bool
    """Whether it is no weight, and must be the same in all."""

    @property
    def bytes(self) -> int:
        return BYTES[self.dtype] * self.sources[0].numbers


@dataclass(frozen=True)
class Layout:
    """What a merged model consists of."""

    tensors: dict[str, Merged]
    """In the order of the first parent's files."""
    tied: tuple[tuple[str, Stored, Stored], ...]
    """(parent, output layer, embedding) of output layers that are stored although they are the embedding: they must be
    equal, and are left out."""

    @property
    def bytes(self) -> int:
        return sum(tensor.bytes for tensor in self.tensors.values())


def parents_of(merge: MergeConfig) -> list[Parent]:
    """The models in their order, and the base last if there is one. UserError for what is no model."""
    found = [parent(f"merge.models[{place}]", path) for place, path in enumerate(merge.models)]
    found += [parent("merge.base", merge.base)] if merge.base else []
    for one in found:
        _refuse_no_model(one)
    return found


def check(merge: MergeConfig, model: ModelConfig) -> None:
    """UserError for models that cannot be merged, as far as they are on this disk."""
    parents = parents_of(merge)
    local = [one for one in parents if one.folder is not None]
    refuse_other_configs(local)
    refuse_other_vocabularies(local)
    refuse_other_markups(local, model)
    if local == parents:
        layout(local, model.dtype)


def _refuse_no_model(one: Parent) -> None:
    if one.folder is None:
        if Path(one.path).exists() or is_no_model(one.path):
            raise UserError(f"{one} {NO_MODEL}")
    elif not one.folder.is_dir():
        why = "it is not finished, or only evaluates a model: finish it, or name the model itself"
        raise UserError(f"{one} is a run without a model in {one.folder}: {why}")
    elif not (one.folder / "config.json").is_file():
        raise UserError(f"{one} {no_model_folder(one.folder)}")
    elif (one.folder / "adapter_config.json").is_file():
        raise UserError(f"{one} has an adapter_config.json: merge the adapter into its model first, and name that")


def refuse_other_configs(parents: Sequence[Parent]) -> None:
    """UserError for a quantised model, and for a key of config.json that two have with other values."""
    configs = [(one, _config(one)) for one in parents]
    for one, values in configs:
        stored = values.get("quantization_config")
        if stored is not None:
            method = stored.get("quant_method", "an unknown method") if isinstance(stored, Mapping) else stored
            raise UserError(f"{one} has weights quantised by {_shown(method)}: name the model as it was before")
    for one, values in configs[1:]:
        first, wanted = configs[0]
        refuse_difference(one, dict(_flat(values)), first, dict(_flat(wanted)), only_both=True)


def refuse_difference(
    one: Parent, values: Mapping[str, Any], first: Parent, wanted: Mapping[str, Any], *, only_both: bool
) -> None:
    """UserError for a key with another value than in the first model's config, both flat."""
    for key in sorted(values.keys() & wanted.keys() if only_both else values.keys() | wanted.keys()):
        if values.get(key) != wanted.get(key):
            raise UserError(
                f"{one}: its config.json has {_shown(key)}={_shown(values.get(key))}, and that of {first} has "
                f"{_shown(wanted.get(key))}: only models of one architecture and shape can be merged"
            )


def _config(one: Parent) -> dict[str, Any]:
    assert one.folder is not None
    values = plain_json(one.folder / "config.json")
    if not isinstance(values.get("model_type"), str):
        raise UserError(f"{one}: its config.json names no model_type, or cannot be read; copy or download it again")
    return values


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of a config without those that decide nothing."""
    for key, value in values.items():
        if DECIDES_NOTHING.fullmatch(str(key)):
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def flat_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """A config as dotted keys, without those that decide nothing."""
    return dict(_flat(values))


def refuse_other_vocabularies(parents: Sequence[Parent]) -> None:
    """UserError where a token has another id in another model. A base may lack tokens that were added later."""
    _refuse_other_files(parents)
    files = [(one, one.folder / "tokenizer.json") for one in parents if one.folder is not None]
    files = [(one, file) for one, file in files if file.is_file()]
    if len({file_digest(file) for _, file in files}) < 2:
        return
    first, wanted = files[0][0], _tokens(*files[0])
    for one, file in files[1:]:
        tokens = _tokens(one, file)
        lenient = "merge.base" in (one.key, first.key)
        names = tokens.keys() & wanted.keys() if lenient else tokens.keys() | wanted.keys()
        for token in sorted(names, key=lambda token: (tokens.get(token, wanted.get(token, 0)), token)):
            if tokens.get(token) != wanted.get(token):
                raise UserError(
                    f"{one}: its tokenizer.json has {_id(tokens, token)}, and that of {first} {_id(wanted, token)} "
                    f"({len(tokens):,} tokens and {len(wanted):,}): only models of one vocabulary can be merged"
                )


def _refuse_other_files(parents: Sequence[Parent]) -> None:
    """UserError where a model without tokenizer.json has another file of its tokenizer than the first with such a
    file."""
    folders = [(one, one.folder) for one in parents if one.folder is not None]
    if all((folder / "tokenizer.json").is_file() for _, folder in folders):
        return
    for name in OTHER_TOKENIZERS:
        having = [(one, file_digest(folder / name)) for one, folder in folders if (folder / name).is_file()]
        for one, digest in having[1:]:
            if digest != having[0][1]:
                raise UserError(
                    f"{one}: its {name} is not that of {having[0][0]}: only models of one vocabulary can be merged"
                )


def _tokens(one: Parent, file: Path) -> dict[str, int]:
    """Token -> id, added ones included. UserError for a file that is no tokenizer's."""
    values = plain_json(file, TOKENIZER)
    try:
        vocabulary = values["model"]["vocab"]
        if isinstance(vocabulary, list):  # of a unigram model: pairs of a token and its score, in order of their ids
            vocabulary = {pair[0]: place for place, pair in enumerate(vocabulary)}
        added = {token["content"]: token["id"] for token in values.get("added_tokens") or ()}
        return {str(token): int(place) for token, place in {**vocabulary, **added}.items()}
    except (LookupError, TypeError, ValueError, AttributeError):
        raise UserError(f"{one}: its tokenizer.json cannot be read; copy or download it again") from None


def _id(tokens: Mapping[str, int], token: str) -> str:
    where = f"with id {tokens[token]}" if token in tokens else "not at all"
    return f"the token {_shown(token)} {where}"


def refuse_other_markups(parents: Sequence[Parent], model: ModelConfig) -> None:
    """UserError for a model that was trained with another markup than the merged one will have, or whose chat template
    is another. A base need not have been trained on conversations."""
    own = {"chat": model.chat, "chat_arguments": model.chat_arguments, "chat_date": model.chat_date}
    models = [one for one in parents if one.key != "merge.base"]
    for one in models:
        if "chat" not in one.made_with:
            continue
        theirs = {"chat_arguments": {}, "chat_date": None, **one.made_with}
        for key, value in own.items():
            if theirs[key] != value:
                raise UserError(
                    f"{one} was trained with model.{key}={_shown(theirs[key])}, and the merged model would have "
                    f"model.{key}={_shown(value)}, {_whence(models[0], key)}: merge models of one markup"
                )
    templates = [(one, text) for one in models if (text := _template(one)) is not None]
    for one, text in templates[1:]:
        first, wanted = templates[0]
        if text != wanted:
            at = next((place for place, (a, b) in enumerate(zip(text, wanted, strict=False)) if a != b), -1)
            at = at if at >= 0 else min(len(text), len(wanted))
            around = [_shown(repr(one_text[max(0, at - 10) : at + 20])) for one_text in (text, wanted)]
            raise UserError(
                f"{one}: its chat template has {around[0]} where that of {first} has {around[1]} (character {at:,}): "
                "merge models of one markup"
            )


def _whence(first: Parent, key: str) -> str:
    return f"that of {first}" if first.made_with.get(key) is not None else "as this run's config says"


def _template(one: Parent) -> str | None:
    """The chat template that a folder saves; the default one of several."""
    assert one.folder is not None
    file = one.folder / "chat_template.jinja"
    if file.is_file() and file.stat().st_size < 2**20:
        return file.read_text(encoding="utf-8", errors="replace")
    template = plain_json(one.folder / "tokenizer_config.json").get("chat_template")
    if isinstance(template, list):
        named = {one.get("name"): one.get("template") for one in template if isinstance(one, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None


def layout(parents: Sequence[Parent], dtype: str) -> Layout:
    """What the merged model consists of, its weights of type `dtype` (as in `model.dtype`) but those that the first
    model keeps in another type than most. UserError for tensors that do not match."""
    found = [(one, _stored(one)) for one in parents]
    tied = all(_is_tied(_config(one)) for one in parents)
    heads = []
    if tied:
        heads = [pair for one, tensors in found for pair in _tied_heads(one, tensors)]
        for one, tensors in found:
            for head in [name for name in tensors if HEAD.search(name)]:
                if any(head == name and owner is one for owner, name, _, _ in heads):
                    del tensors[head]
    first, wanted = found[0]
    for one, tensors in found[1:]:
        _refuse_other_tensors(one, tensors, first, wanted)
    most = _most(wanted)
    merged = {}
    for name, stored in wanted.items():
        copied = stored.dtype not in FLOATS or bool(BUFFERS.search(name))
        kept = stored.dtype if copied or stored.dtype != most else STORED_AS[dtype]
        merged[name] = Merged(stored.shape, kept, tuple(tensors[name] for _, tensors in found), copied)
    return Layout(merged, tuple((str(one), head, embedding) for one, _, head, embedding in heads))


def _stored(one: Parent) -> dict[str, Stored]:
    assert one.folder is not None
    try:
        found = stored_tensors(one.folder)
    except (OSError, ValueError) as error:
        raise UserError(f"{one}: {_shown(error)}; copy or download it again") from None
    if not found:
        pickled = any(one.folder.glob("*.bin"))
        fix = "load and save it once with transformers: its weights are pickled" if pickled else "copy it again"
        raise UserError(f"{one} has no safetensors files to be merged; {fix}")
    for name, stored in found.items():
        if stored.dtype not in (*FLOATS, *INTEGERS):
            raise UserError(
                f"{one}: the tensor {_shown(name)} is of type {_shown(stored.dtype)}, which is no plain number: name "
                "the model as it was before it was quantised"
            )
    return found


def _is_tied(config: Mapping[str, Any]) -> bool:
    """Whether the output layer is the embedding; a config that does not say so leaves it to the weights."""
    text = config.get("text_config")
    said = config.get("tie_word_embeddings", text.get("tie_word_embeddings") if isinstance(text, Mapping) else None)
    return said is True


def _tied_heads(one: Parent, tensors: Mapping[str, Stored]) -> Iterator[tuple[Parent, str, Stored, Stored]]:
    """(parent, name, output layer, embedding) of an output layer that is stored beside the embedding it is tied to."""
    for name, head in tensors.items():
        if HEAD.search(name):
            same = [
                t for n, t in tensors.items() if EMBEDDING.search(n) and (t.shape, t.dtype) == (head.shape, head.dtype)
            ]
            if len(same) == 1:
                yield one, name, head, same[0]


def _refuse_other_tensors(
    one: Parent, tensors: Mapping[str, Stored], first: Parent, wanted: Mapping[str, Stored]
) -> None:
    for has, lacks, theirs, others in ((one, first, tensors, wanted), (first, one, wanted, tensors)):
        if extra := [name for name in theirs if name not in others]:
            raise UserError(
                f"{has} has the tensor {_shown(extra[0])}, and {lacks} has none ({len(extra)} such tensors): only "
                "models whose files have the same tensors can be merged; one version of transformers that loads and "
                "saves both gives them the same names"
            )
    for name, stored in tensors.items():
        other = wanted[name]
        if stored.shape != other.shape:
            raise UserError(
                f"{one}: the tensor {_shown(name)} has the shape {list(stored.shape)}, and that of {first} "
                f"{list(other.shape)}: only models of one architecture and shape can be merged"
            )
        if (stored.dtype in FLOATS) != (other.dtype in FLOATS) or (
            stored.dtype not in FLOATS and stored.dtype != other.dtype
        ):
            raise UserError(
                f"{one}: the tensor {_shown(name)} is of type {stored.dtype}, and that of {first} {other.dtype}: they "
                "are not the same thing"
            )


def _most(tensors: Mapping[str, Stored]) -> str:
    """The type that most weights have."""
    numbers = dict.fromkeys(FLOATS, 0)
    for stored in tensors.values():
        if stored.dtype in numbers:
            numbers[stored.dtype] += stored.numbers
    return max(FLOATS, key=lambda dtype: numbers[dtype])


def _shown(value: object) -> str:
    return shortened(visible_line(value), LONGEST)
