"""Folders of raw data that tests write, read as the corpora are."""

import json
from pathlib import Path
from typing import Any

from sciriff.recreate.corpora import CORPORA
from sciriff.recreate.corpus import Corpus


def write_raw(raw: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = raw / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())


def lines(*rows: dict[str, Any], end: str = "\n") -> str:
    return "".join(json.dumps(row) + end for row in rows)


def corpus_of(raw: Path, source: str) -> Corpus:
    return next(corpus for corpus in CORPORA[source] if corpus.found(raw) is not None)


def raw_records(raw: Path, source: str, split: str) -> list[dict[str, Any]]:
    corpus = corpus_of(raw, source)
    return list(corpus.read(split, (corpus.found(raw) or {})[split]))
