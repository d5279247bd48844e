import subprocess
import sys
from pathlib import Path

from sciriff.config import SourceConfig
from sciriff.data.source_files import source_digest


def test_the_digest_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "train-a.jsonl").write_text('{"a": 1}')
        (tmp_path / folder / "train-b.jsonl").write_text('{"a": 2}')
    one = source_digest(SourceConfig(path=str(tmp_path / "one")))
    assert one == source_digest(SourceConfig(path=str(tmp_path / "two")))
    (tmp_path / "two" / "validation.jsonl").write_text('{"a": 3}')
    assert one == source_digest(SourceConfig(path=str(tmp_path / "two")))
    (tmp_path / "two" / "train-b.jsonl").write_text('{"a": 4}')
    assert one != source_digest(SourceConfig(path=str(tmp_path / "two")))


def test_the_digest_of_a_hub_source_is_its_name() -> None:
    source = SourceConfig(hub="allenai/SciRIFF", config="4096")
    assert source_digest(source) == source_digest(SourceConfig(hub="allenai/SciRIFF", config="4096"))
    assert source_digest(source) != source_digest(SourceConfig(hub="allenai/SciRIFF", config="8192"))
    assert source_digest(source) != source_digest(SourceConfig(hub="allenai/SciRIFF", config="4096", revision="abc"))


def test_the_import_is_light() -> None:
    code = "import sys, sciriff.data.source_files; print({'datasets', 'pyarrow', 'torch', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
