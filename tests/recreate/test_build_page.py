"""The page of a build: what it says, that nothing in it can act, and one line for a folder that is no build."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import PHONE, address, chromium, quiet_tab, serious_findings
from recreate_runs import build_rows, write_task

from sciriff.recreate.page.__main__ import main
from sciriff.recreate.page.content import TEXT, page
from sciriff.run.user_error import UserError

HARM = (
    "</pre></script><script>window.ran=1</script><img src=x onerror='window.ran=2'><svg onload='window.ran=3'>"
    "<a href='javascript:window.ran=4'>x</a> {{7*7}} \u202eevil\u2066 \x1b[31m"
)
LONG = "A paper on rare moths, long enough to be a document that others can have, too. " * 4


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build with a held-out task that shares papers with another, hostile data, a failed task and one not at hand."""
    folder = tmp_path_factory.mktemp("page")
    records = [{"text": f"{LONG} {number}", "label": f"kind {number % 2}"} for number in range(20)]
    templates = write_task(folder / "t", "scierc_ner", records)
    write_task(templates, "twin", records, more="license: CC BY 4.0\n")
    harm = {"text": HARM, "label": HARM, HARM: [HARM], "long": "x" * 200_000}
    write_task(templates, "harm", [harm | {"_id": number} for number in range(9)])
    write_task(templates, "broken", [{"texts": "x", "label": "y"}])
    absent = (templates / "twin.yaml").read_text().replace("name: twin", "name: chia_ner")
    (templates / "chia_ner.yaml").write_text(absent.replace("data: twin.jsonl", "dataset: bigbio/chia"))
    assert build_rows(templates, folder / "out") == 1
    return folder / "out"


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    """The card and the examples of the build, to be changed."""
    (tmp_path / ".tasks").mkdir()
    for name in ("card.json", ".tasks/examples.jsonl"):
        (tmp_path / name).write_bytes((built / name).read_bytes())
    return tmp_path


def text_of(written: bytes) -> str:
    return " ".join(re.sub(r"<[^>]*>", "", written.decode().split("</style>")[1].split("<script>")[0]).split())


def test_it_says_what_was_made_and_what_was_not(built: Path):
    text = text_of(page(built, 3))
    assert "49 rows of 3 tasks:" in text and "1 task failed and the data of 1 task is not at hand." in text
    assert "scierc_ner" in text and "CC BY 4.0" in text and "the order of lists inside a row" in text
    assert "did you mean" in text and "texts" in text, "why broken failed"
    assert "get it from https://huggingface.co/datasets/bigbio/chia" in text
    assert "harm.jsonl" in text and json.loads((built / "card.json").read_text())["digests"]["test.jsonl"] in text


def test_shared_documents_are_on_top_in_plain_words(built: Path):
    text = text_of(page(built, 3))
    counts = json.loads((built / "card.json").read_text())["shared_documents"]
    shared = [entry["shared"] for entry in counts.values()]
    assert f"Of 8 validation or test records of the held-out tasks, {sum(shared)} ({sum(shared) / 8:.0%})" in text
    assert "recreate.split=document" in text and f"long text {max(shared)}" in text and f"twin {max(shared)}" in text
    assert text.index("Shared documents") < text.index("Rows of each task")


def test_template_record_input_and_output_stand_together(built: Path):
    written = page(built, 3).decode()
    assert written.count('class="example"') == 9
    (first,) = re.findall(r'<details class="example" open>.*?</details>', written.split('id="task-twin"')[1], re.S)[:1]
    assert "Which kind? {{ text }}" in first and "A paper on rare moths" in first and first.count("kind ") >= 2
    assert page(built, 0).decode().count('class="example"') == 0
    assert page(built, 9).decode().count('class="example"') > 9


def test_long_texts_are_cut(built: Path):
    written = page(built, 1)
    assert len(written) < 200_000 and "x" * (TEXT + 1) not in written.decode()
    assert "characters are not shown" in written.decode()


def test_hostile_text_stays_text(built: Path):
    written = page(built, 9).decode()
    assert "&lt;script&gt;window.ran=1" in written and "<script>window" not in written and "<img" not in written
    assert not set("\u202e\u2066\x1b") & set(written)
    assert written.count("<script>") == 1 and "{{7*7}}" in written


def test_the_command_writes_the_page_and_says_where(built: Path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["page", str(built), "--rows", "1"])
    assert main() == 0
    assert capsys.readouterr().out == f"{built / 'page.html'}\n"
    first = (built / "page.html").read_bytes()
    assert main() == 0 and (built / "page.html").read_bytes() == first == page(built, 1)


def test_a_build_ends_with_the_command(tmp_path: Path, capsys):
    build_rows(write_task(tmp_path / "t"), tmp_path / "my rows")
    assert f"python -m sciriff.recreate.page '{tmp_path / 'my rows'}'" in capsys.readouterr().err


