"""Template files and data that are broken or malicious: each fails alone, with one line that says where and why.

All of them are built at once, by the command and its workers, with two tasks that are in order.
"""

import csv
import gzip
import io
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from recreate_runs import build_rows, rows_of, template_text, write_task

from sciriff.recreate.build import SOME_FAILED, TASKS
from sciriff.recreate.task_build import SPOOL

pytestmark = pytest.mark.slow
TOKENIZER = Path(__file__).parents[2] / "sciriff/sample/tokenizer"
SECRET = "what-no-template-may-read"
HEALTHY = ("aaa", "zzz")
"""The first and the last task that are built."""
LIMITS = {"memory_gb": 0.6, "row_seconds": 2}
MILLIONS = 10_000_000


def lines(*records: Any) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


RECORDS = lines(
    {"text": "One text.", "label": "a", "items": ["x", "y"], "inner": {"k": 1}},
    {"text": "Another text.", "label": "b", "items": ["z"], "inner": {"k": 2}},
)
GOOD = {"text": "A text.", "label": "c"}


@dataclass(frozen=True)
class Case:
    """A bad task, and what its line must say besides its file."""

    says: tuple[str, ...]
    jinja: str = "{{ text }}|||{{ label }}"
    data: bytes | Callable[[Path], object] = RECORDS
    """Content of its data file, or a function that makes it."""
    suffix: str = ".jsonl"
    yaml: Callable[[str], str] = field(default=lambda text: text)
    """Changes the template file."""
    choices: str | None = None


def template(says: str, jinja: str, choices: str | None = None) -> Case:
    """A template whose first row fails."""
    return Case(("train row 0, template 0: " + says,), jinja, choices=choices)


def escape(expression: str, says: str) -> Case:
    return template(says, f"{{{{ {expression} }}}}|||{{{{ label }}}}")


def limit(place: str, says: str, jinja: str) -> Case:
    return Case((f"{place} {says}",), jinja)


MEMORY, SECONDS = "needs more than recreate.memory_gb=0.6 gigabytes", "takes more than recreate.row_seconds=2"
RUN = f"open({SECRET!r}, 'w').close()"

TEMPLATES = {
    "no_separator": Case(("template 0 has no |||",), "{{ text }} {{ label }}"),
    "three_separators": template("rendered, it has ||| 3 times, not once", "{{ text }}|||a|||b|||{{ label }}"),
    "separator_in_a_list": Case(
        ("train row 1, template 0: rendered, it has ||| 2 times", "inside the field 'items'"),
        "{{ items | join }}|||{{ label }}",
        lines({"items": ["a"], "label": "b"}, {"items": ["a", "c|||d"], "label": "b"}),
    ),
    "undefined_field": template("the record has no field 'txet'; did you mean 'text'?", "{{ txet }}|||{{ label }}"),
    "undefined_in_choices": template("the record has no field 'lable'; did you", "a|||{{ text }}", "{{ lable }}"),
    "blank": template("the output is blank", "{{ text }}|||{{ '  ' }}"),
    "syntax": Case(("template 0, line 2 of jinja: ",), "{{ text }}\n{% for %}|||b"),
    "includes": Case(("template 0, line 1 of jinja: include reads other files",), f"{{% include '{SECRET}' %}}|||b"),
    "imports": Case(("import reads other files",), f"{{% import '{SECRET}' as other %}}|||b"),
    "extends": Case(("extends reads other files",), f"{{% extends '{SECRET}' %}}|||b"),
    "statement": Case(("template 0, line 1 of jinja: Encountered unknown tag 'do'",), f"{{% do {RUN} %}}a|||b"),
    "nested_blocks": Case(("nested too deep",), "{% for i in items %}" * 30 + "a|||b" + "{% endfor %}" * 30),
    "nested_brackets": Case(("template 0",), "{{ " + "(" * 9000 + "1" + ")" * 9000 + " }}|||b"),
    "long_sum": Case(("template 0",), "{{ " + "text + " * 9000 + "text }}|||b"),
    "endless_macro": template("RecursionError", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}|||b"),
    "shows_an_address": template("the input shows an object that is no value", "{{ items | map('upper') }}|||b"),
    "unordered": template("TypeError: a difference of keys has no order", "{{ inner.keys() - [] }}|||b"),
    "draws": Case(("No filter named 'random'",), "{{ items | random }}|||b"),
    "control_characters": template(
        r"'dict object' has no attribute '\x1b[2J\x07\u202e'", r"{{ inner['\x1b[2J\x07\u202e'] }}|||b"
    ),
}

