"""What a template file may say, and the line for what it may not."""

import os
from pathlib import Path

import pytest
from recreate_runs import JINJA, METADATA, template_text

from sciriff.recreate.rendering import Renderer
from sciriff.recreate.template_file import BUNDLED, read_template_file, template_files
from sciriff.run.user_error import UserError


def written(folder: Path, text: str, name: str = "kinds") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return path


def test_all_keys_are_read(tmp_path: Path):
    more = (
        "formatter:\n  name: bigbio_ner\n  args: {types_map: 'A:B'}\nskip_splits: [test]\n"
        "split_lookup: {validation: dev}\n"
        "standardize_splits: false\nevaluate: {anything: 1}\nmetric: list_f1\nlicense: CC0\n"
    )
    task = read_template_file(written(tmp_path, template_text("kinds", templates=[JINJA, JINJA], more=more)))
    assert (task.name, task.data, task.metric, task.license) == ("kinds", "data.jsonl", "list_f1", "CC0")
    assert (task.skip_splits, task.split_lookup, task.standardize_splits) == (["test"], {"validation": "dev"}, False)
    assert task.formatter is not None and task.formatter.args == {"types_map": "A:B"}
    assert sorted(task.templates) == [0, 1] and task.templates[1].jinja == JINJA
    assert task.metadata.of_row["task_family"] == "classification"


def test_a_source_is_looked_up_with_its_subset_first(tmp_path: Path):
    text = template_text("kinds").replace("data: data.jsonl", "dataset: bigbio/biored\nsubset: kb")
    assert read_template_file(written(tmp_path, text)).sources == ["bigbio/biored:kb", "bigbio/biored"]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("metadata:", "metdata:"), "metdata is not a key of a template file; did you mean 'metadata'?"),
        (("domains:", "domain:"), "metadata.domain is not a key of a template file; did you mean 'domains'?"),
        (("jinja:", "jnja:"), "templates.0.jnja is not a key of a template file; did you mean 'jinja'?"),
        (("  0:", "  first:"), "templates are numbered 0, 1, ...; found first"),
        (("name: kinds", "name: others"), "name is others, and the file must be named after it"),
        (("data: data.jsonl", ""), "give one of dataset, data_dir and data"),
        (("data: data.jsonl", "data: data.jsonl\ndataset: a/b"), "give one of dataset, data_dir and data"),
        (("data: data.jsonl", "data: data.jsonl\nskip_splits: [tset]"), "tset is not a split; did you mean 'test'?"),
        (("domains: [biomedicine]", "domains: biomedicine"), 'metadata.domains="biomedicine": expected array'),
        (("  input_context: paragraph\n", ""), "metadata.input_context is missing"),
        (("name: kinds", "name: kinds\nname: kinds"), ":2: not a template file: the key name stands twice"),
        (("[biomedicine]", "&a [biomedicine, *a]"), "aliases (*name) are not read here"),
        (
            ("[biomedicine]", "!!python/object/apply:os.getcwd []"),
            ":5: not a template file: tags (!name) are not read here",
        ),
        (
            ("data: data.jsonl", "data: data.jsonl\nmetric: list_f2"),
            "metric=list_f2 is not known; did you mean 'list_f1'?",
        ),
        (("name: kinds", "name: [kinds"), "not a template file"),
        (("name: kinds", "? [name]\n: kinds"), ":1: not a template file: a key must be a word or a number"),
        (("  0:", "  0: {jinja: a}\n  false:"), ":11: not a template file: the key false stands twice"),
        (("name: kinds", 'name: kinds\nlicense: "\\ud800"'), ":2: not a template file: half a surrogate pair"),
        (("data: data.jsonl", "dataset: ../other"), "dataset is ../other, and must be the id of a hub data set"),
        (("data: data.jsonl", "dataset: /etc"), "dataset is /etc, and must be the id of a hub data set"),
        (("name: kinds", "name: kinds\x00"), "not a template file"),
    ],
)
def test_a_file_that_is_wrong(tmp_path: Path, change: tuple[str, str], line: str):
    path = written(tmp_path, template_text("kinds").replace(*change))
    with pytest.raises(UserError) as error:
        read_template_file(path)
    assert line in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("templates", ["5", "text", "[a]", "null", "2020-01-01", "1:2:3", "0x1", "!!set {a}", "="])
def test_templates_of_another_type(tmp_path: Path, templates: str):
    text = template_text("kinds").partition("templates:")[0] + f"templates: {templates}\n"
    with pytest.raises(UserError, match=str(tmp_path)):
        read_template_file(written(tmp_path, text))


def test_dates_and_numbers_of_other_bases_are_text(tmp_path: Path):
    more = "formatter:\n  name: a\n  args: {a: 2020-01-01, b: 12:30, c: 0x10, d: 010, e: -7, f: 0.5, g: 1e3, h: 1_0}\n"
    task = read_template_file(written(tmp_path, template_text("kinds", more=more)))
    assert task.formatter is not None and task.formatter.args == {
        "a": "2020-01-01", "b": "12:30", "c": "0x10", "d": "010", "e": -7, "f": 0.5, "g": "1e3", "h": "1_0"
    }  # fmt: skip


def test_a_pipe_is_not_opened(tmp_path: Path):
    os.mkfifo(tmp_path / "kinds.yaml")
    (tmp_path / "zeros.yaml").symlink_to("/dev/zero")
    for name in ("kinds", "zeros"):
        with pytest.raises(UserError, match="not a file"):
            read_template_file(tmp_path / f"{name}.yaml")


def test_a_file_of_another_kind(tmp_path: Path):
    for content in (b"- a list", b"", b"\xff\xfe", b"x" * 2_000_000):
        (tmp_path / "kinds.yaml").write_bytes(content)
        with pytest.raises(UserError, match=str(tmp_path)):
            read_template_file(tmp_path / "kinds.yaml")


def test_crlf_and_a_byte_order_mark_are_read(tmp_path: Path):
    path = tmp_path / "kinds.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + template_text("kinds").replace("\n", "\r\n").encode())
    assert read_template_file(path).name == "kinds"


def test_a_folder_without_templates(tmp_path: Path):
    with pytest.raises(UserError, match=r"has no \.yaml file"):
        template_files(tmp_path)
    with pytest.raises(UserError, match="there is no such folder"):
        template_files(tmp_path / "nowhere")


def test_all_bundled_files_are_read_and_compile():
    files = template_files(BUNDLED)
    assert len(files) == 54
    for path in files.values():
        task = read_template_file(path)
        Renderer(task)
        assert task.metadata.contributor == "sciriff" and METADATA
