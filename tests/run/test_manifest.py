"""The manifest knows finished work, and damage to it."""

from pathlib import Path

import pytest

from sciriff.run.manifest import Manifest, StageRecord, damaged_output, record_outputs


def test_written_and_read_back(tmp_path: Path):
    manifest = Manifest(tmp_path / "manifest.json", {"versions": {"python": "3"}})
    manifest.stages["mix"] = StageRecord(
        "done", {"recipe": "abc"}, 1.5, {"mix/train.jsonl": {"bytes": 3, "mtime_ns": 5, "sha256": "abc"}}
    )
    manifest.write()
    assert Manifest.read(manifest.path) == manifest


def test_a_broken_one_is_named(tmp_path: Path):
    path = tmp_path / "manifest.json"
    path.write_text("[]")
    with pytest.raises(ValueError, match=r"manifest\.json: not a manifest"):
        Manifest.read(path)


def test_damage_is_found(tmp_path: Path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a").write_text("aaa")
    (folder / "b").write_text("bbb")
    outputs = record_outputs(tmp_path, [folder])
    assert sorted(outputs) == ["model/a", "model/b"]
    assert damaged_output(tmp_path, outputs) is None
    (folder / "a").touch()
    assert damaged_output(tmp_path, outputs) is None, "a new time with the old content is no damage"
    (folder / "a").write_text("aXa")
    assert damaged_output(tmp_path, outputs) == "model/a"
    (folder / "a").write_text("aaa")
    (folder / "b").unlink()
    assert damaged_output(tmp_path, outputs) == "model/b"