ESCAPES = {
    "class": escape("text.__class__.__mro__", "access to attribute '__class__' of 'str' object is unsafe"),
    "globals": escape(f"cycler.__init__.__globals__.os.{RUN}", "access to attribute '__init__'"),
    "attr_filter": escape(
        "text | attr('__class__') | attr('__mro__')",
        "'sciriff.recreate.rendering._Missing object' has no attribute '__mro__'",
    ),
    "format_string": escape("'{0.__class__.__mro__}'.format(text)", "access to attribute '__class__'"),
    "format_filter": escape("('{0.__class__}' | attr('format'))(text)", "access to attribute '__class__'"),
    "self_context": escape("self._TemplateReference__context", "access to attribute '_TemplateReference__context'"),
    "request": escape("request.application.__globals__", "the record has no field 'request'"),
    "opens": escape(RUN, "the record has no field 'open'"),
    "changes_data": escape("items.append('z')", "access to attribute 'append' of 'list' object is unsafe"),
}

LIMITED = {
    "python_loop": limit(
        "train row 0",
        SECONDS,
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}a|||b",
    ),
    "power_in_c": limit("train row 0", SECONDS, "{% set x = 7 ** (items | length * 50000000) %}a|||b"),
    "constant_in_c": limit("template 0", SECONDS, "{% set x = 7 ** 100000000 %}a|||b"),
    "huge_constant": limit("train row 0", MEMORY, "{{ 'a' * 1000000000 }}|||b"),
    "huge_text": limit("train row 0", MEMORY, "{{ text * 100000000 }}|||b"),
    "huge_center": limit("train row 0", MEMORY, "{{ text | center(10 ** 9) }}|||b"),
    "huge_indent": limit("train row 0", MEMORY, "{{ (text ~ '\n' ~ text) | indent(10 ** 9) }}|||b"),
    "huge_join": limit("train row 0", MEMORY, "{{ range(99999) | join(text * 9999) }}|||b"),
    "huge_format": limit("train row 0", MEMORY, "{{ '%01000000000d' | format(items | length) }}|||b"),
    "doubled": limit(
        "train row 0",
        MEMORY,
        "{% set x = namespace(a=text) %}{% for i in range(99) %}{% set x.a = x.a ~ x.a %}{% endfor %}a|||b",
    ),
    "many_objects": limit(
        "train row 0",
        MEMORY,
        "{% set x = namespace(a=[text]) %}{% for i in range(99) %}{% set x.a = x.a + [x.a] + x.a %}{% endfor %}a|||b",
    ),
    "gigabyte": limit(
        "train row 0", MEMORY, "{% set x = text * 9999 %}{% for i in range(99999) %}{{ x }}{% endfor %}|||b"
    ),
}


