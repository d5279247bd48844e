"""What a merge would write and need, from the headers of its models."""

from sciriff.config import Config
from sciriff.models import mergeable
from sciriff.models.training_memory import GIB, shape_of

MEMORY = 1.0
"""GiB that the stage takes, whatever the size of the models: torch, transformers, and a few chunks of tensors."""


def merged_gib(config: Config) -> float:
    """GiB of the merged model: of the tensors in its parents' headers, or of its shape where a parent is on the hub."""
    parents = mergeable.parents_of(config.merge)
    if all(one.folder is not None for one in parents):
        return mergeable.layout(parents, config.model.dtype).bytes / GIB
    return {"float32": 4}.get(config.model.dtype, 2) * shape_of(config).parameters / GIB if config.model.shape else 0.0


def merge_line(config: Config, gib: float) -> str:
    """One line of the plan: method, models with their shares, size of the result, memory."""
    merge = config.merge
    models = ", ".join(f"{path} {100 * share:.3g} %" for path, share in zip(merge.models, merge.shares, strict=True))
    base = f"; base {merge.base}" if merge.base else ""
    kept = f", density {merge.density:g}" if merge.density is not None else ""
    seed = f", seed {merge.seed}" if merge.seed is not None else ""
    size = f"{gib:.1f} GiB" if gib >= 0.1 else f"{1024 * gib:.1f} MiB" if gib else "a size that is not known here"
    return f"{merge.method}{kept}{seed} of {models}{base}; {size} on disk, about {MEMORY:.0f} GiB of memory, no GPU"
