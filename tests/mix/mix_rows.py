"""Rows, sources and built mixes for the tests of the mix stage."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from sciriff.data.records import Conversation
from sciriff.run.json_lines import dumps


def science(task: str, i: int) -> dict:
    return {"input": f"{task} question {i}", "output": f"answer {i}", "_instance_id": f"{task}:train:{i}"}


def general(dataset: str, i: int) -> dict:
    turns = [("user", f"{dataset} asks {i}"), ("assistant", f"says {i}")]
    return {"dataset": dataset, "id": f"{dataset}_{i}", "messages": [{"role": r, "content": c} for r, c in turns]}


def write(path: Path, rows: Sequence[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def names(rows: Sequence[dict]) -> set[str]:
    return {f"{row['dataset']}/{row['id']}" for row in rows}


def fitting(conversations: Iterable[Conversation], limit: int, truncate: str) -> list[int | None]:
    """As Tokeniser.fitting, with characters for tokens."""
    found: list[int | None] = []
    for conversation in conversations:
        messages = conversation.messages
        ends = (
            [len(messages)] if truncate == "drop" else [i for i, m in enumerate(messages, 1) if m.role == "assistant"]
        )
        fit = [end for end in ends if sum(len(message.content) for message in messages[:end]) <= limit]
        found.append(len(messages) - fit[-1] if fit else None)
    return found
