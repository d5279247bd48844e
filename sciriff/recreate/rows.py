"""Put the rows of finished tasks together into train.jsonl, validation.jsonl and test.jsonl, sorted by id."""

import json
from collections.abc import Mapping
from pathlib import Path

from sciriff.recreate.instance_id import without_template
from sciriff.recreate.template_file import SPLITS
from sciriff.run.whole_file import whole


def write_rows(
    folders: Mapping[str, Path], out: Path, left_out: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, int]]:
    """Write the rows of tasks into `out`, but those of the records `left_out` (task -> record -> why) of train.
    Returns task -> split -> rows."""
    rows = {task: dict.fromkeys(SPLITS, 0) for task in folders}
    for split in SPLITS:
        with whole(out / f"{split}.jsonl") as file:
            for task in sorted(folders, key=lambda name: f"{name}:"):  # the order of their ids as text
                unwanted = left_out.get(task, {}) if split == "train" else {}
                with (folders[task] / f"{split}.jsonl").open("rb") as lines:
                    for line in lines:
                        if not unwanted or without_template(json.loads(line)["_instance_id"]) not in unwanted:
                            file.buffer.write(line)
                            rows[task][split] += 1
    return rows
