"""A row is kept if its tokens are at most the window less twenty, by any kind of tokenizer."""

import random
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from recreate_runs import build_rows, rows_of, write_task
from task_builds import build_one
from tokenizers import Tokenizer

from sciriff.recreate.tokens import TokenCounter
from sciriff.run.digest import file_digest
from sciriff.run.user_error import UserError

SAMPLE = Path(__file__).parents[2] / "sciriff" / "sample" / "tokenizer"
WORDS = "mava tilo 12 beru kass, olin. (zeta) quor Ämi 数 fen".split()


def texts(count: int, words: int, seed: int = 1) -> list[str]:
    chance = random.Random(seed)
    return [" ".join(chance.choices(WORDS, k=chance.randint(words // 2, words))) for _ in range(count)]


def sample(folder: Path) -> tuple[str, Callable[[str], int]]:
    tokenizer = Tokenizer.from_file(str(SAMPLE / "tokenizer.json"))
    return str(SAMPLE), lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def sentencepiece_model(folder: Path) -> tuple[str, Callable[[str], int]]:
    sentencepiece = pytest.importorskip("sentencepiece")
    (folder / "corpus.txt").write_text("\n".join(texts(300, 12)))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "corpus.txt"),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=60,
        character_coverage=1.0,
        byte_fallback=False,
        model_type="bpe",
        num_threads=1,
        minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    return str(folder / "tokenizer.model"), lambda text: len(processor.encode(text))


def word_pieces(folder: Path) -> tuple[str, Callable[[str], int]]:
    """A folder for AutoTokenizer alone, without tokenizer.json."""
    from transformers import BertTokenizer

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
    pieces += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"] + ["ma", "##va", "tilo", "zeta", "(", ")", "."]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    tokenizer = BertTokenizer(str(folder / "vocab.txt"))
    return str(folder), lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", [sample, sentencepiece_model, word_pieces])
def test_the_filter_is_exact(tmp_path: Path, kind: Callable[[Path], tuple[str, Callable[[str], int]]]):
    (tmp_path / "tokenizer").mkdir()
    tokenizer, count = kind(tmp_path / "tokenizer")
    records = [{"text": text, "label": label} for text, label in zip(texts(300, 24), texts(300, 3, 2), strict=True)]
    folder = write_task(tmp_path / "templates", records=records)
    lengths = {name: (count(prompt), count(answer)) for name, (prompt, answer) in build_one(folder).texts().items()}
    limit = statistics.median_low(map(sum, lengths.values()))
    built = build_one(folder, tokenizer=tokenizer, context_window=limit + 20)
    expected = {name for name, pair in lengths.items() if sum(pair) <= limit}
    assert set(built.ids()) == expected
    assert {sum(pair) - limit for pair in lengths.values()} >= {0, 1}, "rows at the border, and just beyond"
    split_of = built.split_of()
    for split in built.rows:
        pairs = [lengths[name] for name in expected if split_of[name] == split]
        assert built.result.input_tokens[split] == sum(pair[0] for pair in pairs)
        assert built.result.output_tokens[split] == sum(pair[1] for pair in pairs)
        assert built.result.longest[split] == max(map(sum, pairs))
    (reason,) = built.result.left_out
    assert f"context_window={limit + 20} less 20" in reason
    assert built.result.left_out[reason]["rows"] == 300 - len(expected)


def test_the_digest_is_of_the_tokenizer_and_not_of_its_place(tmp_path: Path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one, two = (TokenCounter(word_pieces(tmp_path / name)[0]) for name in ("one", "two"))
    assert one.digest == two.digest
    assert TokenCounter(str(SAMPLE)).digest == file_digest(SAMPLE / "tokenizer.json")


def test_a_tokenizer_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("tokenizer.json", "tokenizer.model"):
        (tmp_path / name).write_text("{}")
        with pytest.raises(UserError, match=rf"recreate\.tokenizer: .*{name}") as error:
            TokenCounter(str(tmp_path / name))
        assert "\n" not in str(error.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"recreate\.tokenizer=.*empty") as error:
        TokenCounter(str(tmp_path / "empty"))
    assert "model." not in str(error.value)
    monkeypatch.setitem(sys.modules, "sentencepiece", None)  # as if it were not installed
    with pytest.raises(UserError, match="pip install sentencepiece"):
        TokenCounter(str(tmp_path / "tokenizer.model"))


def test_a_build_with_a_worker_counts_the_same(tmp_path: Path):
    folder = write_task(tmp_path / "templates", records=[{"text": text, "label": "a"} for text in texts(60, 40)])
    settings = {"tokenizer": str(SAMPLE), "context_window": 100}
    assert build_rows(folder, tmp_path / "out", **settings) == 0
    assert rows_of(tmp_path / "out") == build_one(folder, **settings).rows
