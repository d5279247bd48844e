import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from chat_rows import training_ids
from hub_server import COMMIT, DATASET, hub_server
from largest_file import largest_file
from told_by_driver import told
from transformers import AutoTokenizer

from sciriff.config import SAMPLE, Config, to_yaml
from sciriff.config.trust import TRUST
from sciriff.data.records import Conversation
from sciriff.data.token_file import NAME, TokenFile, write_token_file
from sciriff.mix import tokenise
from sciriff.mix.__main__ import main
from sciriff.mix.cache import build_once
from sciriff.mix.token_spool import TokenRow, TokenSpool
from sciriff.mix.tokenise import Tokeniser
from sciriff.run.digest import file_digest
from sciriff.run.json_lines import Message, read_jsonl, write_jsonl
from sciriff.run.run_dir import RunDir

Make = Callable[..., tuple[Config, RunDir]]


@pytest.fixture
def make(tmp_path: Path, composed: Callable[..., Config]) -> Make:
    """`make("one", "mix.per_task=3")` is the config and folder of a run on the bundled sample."""

    def make_run(name: str, *overrides: str) -> tuple[Config, RunDir]:
        run = RunDir(tmp_path / "runs" / name)
        run.root.mkdir(parents=True)
        places = (f"run_dir={run.root}", f"cache_dir={tmp_path / 'cache'}", f"name={name}")
        config = composed("model=tiny", "mix=sample", "eval=sample", "mix.per_task=8", *places, *overrides)
        run.config.write_text(to_yaml(config))
        return config, run

    return make_run