def changed(*pair: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert pair[0] in text
        return text.replace(*pair, 1)

    return change


def nothing_else(content: str) -> Callable[[str], str]:
    return lambda text: content


YAML = {
    "unknown_key": Case(
        (": templats is not a key", "did you mean 'templates'?"), yaml=changed("templates", "templats")
    ),
    "unknown_inner_key": Case(("metadata.domain is not a key",), yaml=changed("domains", "domain")),
    "two_keys": Case((".yaml:2: ", "the key name stands twice"), yaml=lambda text: "name: a\n" + text),
    "nul_in_yaml": Case(("not a template file",), yaml=lambda text: text + "\0"),
    "escape_in_key": Case(("␛]0;x␇ is not a key",), yaml=lambda text: '"\\e]0;x\\a": 1\n' + text),
    "aliases": Case(
        (".yaml:2: ", "aliases (*name) are not read"),
        yaml=lambda text: "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b, *b, *b]\n" + text,
    ),
    "deep_yaml": Case(("not a template file", "recursion"), yaml=lambda text: text + "license: " + "[" * 50000),
    "python_tag": Case(
        ("tags (!name) are not read",), yaml=changed("[biomedicine]", f"!!python/object/apply:open [{SECRET}, w]")
    ),
    "set_tag": Case(("tags (!name) are not read",), yaml=changed("[biomedicine]", "!!set {a}")),
    "huge_number": Case(("license",), yaml=lambda text: text + "license: [" + "9" * 100_000 + "]\n"),
    "hex_number": Case(("templates are numbered 0, 1, ...",), yaml=changed("  0:", "  0x" + "f" * 900 + ":")),
    "surrogate_in_yaml": Case(("half a surrogate pair",), yaml=lambda text: text + 'license: "\\udc00"\n'),
    "other_name": Case(("name is ../../other_name",), yaml=changed("name: other_name", "name: ../../other_name")),
    "slash_in_name": Case(("name is a/b, and",), yaml=changed("name: slash_in_name", "name: a/b")),
    "formatter_path": Case(
        ("formatter.name=../../os is not known",), yaml=lambda text: text + "formatter: {name: ../../os}\n"
    ),
    "formatter_module": Case(("formatter.name=os is not known",), yaml=lambda text: text + "formatter: {name: os}\n"),
    "formatter_argument": Case(
        ("formatter.args.types_map: found list: expected `str`".replace("`", ""),),
        yaml=lambda text: text + "formatter: {name: bigbio_ner, args: {types_map: [1]}}\n",
    ),
    "formatter_extra": Case(
        ("formatter.args.mode is no argument of bigbio_ner",),
        yaml=lambda text: text + "formatter: {name: bigbio_ner, args: {types_map: a, mode: b}}\n",
    ),
    "hub_path": Case(("dataset is ../..",), yaml=lambda text: re.sub("(?m)^data: .*", "dataset: ../..", text)),
    "home_of_nobody": Case(
        ("data names ~no-such-user/a.jsonl",),
        yaml=lambda text: re.sub("(?m)^data: .*", "data: ~no-such-user/a.jsonl", text),
    ),
    "latin_1": Case(("not UTF-8 (byte 6",), yaml=nothing_else("name: \udce9")),
    "a_list": Case(("expected keys and values, found list",), yaml=nothing_else("[1, 2]")),
    "empty_yaml": Case(("expected keys and values",), yaml=nothing_else("")),
    "too_large": Case(("a template file has at most",), yaml=lambda text: text + "#" * 300_000),
}


def table(*rows: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def parquet(path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"] * 1000, "label": [str(i) for i in range(1000)]}), path)
    path.write_bytes(path.read_bytes()[:-200])


def cut_inside(path: Path) -> None:
    """A table whose end, with its description, is there, and whose middle is not what it was."""
    pq.write_table(pa.table({"text": [f"{i} text" * 9 for i in range(5000)], "label": ["a"] * 5000}), path)
    data = bytearray(path.read_bytes())
    data[2000:6000] = bytes(4000)
    path.write_bytes(data)


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        before = Path.cwd()
        os.chdir(path.parent)  # the address may have 107 bytes
        try:
            made.bind(path.name)
        finally:
            os.chdir(before)


NO_FILE = ("data names ", "there is no such file")

DATA = {
    "fifo": Case(NO_FILE, data=os.mkfifo),
    "device": Case(NO_FILE, data=lambda path: path.symlink_to("/dev/zero")),
    "socket": Case(NO_FILE, data=bind),
    "folder": Case(NO_FILE, data=Path.mkdir),
    "link_loop": Case(NO_FILE, data=loop),
    "unreadable": Case(("Input/output error",), data=lambda path: path.symlink_to("/proc/self/mem")),
    "other_format": Case(("records are read from .jsonl",), suffix=".pickle"),
    "lfs_pointer": Case(
        ("git lfs pull",), data=b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n"
    ),
    "csv_pointer": Case(
        ("git lfs pull",), data=b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", suffix=".csv"
    ),
    "empty": Case(("its source has no records",), data=b""),
    "not_json": Case((".jsonl:2: not JSON",), data=lines(GOOD) + b"{text: 1}\n"),
    "half_a_line": Case((".jsonl:2: not JSON",), data=lines(GOOD) + lines(GOOD)[:20]),
    "raw_nul": Case((".jsonl:1: not JSON",), data=lines(GOOD).replace(b"A", b"\0")),
    "escaped_nul": Case(
        ("train row 1, template 0: the input has a NUL character", "inside the field 'text'"),
        data=lines(GOOD, GOOD | {"text": "a\0b"}),
    ),
    "half_a_pair": Case(
        ("train row 1, template 0: the output has half a surrogate pair", "inside the field 'label'"),
        data=lines(GOOD, GOOD | {"label": "\ud800"}),
    ),
    "not_utf8": Case((".jsonl:2: not UTF-8",), data=lines(GOOD) + b'{"text": "\xe9"}\n'),
    "no_object": Case((".jsonl:2: a row must be a JSON object",), data=lines(GOOD, ["A text."])),
    "deep_json": Case((".jsonl:1: not JSON",), data=b'{"text": ' + b"[" * 100_000 + b"\n"),
    "long_number": Case((".jsonl:1: not JSON (Exceeds the limit",), data=b'{"text": ' + b"9" * 5000 + b"}\n"),
    "same_id": Case(
        ("train row 1: same_id:train:7 is already train row 0; ids must differ",),
        data=lines(GOOD | {"_id": 7}, GOOD | {"_id": "7"}),
    ),
    "odd_id": Case(("train row 0: _id=␛[2Ja␊", "without white space"), data=lines(GOOD | {"_id": "\x1b[2Ja\n"})),
    "odd_documents": Case(("train row 0: _documents=5 must be a list",), data=lines(GOOD | {"_documents": 5})),
    "broken_quote": Case((".csv:3: ",), data=b'text,label\na,b\n"c,d\n', suffix=".csv"),
    "ragged": Case((".csv:3: 3 values for the 2 columns",), data=b"text,label\na,b\nc,d,e\n", suffix=".csv"),
    "cut_parquet": Case((".parquet: damaged, after row 0",), data=parquet, suffix=".parquet"),
    "damaged_parquet": Case((".parquet: damaged, after row",), data=cut_inside, suffix=".parquet"),
    "cut_gzip": Case(("damaged or only half there",), data=gzip.compress(RECORDS)[:-9], suffix=".jsonl.gz"),
    "gzip_bomb": Case(
        ("longer than 64,000,000 bytes",), data=gzip.compress(bytes(7 * MILLIONS), 1), suffix=".jsonl.gz"
    ),
    "wrong_type": Case(
        ("train row 0: ", "entities"),
        data=lines(GOOD | {"entities": 5}),
        yaml=lambda text: text + "formatter: {name: bigbio_ner, args: {types_map: 'a:b'}}\n",
    ),
    "escapes_in_data": Case(
        ("the record has no field 'text'; it has ␛]0;x␇�, label",),
        data=lines({"label": "b", "\x1b]0;x\x07\u202e": "a"}),
    ),
}

BAD = TEMPLATES | ESCAPES | LIMITED | YAML | DATA

WORKS = {
    "ten_megabytes": (lines({"text": "word " * (MILLIONS // 5), "label": "a"}), "word " * 3, "a"),
    "crlf": (lines(GOOD | {"text": "a\r\nb"}).replace(b"\n", b"\r\n"), "a\r\nb", "c"),
    "byte_order_mark": (b"\xef\xbb\xbf" + lines(GOOD), "A text.", "c"),
    "not_a_number": (b'{"text": NaN, "label": 1e999}\n', "nan", "inf"),
    "deep_value": (b'{"text": ' + b"[" * 500 + b"]" * 500 + b', "label": "a"}\n', "[" * 500 + "]" * 500, "a"),
    "separator_in_text": (lines(GOOD | {"text": "a ||| b"}), "a ||| b", "c"),
    "private_characters": (lines(GOOD | {"text": "a \ue000\ue001\ue002 b"}), "a \ue000\ue001\ue002 b", "c"),
    "looks_like_jinja": (lines(GOOD | {"text": "{{ label }}{% raw %}"}), "{{ label }}{% raw %}", "c"),
    "looks_like_an_address": (lines(GOOD | {"text": "<a at 0x7f00>"}), "<a at 0x7f00>", "c"),
    "../outside": (lines(GOOD), "A text.", "c"),
}
"""Unusual data that rows are made of: name -> (data, how the input begins, the output)."""


def write_case(folder: Path, name: str, case: Case) -> None:
    path = folder / f"{name}{case.suffix}"
    if isinstance(case.data, bytes):
        path.write_bytes(case.data)
    else:
        case.data(path)
    text = case.yaml(template_text(name, templates=[case.jinja], data=path.name))
    if case.choices:
        text += f"    answer_choices: {json.dumps(case.choices)}\n"
    (folder / f"{name}.yaml").write_text(text, encoding="utf-8", errors="surrogateescape")


ODD_FILES = {
    "odd name\n\x1b[31m.yaml": "odd name␊␛[31m",
    "\u202egnp.yaml": "�gnp",
    "\udcff.yaml": "�",
    "a.b.yaml": "a.b",
    "pipe.yaml": "pipe",
    "a_folder.yaml": "a_folder",
    "zeros.yaml": "zeros",
    "loop.yaml": "loop",
}
"""Name of a file, or of something else, that looks like a template -> how the line begins."""


@dataclass(frozen=True)
class Built:
    status: int
    printed: str
    out: Path
    place: Path

    def lines_of(self, task: str) -> list[str]:
        return [line for line in self.printed.split("\n") if line.startswith(f"error: {task}: ")]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The build of everything above."""
    place = tmp_path_factory.mktemp("hostile")
    templates = place / "templates"
    for name in HEALTHY:
        write_task(templates, name)
    for name, case in BAD.items():
        write_case(templates, name, case)
    for name, (data, _, _) in WORKS.items():
        file = (templates / f"{name}.jsonl").resolve()
        file.write_bytes(data)
        task = Path(name).name
        (templates / f"{task}.yaml").write_text(
            template_text(task, templates=["{{ text }}|||{{ label }}"], data=f"{name}.jsonl")
        )
    for name in list(ODD_FILES)[:4]:
        (templates / name).write_text(template_text("odd"))
    os.mkfifo(templates / "pipe.yaml")
    (templates / "a_folder.yaml").mkdir()
    (templates / "zeros.yaml").symlink_to("/dev/zero")
    (templates / "loop.yaml").symlink_to("loop.yaml")
    (templates / f"{SECRET}.txt").write_text(SECRET)
    settings = {"templates": templates, "out": place / "out", "context_window": "null", "workers": 2, **LIMITS}
    done = subprocess.run(
        [sys.executable, "-m", "sciriff.recreate", *(f"recreate.{key}={value}" for key, value in settings.items())],
        cwd=place,
        capture_output=True,
        timeout=600,
        check=False,
    )
    assert not done.stdout
    return Built(done.returncode, done.stderr.decode(), place / "out", place)


def test_there_are_more_than_thirty():
    assert len(BAD) > 90


@pytest.mark.parametrize("name", BAD)
def test_a_bad_task_has_one_line_with_file_and_place(built: Built, name: str):
    (line,) = built.lines_of(name)
    assert f"{name}." in line and all(part in line for part in BAD[name].says), line
    assert len(line) < 1000 and "Traceback" not in line


@pytest.mark.parametrize("name", ODD_FILES)
def test_a_file_with_an_odd_name_has_one_line(built: Built, name: str):
    (line,) = built.lines_of(ODD_FILES[name])
    assert line.count(ODD_FILES[name]) >= 2


@pytest.mark.parametrize("name", WORKS)
def test_unusual_data_is_kept(built: Built, name: str):
    _, begins, answer = WORKS[name]
    task = Path(name).name
    (row,) = [row for row in every_row(built.out) if row["_instance_id"].startswith(f"{task}:")]
    assert row["input"].startswith(begins) and row["output"] == answer
    if name == "ten_megabytes":
        assert len(row["input"]) == MILLIONS - 1


def every_row(out: Path) -> list[dict[str, Any]]:
    return [row for rows in rows_of(out).values() for row in rows]


def test_the_others_are_written_as_if_they_were_alone(built: Built, tmp_path: Path):
    assert built.status == SOME_FAILED
    for name in HEALTHY:
        write_task(tmp_path / "templates", name)
    assert build_rows(tmp_path / "templates", tmp_path / "out") == 0
    alone, beside = rows_of(tmp_path / "out"), rows_of(built.out)
    for split in alone:
        assert alone[split] == [row for row in beside[split] if row["_instance_id"].startswith(HEALTHY)]
    assert sum(map(len, alone.values())) == 20


def test_nothing_raw_is_printed_and_nothing_twice(built: Built):
    unshown = "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
    assert not re.findall(unshown, built.printed)
    printed = built.printed.rstrip("\n").split("\n")
    good = len(HEALTHY) + len(WORKS)
    assert len(printed) == len(BAD) + len(ODD_FILES) + good + 3
    assert printed[-3].startswith(f"{20 + len(WORKS)} rows of {good} tasks")
    assert printed[-2].startswith("a page to look at them: ")
    assert printed[-1].startswith(f"error: {len(BAD) + len(ODD_FILES)} tasks failed: ")


def test_the_card_has_what_failed_wherever_it_was(built: Built):
    card = json.loads((built.out / "card.json").read_text())
    assert sorted(card["failed"]) == sorted([*BAD, *ODD_FILES.values()])
    assert set(card["tasks"]) == {*HEALTHY, *(Path(name).name for name in WORKS)}
    assert str(built.place) not in (built.out / "card.json").read_text()


@pytest.mark.slow
def test_a_tokenizer_that_needs_too_much_memory_fails_the_task_with_its_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """It ends the whole process, where Python could go on."""
    records = [GOOD, GOOD | {"text": "a" * MILLIONS}, GOOD]
    templates = write_task(write_task(tmp_path / "t", "small", [GOOD] * 5), "large", records)
    settings = {"context_window": 4096, "tokenizer": str(TOKENIZER), "memory_gb": 0.5}
    assert build_rows(templates, tmp_path / "out", **settings) == SOME_FAILED
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: large: ")]
    assert line.endswith("large.yaml: train row 1 needs more than recreate.memory_gb=0.5 gigabytes")
    assert sum(map(len, rows_of(tmp_path / "out").values())) == 5


@pytest.mark.shows("T1")
def test_no_code_ran_and_no_file_was_read(built: Built):
    assert not list(built.place.rglob(SECRET))
    for path in [*built.out.glob("*.json*"), *built.out.glob(f"{TASKS}/*/*.json*")]:
        assert SECRET not in path.read_text(), path
    assert not list(built.out.rglob(SPOOL))
