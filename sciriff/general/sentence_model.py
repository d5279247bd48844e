"""NLTK's punkt_tab, which finds the sentences that IFEval counts: its code downloads it where it is not found."""

import importlib.util
from pathlib import Path
from typing import Any

PUNKT = "tokenizers/punkt_tab"
COPY = "core/_static/nltk_cache"
"""Folder with a copy in the package llama-index-core, below its `llama_index`."""


def has_punkt(nltk: Any) -> bool:
    """Whether NLTK finds punkt_tab: in its own folders and NLTK_DATA, or in a package that brings a copy, which is made
    known to it."""
    package = importlib.util.find_spec("llama_index")
    for place in (package.submodule_search_locations or ()) if package else ():
        if (Path(place) / COPY / PUNKT).is_dir() and (folder := str(Path(place) / COPY)) not in nltk.data.path:
            nltk.data.path.append(folder)
    try:
        nltk.data.find(PUNKT)
    except LookupError:
        return False
    return True
