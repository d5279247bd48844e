"""Count tokens of texts by a tokenizer that a person names, without the tokens that mark a text's beginning."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sciriff.models.loading import read_tokenizer
from sciriff.run.digest import file_digest, tree_digest, value_digest
from sciriff.run.user_error import UserError

PUBLISHED = "meta-llama/Llama-2-7b-hf"
"""Tokenizer by which the published rows were filtered."""
SENTENCEPIECE = "tokenizer.model"
FAST = "tokenizer.json"


class TokenCounter:
    """Counts tokens. UserError names a tokenizer that cannot be loaded."""

    def __init__(self, source: str) -> None:
        self._lengths: Callable[[Sequence[str]], list[int]]
        path = Path(source).expanduser()
        file = path / FAST if (path / FAST).is_file() else path / SENTENCEPIECE if path.is_dir() else path
        if file.is_file() and file.suffix == ".json":
            self._lengths, self.digest = _fast(file), file_digest(file)
        elif file.is_file():
            self._lengths, self.digest = _sentencepiece(file), file_digest(file)
        else:
            self._lengths, self.digest = _from_transformers(source)

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text."""
        return self._lengths(texts)


def _fast(file: Path) -> Callable[[Sequence[str]], list[int]]:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library has no narrower class for a broken file
        raise UserError(f"recreate.tokenizer: {file} cannot be read ({str(error).splitlines()[0]})") from None
    return _of_tokenizers(tokenizer)


def _of_tokenizers(tokenizer: Any) -> Callable[[Sequence[str]], list[int]]:
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return lambda texts: [len(one) for one in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


def _sentencepiece(file: Path) -> Callable[[Sequence[str]], list[int]]:
    try:
        import sentencepiece
    except ImportError:
        raise UserError(
            f"recreate.tokenizer: {file} needs a package: pip install sentencepiece, or name a tokenizer.json"
        ) from None
    try:
        processor = sentencepiece.SentencePieceProcessor(model_file=str(file))
    except (OSError, RuntimeError) as error:
        raise UserError(f"recreate.tokenizer: {file} cannot be read ({str(error).splitlines()[0]})") from None
    return lambda texts: [len(ids) for ids in processor.encode(list(texts))]


def _from_transformers(source: str) -> tuple[Callable[[Sequence[str]], list[int]], str]:
    tokenizer = read_tokenizer(source, "recreate.tokenizer", "recreate.tokenizer")
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        digest = tree_digest(Path(source)) if Path(source).is_dir() else source
        return lambda texts: [len(tokenizer.encode(text, add_special_tokens=False)) for text in texts], digest
    return _of_tokenizers(backend), value_digest(backend.to_str())