def test_a_mix_its_card_and_its_tokens(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    config, run = make("one")
    main(config, run)
    rows = list(read_jsonl(run.mix, Conversation))
    card = json.loads(run.mix_card.read_text())
    tokens = TokenFile(run.tokens)
    tokenizer = AutoTokenizer.from_pretrained(SAMPLE / "tokenizer")

    assert tokens.ids == [row.name for row in rows]
    for i in range(len(tokens)):
        ids, targets = tokens[i]
        assert ids[0] == tokenizer.bos_token_id
        assert ids[np.flatnonzero(targets)[-1]] == tokenizer.eos_token_id
        assert 2 <= targets.sum() == tokens.target_counts[i] and len(ids) == tokens.lengths[i]
    assert not run.mix.is_symlink() and not run.mix_card.is_symlink() and run.tokens.is_symlink()

    assert card["rows"] == len(rows) == sum(card["read"].values()) - sum(x["rows"] for x in card["dropped"].values())
    assert card["digest"] == file_digest(run.mix)
    assert card["prompt_tokens"]["sum"] + card["target_tokens"]["sum"] == tokens.lengths.sum()
    assert card["target_tokens"]["max"] == tokens.target_counts.max()
    assert card["target_share"] == pytest.approx(tokens.target_counts.sum() / tokens.lengths.sum())
    for parts in (card["by_source"], card["by_dataset"]):
        assert sum(part["rows"] for part in parts.values()) == len(rows)
        assert sum(part["target_tokens"]["sum"] for part in parts.values()) == tokens.target_counts.sum()
    assert card["by_source"]["science"]["rows"] == card["by_source"]["general"]["rows"]
    assert card["held_out_rows"] == 0
    assert card["recipe"]["per_task"] == 8 and set(card["recipe"]["sources"]) == {"sciriff", "tulu"}

    printed = capsys.readouterr().out
    assert f"[{len(rows)}/{len(rows)}] rows tokenised" in printed
    assert "of the tokens are learnt" in printed and "already built" not in printed


def test_validation_rows_and_their_tokens(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    config, run = make("one", "mix.validation_rows=40")
    main(config, run)
    rows = list(read_jsonl(run.validation, Conversation))
    assert TokenFile(run.validation_tokens).ids == [row.name for row in rows]
    assert run.validation_tokens.is_symlink() and not run.validation.is_symlink()
    assert [row.dataset.startswith("science.") for row in rows] == [True] * 40 + [False] * 40
    card = json.loads(run.mix_card.read_text())
    general = card["validation"]["by_source"]["general"]
    assert (general["rows"], general["from"], general["out_of_reach"]) == (40, {"left by the caps": 40}, None)
    assert card["validation"]["digest"] == file_digest(run.validation)
    assert card["validation"]["wanted"] == 40
    assert "validation: 40 general rows (40 left by the caps)" in capsys.readouterr().out

    without, other = make("without")
    main(without, other)
    assert other.mix.read_bytes() == run.mix.read_bytes()
    assert not other.validation.exists() and not other.validation_tokens.exists()
    main(without, run)  # what an earlier recipe left in the folder is no part of this one
    assert not run.validation.exists() and not run.validation_tokens.is_symlink()


def test_too_few_validation_rows_are_told(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    config, run = make("one", "mix.validation_rows=5", "mix.per_task=1000", "mix.tulu=all")
    main(config, run)
    printed = capsys.readouterr().out
    assert "validation: 0 science rows of the 5 asked for: no more are left" in printed
    assert not run.validation.exists() and "0 general rows of the 5 asked for" in run.mix_card_page.read_text()


def test_a_finished_mix_leaves_no_rows_to_watch(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    config, one = make("one")
    main(config, one)
    config, run = make("two", f"mix.path={one.mix}", "mix.validation_rows=250")
    main(config, run)
    assert run.mix.read_bytes() == one.mix.read_bytes() and not run.validation.exists()
    assert "validation: no rows, since a finished mix is taken whole" in capsys.readouterr().out


@pytest.mark.slow
def test_a_source_that_is_only_watched_may_be_out_of_reach(make: Make, tmp_path: Path) -> None:
    hub = ("mix.sources.tulu.path=null", "mix.sources.tulu.hub=someone/absent", "mix.validation_rows=3")
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    _, run = make("watched", "mix.tulu=none", *hub)
    done = run_stage(run, **offline)
    assert done.returncode == 0, done.stderr
    assert "validation: no general rows: someone/absent split=train: " in done.stdout
    rows = list(read_jsonl(run.validation, Conversation))
    assert len(rows) == 3 and all(row.dataset.startswith("science.") for row in rows)
    assert "mix: already built" not in run_stage(run, **offline).stdout.replace("tokens: already built", "")
    _, run = make("taken", "mix.tulu=match", *hub)
    done = run_stage(run, **offline)
    assert done.returncode == 2 and done.stderr.startswith("error: someone/absent split=train: ")


@pytest.mark.slow
def test_a_mix_of_a_hub_dataset_says_its_revision(make: Make, tmp_path: Path) -> None:
    hub = ("mix.sources.sciriff.path=null", f"mix.sources.sciriff.hub={DATASET}", "mix.validation_rows=2")
    environment = {"HF_HOME": str(tmp_path / "hf"), "HF_DATASETS_CACHE": str(tmp_path / "hf" / "datasets")}
    _, run = make("one", *hub)
    with hub_server({"train.jsonl": (SAMPLE / "sciriff" / "train.jsonl").read_bytes()}) as endpoint:
        done = run_stage(run, HF_ENDPOINT=endpoint, **environment)
    assert done.returncode == 0, done.stderr
    assert f"sciriff: revision {COMMIT} (mix.sources.sciriff.revision={COMMIT} keeps it)" in done.stdout
    assert f"revision: {COMMIT}" in run.mix_card_page.read_text().partition("```yaml")[2]
    local, here = make("two", "mix.validation_rows=2")
    main(local, here)
    assert here.mix.read_bytes() == run.mix.read_bytes()

    _, pinned = make("three", *hub, f"mix.sources.sciriff.revision={COMMIT}")
    done = run_stage(pinned, HF_HUB_OFFLINE="1", **environment)
    assert done.returncode == 0, done.stderr
    assert f"sciriff: revision {COMMIT}\n" in done.stdout and pinned.mix.read_bytes() == run.mix.read_bytes()


@pytest.mark.slow
def test_a_mix_stays_built_while_the_evaluation_is_out_of_reach(make: Make, tmp_path: Path) -> None:
    hub = ("eval.path=null", f"eval.source.hub={DATASET}", "stages=[mix,train]", "mix.validation_rows=3")
    environment = {"HF_HOME": str(tmp_path / "hf"), "HF_DATASETS_CACHE": str(tmp_path / "hf" / "datasets")}
    _, run = make("one", *hub)
    for built in (False, True):
        done = run_stage(run, HF_HUB_OFFLINE="1", **environment)
        assert done.returncode == 0, done.stderr
        assert "NOT CHECKED for text of the evaluation prompts" in done.stdout
        assert ("mix: already built" in done.stdout) is built
    with hub_server({"validation.jsonl": (SAMPLE / "sciriff" / "validation.jsonl").read_bytes()}) as endpoint:
        done = run_stage(run, HF_ENDPOINT=endpoint, **environment)
    assert done.returncode == 0 and "NOT CHECKED" not in done.stdout, done.stderr
    assert json.loads(run.mix_card.read_text())["validation"]["compared"]


def test_a_changed_validation_split_is_another_mix(make: Make, tmp_path: Path) -> None:
    folder = tmp_path / "sciriff"
    shutil.copytree(SAMPLE / "sciriff", folder)
    settings = (f"mix.sources.sciriff.path={folder}", "mix.per_task=null", "mix.tulu=none", "mix.validation_rows=3")
    row = {"input": "What is new?", "output": "this", "_instance_id": "covid_qa:validation:0"}
    for name, answer in (("one", "this"), ("two", "that")):
        (folder / "validation.jsonl").write_text(json.dumps({**row, "output": answer}) + "\n")
        config, run = make(name, *settings)
        main(config, run)
        rows = [r for r in read_jsonl(run.validation, Conversation) if r.dataset == "science.covid_qa"]
        assert [r.messages[-1].content for r in rows] == [answer]


@pytest.mark.slow
def test_only_the_tokenizer_of_a_model_is_loaded(
    tmp_path: Path, cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(SAMPLE / "tokenizer", folder)  # no weights, no config of a model
    typed = ("model=custom", f"model.path={folder}", "model.chat=tulu", "mix=sample", "eval=sample", "mix.per_task=2")
    done = cli(*typed, "stages=[mix]", "run_dir=out")
    assert done.returncode == 0, done.stderr
    assert "science.scierc_re" in done.stdout and "of the tokens are learnt" in done.stdout
    assert (tmp_path / "out" / "mix" / "card.md").is_file()
    again = cli(*typed, "stages=[mix]", "run_dir=out")
    assert "mix: up to date" in again.stderr and again.stdout == done.stdout


def test_a_second_run_builds_nothing(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    config, one = make("one")
    main(config, one)
    capsys.readouterr()
    config, two = make("two")
    main(config, two)
    printed = capsys.readouterr().out
    assert "mix: already built" in printed and "tokens: already built" in printed and "tokenised" not in printed
    assert one.mix.read_bytes() == two.mix.read_bytes() and one.mix_card.read_bytes() == two.mix_card.read_bytes()
    assert one.tokens.resolve() == two.tokens.resolve()
    main(config, two)  # again into the same folder
    assert two.tokens.is_symlink() and len(TokenFile(two.tokens)) > 0


def test_another_recipe_source_or_markup_is_another_mix(make: Make, tmp_path: Path) -> None:
    def tokens_of(name: str, *overrides: str) -> Path:
        config, run = make(name, *overrides)
        main(config, run)
        return run.tokens.resolve()

    one = tokens_of("one")
    assert tokens_of("seed", "seed=5") == one  # only mix.seed is the mix's
    assert tokens_of("mix-seed", "mix.seed=5") != one
    assert tokens_of("chat", "model.chat=llama2") != one
    source = tmp_path / "train.jsonl"
    lines = (SAMPLE / "sciriff" / "train.jsonl").read_text().splitlines(keepends=True)
    source.write_text("".join(lines[1:]))
    assert tokens_of("source", f"mix.sources.sciriff.path={source}", "mix.per_task=1000", "mix.tulu=none") != one


def test_a_damaged_cache_is_built_anew(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    config, run = make("one")
    main(config, run)
    content = run.mix.read_bytes()
    cached = next((Path(config.cache_dir) / "mixes").glob("*/train.jsonl"))
    cached.write_bytes(content[: len(content) // 2])
    tokens = run.tokens.resolve() / NAME
    tokens.write_bytes(tokens.read_bytes()[:1000])
    main(config, run)
    assert capsys.readouterr().out.count("is not whole, built anew") == 2
    assert run.mix.read_bytes() == cached.read_bytes() == content
    assert len(TokenFile(run.tokens)) == content.count(b"\n")


def test_a_bad_row_leaves_nothing_behind(make: Make, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"input": "x", "output": "", "_instance_id": "t:train:0"}\n')
    config, run = make("one", f"mix.sources.sciriff.path={tmp_path / 'bad.jsonl'}")
    with pytest.raises(ValueError, match=r"bad\.jsonl:1: `output` is empty"):
        main(config, run)
    assert [path.suffix for path in (tmp_path / "cache" / "mixes").iterdir()] == [".lock"]
    assert not run.mix.exists()


def test_truncated_rows_are_counted_and_end_with_an_answer(make: Make, tmp_path: Path) -> None:
    long = {"role": "user", "content": "and so on " * 400}
    rows = [json.loads(line) for line in (SAMPLE / "tulu.jsonl").read_text().splitlines()[:6]]
    for row in rows[:4]:
        row["messages"] += [long, {"role": "assistant", "content": "Yes."}]
    source = tmp_path / "tulu.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    overrides = (f"mix.sources.tulu.path={source}", "mix.per_task=0", "mix.tulu=all")
    config, run = make("drop", *overrides)
    main(config, run)
    assert json.loads(run.mix_card.read_text())["rows"] == 2
    config, run = make("turns", *overrides, "mix.truncate=turns")
    main(config, run)
    card = json.loads(run.mix_card.read_text())
    assert card["rows"] == 6 and card["shortened"] == 4 and card["dropped"] == {}
    tokens, tokenizer = TokenFile(run.tokens), AutoTokenizer.from_pretrained(SAMPLE / "tokenizer")
    rows = list(read_jsonl(run.mix, Conversation))
    for i, row in enumerate(rows):
        assert row.messages[-1].role == "assistant" and "and so on" not in row.messages[-2].content
        ids, targets = tokens[i]
        assert (ids.tolist(), targets.tolist()) == training_ids("tulu", row.messages, tokenizer)
        assert ids[np.flatnonzero(targets)[-1]] == tokenizer.eos_token_id


ANSWER = Message("assistant", "a")
ROWS = [
    Conversation("flan", "1", (Message("user", "q"), ANSWER)),
    Conversation("orca", "2", (Message("system", "s"), Message("user", "q"), ANSWER)),
]


@pytest.mark.parametrize(
    ("system_message", "complaint"),
    [
        ("{{ raise_exception('no system messages') }}", r"model\.chat=tokenizer: .* \(no system messages\)"),
        ("{% set ns.end = '' %}", r"model\.chat=tokenizer: .* ends no answer with a special token"),
        ("{% set ns.end = bos_token %}", r"model\.chat=tokenizer: .* of its own \(<s>, and others with </s>\)"),
    ],
)
def test_a_row_that_the_markup_cannot_express_is_named(tmp_path: Path, system_message: str, complaint: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(SAMPLE / "tokenizer")
    tokenizer.chat_template = (
        "{% set ns = namespace(end=eos_token) %}"
        "{% for m in messages %}{% if m['role'] == 'system' %}" + system_message + "{% endif %}"
        "{{ m['content'] }}{% if m['role'] == 'assistant' %}{{ ns.end }}{% endif %}{% endfor %}"
    )
    tokeniser = Tokeniser("tokenizer", tokenizer, tmp_path)
    assert tokeniser.fitting(ROWS[:1], 3, "drop") == [0]
    with pytest.raises(ValueError, match=f"^orca/2: {complaint}"):
        tokeniser.fitting(ROWS, 100, "drop")
    write_jsonl(tmp_path / "mix.jsonl", ROWS)
    with pytest.raises(ValueError, match=f"^orca/2: {complaint}"):
        tokeniser.write(tmp_path / "mix.jsonl", 2, tmp_path / "tokens")
    assert not (tmp_path / "tokens" / NAME).exists()


@pytest.mark.parametrize("chat", ["tulu", "general"])
def test_tokens_that_were_measured_are_those_that_are_written(
    tmp_path: Path, chat: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows found in the spool, rows tokenised anew and rows of other batches stand in the order of the mix."""
    monkeypatch.setattr(tokenise, "BATCH_CHARACTERS", 2000)
    tokenizer = AutoTokenizer.from_pretrained(SAMPLE / "tokenizer")
    sample = [json.loads(line) for line in (SAMPLE / "tulu.jsonl").read_text().splitlines()[:60]]
    rows = [
        Conversation(row["dataset"], row["id"], tuple(Message(**message) for message in row["messages"]))
        for row in sample
    ]
    tokeniser = Tokeniser(chat, tokenizer, tmp_path)
    assert tokeniser.fitting(iter(rows[::3]), 100_000, "drop") == [0] * 20
    write_jsonl(tmp_path / "mix.jsonl", rows[::-1])
    tokeniser.write(tmp_path / "mix.jsonl", 60, tmp_path / "tokens")
    tokens = TokenFile(tmp_path / "tokens")
    assert tokens.ids == [row.name for row in rows[::-1]]
    for i, row in enumerate(rows[::-1]):
        ids, targets = tokens[i]
        assert (ids.tolist(), targets.tolist()) == training_ids(chat, row.messages, tokenizer)


def test_no_row_is_tokenised_twice(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured tokens are found by the row's line in the mix, for shortened rows and validation rows, too."""
    found: list[TokenRow | None] = []

    class Watched(TokenSpool):
        def get(self, line: bytes) -> TokenRow | None:
            found.append(super().get(line))
            return found[-1]

    monkeypatch.setattr(tokenise, "TokenSpool", Watched)
    config, run = make("one", "mix.context_window=100", "mix.truncate=turns", "mix.validation_rows=9")
    main(config, run)
    assert json.loads(run.mix_card.read_text())["shortened"] > 0
    names = [row.name for path in (run.mix, run.validation) for row in read_jsonl(path, Conversation)]
    assert [row and row.name for row in found] == names


def run_stage(run: RunDir, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sciriff.mix", str(run.root)],
        env={**os.environ, **told(run), "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_the_hash_seed_of_python(make: Make, tmp_path: Path) -> None:
    mixes = []
    for seed in ("1", "2"):
        _, run = make(f"hash-{seed}", f"cache_dir={tmp_path / seed}", "mix.validation_rows=9")
        done = run_stage(run, PYTHONHASHSEED=seed)
        assert done.returncode == 0, done.stderr
        files = (run.mix, run.validation, run.mix_card, run.mix_card_page, run.tokens / NAME)
        mixes.append([file.read_bytes() for file in files])
    assert mixes[0] == mixes[1]


@pytest.mark.slow
def test_two_stages_at_once_build_one_mix(make: Make) -> None:
    runs = [make(name)[1] for name in ("one", "two")]
    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(run_stage, runs))
    assert [done.returncode for done in ended] == [0, 0], [done.stderr for done in ended]
    assert sorted("rows tokenised" in done.stdout for done in ended) == [False, True]
    assert runs[0].tokens.resolve() == runs[1].tokens.resolve()


def test_a_users_mistake_is_one_line(make: Make, tmp_path: Path) -> None:
    _, run = make("one", f"mix.path={tmp_path / 'absent.jsonl'}")
    done = run_stage(run)
    assert done.returncode == 2
    assert done.stderr == f"error: {tmp_path / 'absent.jsonl'}: there is no such file or folder\n"


def test_a_second_builder_waits_and_finds_it_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "cache" / "key"
    builds = []

    def build(into: Path) -> None:
        builds.append(into)
        (into / "file").write_text("whole")

    def want() -> None:
        build_once(folder, "thing", lambda folder: (folder / "file").is_file(), build)

    folder.parent.mkdir()
    with (tmp_path / "cache" / "key.lock").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        waiting = [threading.Thread(target=want) for _ in range(2)]
        for thread in waiting:
            thread.start()
        for thread in waiting:
            thread.join(timeout=0.2)
        assert not builds and capsys.readouterr().err.count("another run is building it; waiting") == 2
    for thread in waiting:
        thread.join(timeout=20)
    assert len(builds) == 1 and (folder / "file").read_text() == "whole"
    assert "thing: already built" in capsys.readouterr().out


def test_what_a_killed_builder_left_is_cleared(tmp_path: Path) -> None:
    partial = tmp_path / ".key.partial"
    partial.mkdir()
    (partial / "old").write_text("half")
    assert build_once(tmp_path / "key", "thing", lambda folder: True, lambda into: (into / "new").touch())
    assert [path.name for path in (tmp_path / "key").iterdir()] == ["new"] and not partial.exists()


def test_no_room_for_a_mix_is_one_line_and_leaves_nothing(make: Make) -> None:
    config, run = make("one")
    with (
        largest_file(20_000),
        pytest.raises(ValueError, match=r"there is no room for the mix \(.*\); make some, or") as e,
    ):
        main(config, run)
    cache = Path(config.cache_dir)
    assert str(cache / "mixes") in str(e.value) and "\n" not in str(e.value)
    assert [path.suffix for path in (cache / "mixes").iterdir()] == [".lock"] and not run.mix.exists()
    main(config, run)
    assert len(TokenFile(run.tokens)) > 0


def test_no_room_in_the_middle_of_the_tokens_is_one_line(tmp_path: Path) -> None:
    def build(into: Path) -> None:
        write_token_file(into, ((str(i), np.arange(1000), np.ones(1000)) for i in range(2000)))

    with (
        largest_file(3_000_000),
        pytest.raises(ValueError, match=r"key: there is no room for the tokens \(File too large\)"),
    ):
        build_once(tmp_path / "key", "tokens", lambda folder: True, build)
    assert [path.name for path in tmp_path.iterdir()] == ["key.lock"]
    assert (
        build_once(tmp_path / "key", "tokens", lambda folder: True, build) and len(TokenFile(tmp_path / "key")) == 2000
    )


@pytest.mark.parametrize("when", [pytest.param("rows chosen", marks=pytest.mark.slow), "rows tokenised"])
def test_a_killed_stage_starts_anew_and_builds_the_same(make: Make, when: str) -> None:
    config, whole = make("whole")
    main(config, whole)
    expected = [path.read_bytes() for path in (whole.mix, whole.mix_card, whole.tokens / NAME)]
    shutil.rmtree(config.cache_dir)

    _, run = make("killed")
    with subprocess.Popen(
        [sys.executable, "-m", "sciriff.mix", str(run.root), TRUST], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert any(when in line for line in child.stdout)
        child.kill()
    assert list((Path(config.cache_dir) / "mixes").glob(".*.partial"))
    main(config, run)
    assert [path.read_bytes() for path in (run.mix, run.mix_card, run.tokens / NAME)] == expected
    left = [path.suffix for path in Path(config.cache_dir).glob("*/*")]
    assert sorted(set(left)) == ["", ".lock"] and left.count("") == left.count(".lock") == 4


def leaky_source(tmp_path: Path) -> Path:
    """The sample's general rows with one more, which holds the excerpts of an evaluation prompt."""
    prompt = json.loads((SAMPLE / "sciriff" / "validation.jsonl").read_text().splitlines()[0])["input"]
    leak = {"dataset": "leak", "id": "1", "messages": [{"role": "user", "content": f"Look at this. {prompt}"}]}
    leak["messages"].append({"role": "assistant", "content": "I see."})
    path = tmp_path / "general.jsonl"
    path.write_text((SAMPLE / "tulu.jsonl").read_text() + json.dumps(leak) + "\n")
    return path


def test_overlap_is_reported_left_out_or_not_looked_for(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = (f"mix.sources.tulu.path={leaky_source(tmp_path)}", "mix.tulu=all")
    cards, mixes = {}, {}
    for setting in ("report", "none", "drop"):
        config, run = make(setting, *source, f"mix.overlap={setting}")
        main(config, run)
        cards[setting] = json.loads(run.mix_card.read_text())
        mixes[setting] = run.mix.read_text().splitlines()
        assert cards[setting]["overlap"]["summary"] in capsys.readouterr().out
        assert "evaluation prompts" in run.mix_card_page.read_text()
    assert mixes["report"] == mixes["none"]
    assert cards["report"]["recipe"] == cards["none"]["recipe"]
    assert [line for line in mixes["none"] if '"leak"' not in line] == mixes["drop"] != mixes["none"]
    assert cards["drop"]["dropped"]["with text of an evaluation prompt"]["rows"] == 1
    for setting in ("report", "drop"):
        overlap = cards[setting]["overlap"]
        assert overlap["found"] == 1 and overlap["against"] == 182
        assert overlap["pairs"][0]["row"] == "leak/1" and overlap["pairs"][0]["shared_words"] > 16
    assert cards["report"]["overlap"]["checked"] == len(mixes["report"])
    assert cards["none"]["overlap"]["checked"] == 0
    assert [card["overlap"]["summary"].endswith("left out") for card in cards.values()] == [False, False, True]


def test_other_evaluation_prompts_are_looked_for_anew(make: Make, tmp_path: Path) -> None:
    config, one = make("one")
    main(config, one)
    rows = (SAMPLE / "sciriff" / "validation.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "validation.jsonl").write_text("".join(rows[:50]))
    config, two = make("two", f"eval.path={tmp_path / 'validation.jsonl'}")
    main(config, two)
    cards = [json.loads(run.mix_card.read_text()) for run in (one, two)]
    assert [card["overlap"]["against"] for card in cards] == [182, 50]
    assert one.mix.read_bytes() == two.mix.read_bytes() and one.tokens.resolve() == two.tokens.resolve()


def test_without_evaluation_prompts_a_run_that_only_trains_goes_on_and_says_so(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = f"eval.path={tmp_path / 'absent.jsonl'}"
    config, run = make("one", absent, "stages=[mix,train]")
    main(config, run)
    printed = capsys.readouterr().out
    assert "NOT CHECKED for text of the evaluation prompts: " in printed and "absent.jsonl: there is no such" in printed
    summary = json.loads(run.mix_card.read_text())["overlap"]["summary"]
    assert summary.startswith("not checked for text of the evaluation prompts (")
    for name, overrides in (("two", ()), ("three", ("stages=[mix,train]", "mix.overlap=drop"))):
        config, run = make(name, absent, *overrides)
        with pytest.raises(
            ValueError, match=r"absent\.jsonl: there is no such .*; mix\.overlap=none builds a mix without"
        ):
            main(config, run)
        assert not run.mix_card.exists()


def test_no_validation_row_holds_text_of_the_evaluation(make: Make, tmp_path: Path) -> None:
    prompts = [json.loads(line)["input"] for line in (SAMPLE / "sciriff" / "validation.jsonl").read_text().splitlines()]
    rows = []
    for i, prompt in enumerate(prompts[:60]):
        turns = (("user", f"Look at this. {prompt}"), ("assistant", "I see."))
        rows.append({"dataset": "leak", "id": str(i), "messages": [{"role": r, "content": c} for r, c in turns]})
    source = tmp_path / "general.jsonl"
    source.write_text((SAMPLE / "tulu.jsonl").read_text() + "".join(json.dumps(row) + "\n" for row in rows))
    settings = (f"mix.sources.tulu.path={source}", "mix.tulu=20", "mix.validation_rows=40")
    cards, mixes = {}, {}
    for setting in ("report", "none"):
        config, run = make(setting, *settings, f"mix.overlap={setting}")
        main(config, run)
        cards[setting] = json.loads(run.mix_card.read_text())
        mixes[setting] = run.mix.read_bytes()
        cards[setting]["leaks"] = sum(row.dataset == "leak" for row in read_jsonl(run.validation, Conversation))
    assert mixes["report"] == mixes["none"]
    assert cards["report"]["leaks"] == 0 < cards["none"]["leaks"]
    general = cards["report"]["validation"]["by_source"]["general"]
    assert general["rows"] == 40 and general["left_out"]["with text of an evaluation prompt"] > 0
    assert cards["report"]["validation_overlap"]["found"] == 0 < cards["report"]["overlap"]["found"]

    absent = (f"eval.path={tmp_path / 'absent.jsonl'}", "stages=[mix,train]")
    config, run = make("absent", *settings, *absent)
    main(config, run)
    card = json.loads(run.mix_card.read_text())
    assert not card["validation"]["compared"] and run.mix.read_bytes() == mixes["report"]


def test_validation_rows_are_compared_too(make: Make, tmp_path: Path) -> None:
    source = (f"mix.sources.tulu.path={leaky_source(tmp_path)}", "mix.tulu=all", "mix.validation_rows=4")
    config, run = make("one", *source)
    main(config, run)
    card = json.loads(run.mix_card.read_text())
    assert card["validation_overlap"]["checked"] == len(run.validation.read_text().splitlines()) > 0


SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared records")
def test_real_records(make: Make) -> None:
    config, run = make(
        "real",
        f"mix.sources.sciriff.path={SHARED / 'sciriff'}",
        f"mix.sources.tulu.path={SHARED / 'tulu_v2_like.jsonl'}",
        "mix.per_task=20",
    )
    main(config, run)
    card = json.loads(run.mix_card.read_text())
    assert card["read"] == {"sciriff": 3600, "tulu": 1039}
    assert len(card["by_dataset"]) == 15 and card["rows"] == 2 * 14 * 20
    assert card["dropped"]["of a held-out task"]["rows"] == 800
    assert card["dropped"]["a science row of the general source"]["rows"] == 40
    tokens, end = TokenFile(run.tokens), AutoTokenizer.from_pretrained(SAMPLE / "tokenizer").eos_token_id
    assert len(tokens) == card["rows"]
    for i in range(len(tokens)):
        ids, targets = tokens[i]
        assert ids[np.flatnonzero(targets)[-1]] == end
