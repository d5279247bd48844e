"""Read the instances of the held-out tasks that a config asks for: they are answered, and no mix should hold them."""

import hashlib
from collections.abc import Sequence

from sciriff.config import EvalConfig, nearest
from sciriff.data.records import Instance
from sciriff.data.source_files import instances_source
from sciriff.data.source_rows import read_rows
from sciriff.run.messages import show
from sciriff.run.user_error import UserError
from sciriff.tasks import NAMES
from sciriff.tasks.own import names_of


def wanted_tasks(names: Sequence[str] | None, known: Sequence[str] = NAMES) -> list[str]:
    """The chosen ones of the held-out tasks `known`, in their order; None is all. UserError for an unknown name."""
    if names is None:
        return list(known)
    for name in names:
        if name not in known:
            raise UserError(f"eval.tasks: {name!r} is not a held-out task{nearest(name, known)}")
    if not names:
        raise UserError("eval.tasks=[] asks for nothing; name some tasks, or null for all")
    return [name for name in known if name in names]


def read_instances(config: EvalConfig) -> dict[str, list[Instance]]:
    """Task -> all its instances in the order of the source. Rows of other tasks are skipped.

    The task is the first part of `_instance_id` (`task:split:index`). UserError names a row that is broken or a
    duplicate, or a task named in `eval.tasks` without a row.
    """
    wanted = wanted_tasks(config.tasks, names_of(config.held_out))
    source = instances_source(config)
    instances: dict[str, list[Instance]] = {name: [] for name in wanted}
    seen: dict[str, str] = {}
    for where, row in read_rows(source):
        for key in ("_instance_id", "input", "output"):
            if not isinstance(row.get(key), str):
                raise UserError(f"{where}: an instance needs the text {key!r}")
        instance_id = row["_instance_id"]
        task = instance_id.partition(":")[0]
        if task not in instances:
            continue
        if instance_id in seen:
            raise UserError(f"{where}: {instance_id} is already at {seen[instance_id]}; ids must differ")
        try:
            row["input"].encode()
        except UnicodeEncodeError:
            raise UserError(f"{where}: 'input' has lone surrogates, which no tokenizer takes") from None
        seen[instance_id] = str(where)
        instances[task].append(Instance(task, instance_id, row["input"], row["output"]))
    missing = [name for name in wanted if not instances[name]]
    place = source.path or source.hub
    if len(missing) == len(wanted) or (missing and config.tasks is not None):
        raise UserError(f"{place} has no instances of {', '.join(missing)} in split {source.split}")
    if missing:
        show(f"{place} has no instances of {', '.join(missing)}")
    return {name: rows for name, rows in instances.items() if rows}


def choose(instances: list[Instance], limit: int | None, seed: int) -> list[Instance]:
    """Choose the `limit` instances with the smallest hashes of seed and id, so that a larger limit contains them."""
    if limit is None or len(instances) <= limit:
        return instances
    ids = [instance.instance_id for instance in instances]
    chosen = set(sorted(ids, key=lambda i: hashlib.sha256(f"{seed}:{i}".encode()).digest())[:limit])
    return [instance for instance in instances if instance.instance_id in chosen]
