"""Merge tensor by tensor into RUN/model.partial, verify what was written, and rename the folder.

After each finished file of weights a record is written beside it, so that a run that was killed goes on with the next
one. Memory does not depend on the size of the models.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from sciriff.config import Config, ModelConfig
from sciriff.config.parents import Parent, plain_json
from sciriff.data.selection import write_chosen
from sciriff.merge import card
from sciriff.merge.methods import METHODS, Part, Settings
from sciriff.merge.parents import as_model, load_parent_config, parents_at_hand
from sciriff.merge.tensor_stream import TORCH, ShardWriter, TensorReader, chunks, content_of, digest_of
from sciriff.models import mergeable, processor_files, verification
from sciriff.models.loading import auto_class, reason_for
from sciriff.models.mergeable import Layout, Merged
from sciriff.models.model_folder import put_in_place, write_small_files
from sciriff.models.safetensors_header import stored_tensors
from sciriff.run.digest import value_digest
from sciriff.run.messages import show
from sciriff.run.progress import Progress
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.run.whole_file import naming, write_whole

SHARD = 5_000_000_000
"""Bytes of a file of weights at most, but for a tensor that is larger."""
RECORD = "merging.json"
"""What of the folder is finished: {"of": digest of what is merged, "files": {name: {tensor: SHA-256}}}."""
KIB = 2**10


def write_merged(config: Config, run: RunDir) -> None:
    """Make RUN/model of merge.models. UserError names what cannot be merged or reads back differently."""
    parents = parents_at_hand(config.merge, config.model)
    model = as_model(config.model, parents[0])
    layout = mergeable.layout(parents, model.dtype)
    processor = processor_files.read(model)
    transformers_config = load_parent_config(model, parents[0])
    plain = _on_meta(transformers_config, model, parents[0])
    folder = run.partial_model
    digests = _write_weights(config, parents, layout, folder)
    transformers_config.architectures = [type(plain).__name__]
    for part in {id(one): one for one in (transformers_config, transformers_config.get_text_config())}.values():
        part.dtype = getattr(torch, model.dtype)
    write_small_files(model, transformers_config, processor, folder)
    (folder / "README.md").write_text(card.page(config, parents), encoding="utf-8")
    write_chosen(config, run, folder)
    try:
        verify(model, plain, folder, digests)
    except UserError:
        (folder / RECORD).unlink()  # the next start merges again: a file that is damaged would stay so
        raise
    (folder / RECORD).unlink()
    put_in_place(folder, run.model)


def _write_weights(config: Config, parents: Sequence[Parent], layout: Layout, folder: Path) -> dict[str, str]:
    """Write the files of weights that are not finished yet, and their index. Returns each tensor's SHA-256."""
    files = _files(layout)
    record = _record(folder, _what(config, parents, layout))
    done: dict[str, dict[str, str]] = record["files"]
    progress = Progress(layout.bytes // KIB)
    written = sum(layout.tensors[name].bytes for names in done.values() for name in names)
    if written:
        show(f"{written / 1e9:.2f} GB in {len(done)} files were merged before and are kept")
    with TensorReader() as reader:
        _refuse_untied(layout, reader)
        for file, names in files.items():
            if file in done:
                continue
            with naming(folder / file):
                tensors = {name: (layout.tensors[name].dtype, layout.tensors[name].shape) for name in names}
                writer = ShardWriter(folder / file, tensors)
                for name in writer.names:
                    writer.write(name, _content(config, parents, name, layout.tensors[name], reader))
                    written += layout.tensors[name].bytes
                    progress(written // KIB, f"KiB merged, {name}")
                writer.finish()
            done[file] = writer.digests
            write_whole(folder / RECORD, json.dumps(record), durable=True)
    if len(files) > 1:
        where = {name: file for file, names in files.items() for name in names}
        index = {"metadata": {"total_size": layout.bytes}, "weight_map": where}
        write_whole(folder / "model.safetensors.index.json", json.dumps(index, indent=2) + "\n")
    return {name: digest for digests in done.values() for name, digest in digests.items()}


def _files(layout: Layout) -> dict[str, list[str]]:
    """File -> names of its tensors, in the order of the first model's files."""
    groups: list[list[str]] = [[]]
    size = 0
    for name, tensor in layout.tensors.items():
        if groups[-1] and size + tensor.bytes > SHARD:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += tensor.bytes
    if len(groups) == 1:
        return {"model.safetensors": groups[0]}
    return {f"model-{place:05d}-of-{len(groups):05d}.safetensors": names for place, names in enumerate(groups, 1)}


def _what(config: Config, parents: Sequence[Parent], layout: Layout) -> str:
    """Digest of all that the weights depend on; the parents' files count by name, size and time."""
    merge = config.merge
    files = sorted({stored.file for tensor in layout.tensors.values() for stored in tensor.sources})
    about = [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    names = [[name, tensor.dtype, list(tensor.shape)] for name, tensor in layout.tensors.items()]
    settings = [merge.method, merge.shares, merge.density, merge.seed, [str(one.folder) for one in parents], SHARD]
    return value_digest([settings, about, names])


def _record(folder: Path, what: str) -> dict[str, Any]:
    """The record of a folder that was begun with the same models and settings, else of a new one."""
    before = plain_json(folder / RECORD, largest=2**30)
    if before.get("of") == what and isinstance(before.get("files"), dict):
        return before
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    record = {"of": what, "files": {}}
    write_whole(folder / RECORD, json.dumps(record), durable=True)
    return record


def _content(
    config: Config, parents: Sequence[Parent], name: str, tensor: Merged, reader: TensorReader
) -> Iterator[memoryview]:
    """The bytes of a merged tensor, chunk by chunk. UserError where a number is not finite, and where what is no weight
    differs."""
    merge = config.merge
    sources = tensor.sources if merge.base is None else tensor.sources[:-1]
    base = None if merge.base is None else tensor.sources[-1]
    if tensor.copied:
        yield from _copied(parents, name, tensor, reader)
        return
    parts = [
        Part(stored, share, number)
        for number, (stored, share) in enumerate(zip(sources, merge.shares, strict=True))
        if share > 0
    ]
    settings = Settings(merge.density or 1.0, merge.seed or 0)
    for merged in METHODS[merge.method](reader, name, parts, base, settings):
        content = merged.to(TORCH[tensor.dtype])
        if not bool(torch.isfinite(content).all()):
            kind = str(content.dtype).removeprefix("torch.")
            raise UserError(
                f"{name}: merged as {kind}, it has numbers that are not finite: is one of the models damaged, or "
                "model.dtype=float16 too narrow?"
            )
        yield content_of(content, tensor.dtype)


def _copied(parents: Sequence[Parent], name: str, tensor: Merged, reader: TensorReader) -> Iterator[memoryview]:
    first = tensor.sources[0]
    for start, count in chunks(first.numbers):
        content = reader.content(first, start, count)
        for one, other in zip(parents[1:], tensor.sources[1:], strict=True):
            if other.dtype == first.dtype and reader.content(other, start, count) != content:
                raise UserError(f"{one}: {name} differs from that of {parents[0]}, and it is no weight to be merged")
        yield memoryview(content)


def _refuse_untied(layout: Layout, reader: TensorReader) -> None:
    """UserError where an output layer is not the embedding, although the config says so."""
    for parent, head, embedding in layout.tied:
        if digest_of(head, reader) != digest_of(embedding, reader):
            raise UserError(
                f"{parent}: its config.json says tie_word_embeddings, and the output layer in {head.file.name} is not "
                "its embedding: set tie_word_embeddings to false in each model's config.json"
            )


def _on_meta(config: Any, model: ModelConfig, one: Parent) -> Any:
    """A model of this config, whose tensors have no memory. UserError for a config of which there can be none."""
    try:
        with torch.device("meta"):
            return auto_class(config).from_config(
                config, attn_implementation="eager", trust_remote_code=model.trust_remote_code
            )
    except (TypeError, AttributeError, ValueError, LookupError, ArithmeticError, RuntimeError, AssertionError) as error:
        raise UserError(f"{one}: {reason_for(one.path, error)}; its config.json may be damaged") from None


def verify(model: ModelConfig, plain: Any, folder: Path, digests: dict[str, str]) -> None:
    """UserError where the folder does not read back as it was merged: a weight's bytes, names and shapes as the class
    of `plain`, a model without memory, loads them, tokenizer and chat template."""
    try:
        found = stored_tensors(folder)
    except ValueError as error:
        raise UserError(f"{folder}: {error}; is the disk full?") from None
    if missing := sorted(digests.keys() ^ found.keys()):
        raise UserError(f"{folder}: {missing[0]} was merged but not saved, or the reverse; is the disk full?")
    progress = Progress(sum(stored.end - stored.begin for stored in found.values()) // KIB)
    done = 0
    with TensorReader() as reader:
        for name, stored in found.items():
            if digest_of(stored, reader) != digests[name]:
                raise UserError(f"{folder}: {name} reads back differently from what was merged; is the disk full?")
            done += stored.end - stored.begin
            progress(done // KIB, f"KiB read back, {name}")
    verification.prompt(model, folder)
    _refuse_unloadable(plain, folder, {name: stored.shape for name, stored in found.items()})


def _refuse_unloadable(plain: Any, folder: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """UserError for a weight that transformers would draw at random, or whose shape in the files is another."""
    from transformers.utils import logging

    if find_spec("transformers.core_model_loading") is None:
        return  # before transformers 5, which loads no weights without memory
    logging.disable_progress_bar()
    weights = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    try:
        _, names = type(plain).from_pretrained(
            None,
            config=plain.config,
            state_dict=weights,
            device_map={"": "meta"},
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except (TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise UserError(f"{folder}: it cannot be loaded ({' '.join(str(error).split())[:200]})") from None
    lost = [*names["missing_keys"], *(entry[0] for entry in names["mismatched_keys"])]
    if lost:
        raise UserError(
            f"{folder}: the merged model lacks {sorted(map(str, lost))[0]}, or has it in another shape: are the files "
            "of its models whole?"
        )
