from pathlib import Path

import numpy as np
import pytest

from sciriff.data import token_file
from sciriff.data.token_file import TokenFile, write_token_file

ROWS = [
    ("science.a/1", [1, 5, 6, 2], [False, False, True, True]),
    ("general/x/y", [7], [True]),
    ("general/ü", [3, 2, 1], [False, True, False]),
]


@pytest.mark.parametrize("tokens_per_batch", [1, 5, 1000])
def test_rows_come_back_in_order_whatever_the_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokens_per_batch: int
) -> None:
    monkeypatch.setattr(token_file, "TOKENS_PER_BATCH", tokens_per_batch)
    write_token_file(tmp_path / "tokens", iter(ROWS))
    tokens = TokenFile(tmp_path / "tokens")
    assert len(tokens) == 3
    assert tokens.ids == [row[0] for row in ROWS]
    assert tokens.lengths.tolist() == [4, 1, 3] and tokens.lengths.dtype == np.int32
    assert tokens.target_counts.tolist() == [2, 1, 1] and tokens.target_counts.dtype == np.int32
    for i, (_, ids, targets) in enumerate(ROWS):
        got_ids, got_targets = tokens[i]
        assert got_ids.tolist() == ids and got_ids.dtype == np.int32
        assert got_targets.tolist() == targets and got_targets.dtype == np.bool_
        got_ids[0] = 99  # a copy: the file is as it was
        assert tokens[i][0].tolist() == ids
    with pytest.raises(IndexError):
        tokens[3]
    assert [path.name for path in (tmp_path / "tokens").iterdir()] == [token_file.NAME]


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    write_token_file(tmp_path, [])
    tokens = TokenFile(tmp_path)
    assert len(tokens) == 0 and tokens.lengths.tolist() == [] and tokens.target_counts.dtype == np.int32


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there are no tokens here"):
        TokenFile(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_named(tmp_path: Path, share: float) -> None:
    write_token_file(tmp_path, ROWS)
    path = tmp_path / token_file.NAME
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=rf"{token_file.NAME}: damaged"):
        TokenFile(tmp_path)


def test_a_foreign_arrow_file_is_named(tmp_path: Path) -> None:
    import pyarrow as pa

    table = pa.table({"other": [1]})
    with pa.OSFile(str(tmp_path / token_file.NAME), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(ValueError, match="not a file of tokens"):
        TokenFile(tmp_path)


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    write_token_file(tmp_path, ROWS[:1])

    def rows():
        yield ROWS[1]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_token_file(tmp_path, rows())
    assert TokenFile(tmp_path).ids == ["science.a/1"]