def test_a_folder_that_is_no_build_is_one_line(tmp_path: Path):
    command = [sys.executable, "-m", "sciriff.recreate.page", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1 and "card.json" in result.stderr
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[]", "card of a build"),
        ("{}", "missing"),
        ("not JSON", "card of a build"),
        ("[" * 100_000, "card of a build"),
        ('{"settings": ' + '{"a":' * 50_000, "card of a build"),
        ('{"settings": ' + "9" * 5000 + "}", "card of a build"),
        ('{"a\\u001b[31m\\n": 1, "settings": {"x\\u001b[31m\\n": {"b": 1}}}', "settings"),
        (" " * 32_000_001, "32,000,001 bytes"),
    ],
    ids=["list", "empty", "text", "deep", "deep object", "number", "control characters", "huge"],
)
def test_a_card_that_is_none_is_one_line(copy: Path, content: str, says: str):
    (copy / "card.json").write_text(content)
    with pytest.raises(UserError) as error:
        page(copy, 3)
    line = str(error.value)
    assert says in line and "card.json" in line and len(line) < 1000 and not set("\n\x1b") & set(line)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (["rows", "train"], -1),
        (["rows"], {}),
        (["tasks", "twin", "rows", "test"], 10**30),
        (["tasks", "twin", "lost"], "order"),
        (["tasks", "twin", "left_out"], {"x": {"rows": "many", "first": []}}),
        (["tasks", "twin", "source", "files"], [HARM]),
        (["tasks", "twin", "metadata"], {"domains": {"a": {}}}),
        (["shared_documents"], {HARM: {}}),
        (["settings", "seed"], {"deep": [[]]}),
        (["failed"], {HARM: 5}),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, list) else "",
)
def test_a_value_of_a_wrong_type_is_one_line(copy: Path, keys: list[str], value: Any):
    card = json.loads((copy / "card.json").read_text())
    inside = card
    for key in keys[:-1]:
        inside = inside[key]
    inside[keys[-1]] = value
    (copy / "card.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match="card") as error:
        page(copy, 3)
    assert keys[-1] in str(error.value) and not set("\n\x1b\u202e") & set(str(error.value))


def test_examples_that_are_none_are_one_line_and_a_page_needs_none(copy: Path):
    path = copy / ".tasks" / "examples.jsonl"
    path.write_text('{"task": "twin", "rows": 5}\n')
    with pytest.raises(UserError, match=r"examples\.jsonl:1") as error:
        page(copy, 3)
    assert "\n" not in str(error.value)
    path.unlink()
    assert "no rows are shown" in text_of(page(copy, 3))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture
def hostile(copy: Path) -> Path:
    """A page whose card is hostile, too."""
    card = json.loads((copy / "card.json").read_text())
    task = card["tasks"]["twin"]
    task |= {"license": HARM, "lost": [HARM], "metric": HARM, "pinned": {HARM: 3}, "metadata": {HARM: HARM}}
    task["left_out"] = {HARM: {"rows": 7, "first": [HARM] * 9}}
    task["source"] = {"hub": HARM, "files": {f"{HARM}{number}": HARM for number in range(90)}, "incomplete": HARM}
    card["tasks"][HARM] = task
    card["failed"][HARM] = card["not_at_hand"][HARM] = HARM * 1000
    card["shared_documents"][HARM] = {"records": 0, "shared": 5, "with": {HARM: 5}, "by": {HARM: 5}}
    card["settings"][HARM] = HARM
    (copy / "card.json").write_text(json.dumps(card))
    (copy / "page.html").write_bytes(page(copy, 9))
    return copy / "page.html"


def test_a_hostile_build_runs_nothing_and_asks_for_nothing(browser: Any, hostile: Path):
    with quiet_tab(browser) as tab:  # which fails for anything that is asked for or said
        tab.goto(address(hostile))
        for fold in tab.query_selector_all("details"):
            fold.evaluate("fold => { fold.open = true }")
        assert "onerror='window.ran=2'" in tab.text_content("main")
        assert tab.evaluate("window.ran") is None
        assert tab.evaluate("document.querySelectorAll('main :is(img, script, a[href^=javascript])').length") == 0
        assert tab.evaluate("document.documentElement.scrollWidth") == 1280


@pytest.mark.parametrize("fragment", ["%zz", "<img src=x onerror=alert(1)>", "task-", "__proto__", "theme"])
def test_the_address_cannot_do_harm(browser: Any, hostile: Path, fragment: str):
    with quiet_tab(browser) as tab:
        tab.goto(address(hostile, fragment))
        assert tab.is_visible("h1") and tab.evaluate("window.ran") is None


def test_a_task_is_reached_and_opened_with_the_keyboard(browser: Any, built: Path, tmp_path: Path):
    path = tmp_path / "page.html"
    path.write_bytes(page(built, 3))
    with quiet_tab(browser) as tab:
        tab.goto(address(path))
        tab.focus("a[href='#task-twin']")
        tab.keyboard.press("Enter")
        tab.wait_for_selector("#task-twin[open] .parts pre")
        tab.focus("#task-twin > summary")
        tab.keyboard.press("Enter")
        assert not tab.is_visible("#task-twin .parts")
        tab.goto(address(path, "task-harm"))
        tab.wait_for_selector("#task-harm[open]")


@pytest.mark.parametrize(("scheme", "phone"), [("light", False), ("dark", True)], ids=["desktop", "phone, dark"])
def test_everybody_can_use_it(browser: Any, built: Path, tmp_path: Path, scheme: str, phone: bool):
    path = tmp_path / "page.html"
    path.write_bytes(page(built, 3))
    with quiet_tab(browser, color_scheme=scheme, **({"viewport": PHONE} if phone else {})) as tab:
        tab.goto(address(path))
        for fold in tab.query_selector_all("details"):
            fold.evaluate("fold => { fold.open = true }")
        assert tab.evaluate("document.documentElement.scrollWidth") == (PHONE["width"] if phone else 1280)
        assert serious_findings(tab) == []
        dark = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, dark[4:-1].split(","))) < 150) == phone
        tab.click("#theme")
        assert tab.inner_text("#theme") == "Theme: light"
