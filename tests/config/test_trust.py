"""What a stage takes of a run folder's config, by who started it, and how that config is read."""

import os
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from sciriff.config import PACKAGE, Config, conf_dir, from_container, from_plain, load, read, to_yaml
from sciriff.config.known_hosts import file, known_hosts
from sciriff.config.plain_yaml import plain_values, written
from sciriff.config.registration import register
from sciriff.config.trust import DIGEST, TRUST, Frozen, digest_of, frozen, refuse_links
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

EVIL = "https://evil.example/v1"
Folder = Callable[..., RunDir]


@pytest.fixture(scope="module")
def base() -> dict[str, Any]:
    """A run's config as plain values; composed once, which takes half a second."""
    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        composed = compose("config", ["train=none", "model=scitulu_7b", "name=r"])
    return plain_values(to_yaml(from_container(composed)).encode())


@pytest.fixture
def folder(base: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """`folder("judge=local", **{"engine.python": "x"})` is a run folder with the config of these choices and keys, and
    nobody's hosts or cache."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SCIRIFF_CACHE", str(tmp_path / "cache"))

    def make(*choices: str, **keys: Any) -> RunDir:
        run = RunDir(tmp_path / "run")
        run.root.mkdir(exist_ok=True)
        values = deepcopy({**base, "run_dir": str(run.root), "cache_dir": str(tmp_path / "cache")})
        for choice in choices:
            group, _, option = choice.partition("=")
            chosen = plain_values((conf_dir() / group / f"{option}.yaml").read_bytes())
            values[group] |= {key: value for key, value in chosen.items() if key != "defaults"}
        for key, value in keys.items():
            section, _, name = key.rpartition(".")
            (values[section] if section else values)[name] = value
        run.config.write_text(written(values))
        return run

    return make


def by_hand(run: RunDir, *arguments: str) -> Frozen:
    return frozen(run.config, arguments)


def test_an_ordinary_run_is_taken_whole_and_nothing_is_said(folder: Folder) -> None:
    for choices in ((), ("judge=openai",), ("judge=anthropic",), ("judge=local",), ("engine=local",)):
        run = folder(*choices)
        found = by_hand(run)
        assert found.config == load(run.config) and found.notice is None and not found.unknown_servers
        found.check_server("judge")


CODE = {
    "engine.extra": {"worker_cls": "evil"},
    "model.trust_remote_code": True,
    "engine.python": "/tmp/evil",
    "general.include": ["/tmp/evil"],
    "general.run_code": True,
    "deepspeed.extra": {"monitor": "evil"},
    "log.mode": "online",
    "log.entity": "evil",
    "cache_dir": "/tmp/evil",
    "recreate.out": "/tmp/evil",
}


@pytest.mark.shows("R2")
def test_what_runs_code_sends_or_writes_elsewhere_is_ignored_and_said(folder: Folder) -> None:
    run = folder(**CODE)
    found = by_hand(run)
    config = found.config
    assert config.engine.extra == config.deepspeed.extra == {} and config.general.include == []
    assert (config.model.trust_remote_code, config.general.run_code) == (False, False)
    assert (config.engine.python, config.log.mode, config.log.entity) == (None, "offline", None)
    assert (config.recreate.out, Path(config.cache_dir).name) == (None, "cache")
    assert found.notice is not None and len(found.notice.splitlines()) == 1 and TRUST in found.notice
    for key in CODE:
        assert key in found.notice
    assert by_hand(run, TRUST).config == load(run.config) and by_hand(run, TRUST).notice is None


@pytest.mark.shows("R16")
def test_a_node_of_hydra_is_no_part_of_a_config(folder: Folder) -> None:
    run = folder(**{"engine.extra": {"_target_": "os.system", "command": "id"}})
    assert by_hand(run).config.engine.extra == {}
    assert by_hand(run, TRUST).config.engine.extra["_target_"] == "os.system", "it is text: nothing makes objects of it"
    for key in ("hydra", "defaults", "_target_"):
        run.config.write_text(written({**read(folder().config), key: {"launcher": {"_target_": "os.system"}}}))
        with pytest.raises(UserError, match=f"{key} is not a key of the config"):
            by_hand(run, TRUST)


def test_values_that_no_path_and_no_address_has_are_ignored_as_others_are(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = {"cache_dir": "a\0b", "recreate.out": "a\0b", "engine.python": "a\0b", "judge.base_url": "http://[bad/v1"}
    found = by_hand(folder(**odd))
    assert found.notice is not None and all(key in found.notice for key in odd)
    monkeypatch.chdir(PACKAGE)
    online = by_hand(folder(**{"log.mode": "online", "log.entity": "evil"}))
    assert online.config.log.entity is None, "a word is no path in the folder that one is in"


def test_what_is_typed_is_taken_and_nothing_else_of_that_key(folder: Folder) -> None:
    run = folder(**{"engine.extra": {"worker_cls": "evil"}, "model.trust_remote_code": True})
    found = by_hand(run, "+engine.extra.max_num_seqs=64", "model.trust_remote_code=true")
    assert found.config.engine.extra == {"max_num_seqs": 64} and found.config.model.trust_remote_code
    assert found.notice is not None and "trust_remote_code" not in found.notice and "worker_cls" in found.notice


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("judge.model=x", "judge.model is settled in config.yaml"),
        ("engine.pyhton=x", "did you mean 'engine.python'"),
        ("--turst", "is not KEY=VALUE or --trust"),
        ("engine.python", "is not KEY=VALUE"),
        ("engine.extra={", "engine.extra={"),
        ("engine.extra=3", "engine.extra"),
    ],
)
def test_arguments_that_cannot_be_are_refused_in_a_line(folder: Folder, argument: str, words: str) -> None:
    with pytest.raises(UserError) as error:
        by_hand(folder(), argument)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_the_driver_vouches_for_what_it_wrote_and_for_nothing_else(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = folder("judge=local", **{"engine.python": "/opt/python", "judge.base_url": EVIL})
    monkeypatch.setenv(DIGEST, digest_of(run.config.read_bytes()))
    found = by_hand(run)
    found.check_server("judge")
    assert found.config == load(run.config) and found.notice is None
    run.config.write_text(run.config.read_text().replace("evil.example", "worse.example"))
    with pytest.raises(UserError, match="was changed after this run was started"):
        by_hand(run)
    with pytest.raises(UserError, match="was changed"):
        by_hand(run, TRUST)


SECRET = "AWS_SECRET_ACCESS_KEY"


BEDROCK = {"via": "bedrock", "base_url": "https://bedrock-runtime.us-east-1.amazonaws.com", "api_key_env": None}


@pytest.mark.parametrize(
    ("option", "keys", "asks"),
    [
        ("openai", {}, True),
        ("anthropic", {}, True),
        ("openai", {"api_key_env": SECRET}, False),
        ("openai", {"base_url": "http://api.openai.com/v1"}, False),
        ("openai", {"base_url": "https://api.openai.com.evil.example/v1"}, False),
        ("openai", {"base_url": "https://api.openai.com:8443/v1"}, False),
        ("openai", {"base_url": EVIL}, False),
        ("anthropic", {"api_key_env": "OPENAI_API_KEY"}, False),
        ("anthropic", BEDROCK, False),
        ("local", {}, True),
        ("local", {"api_key_env": SECRET}, False),
        ("local", {"base_url": "http://localhost:9000/v1"}, False),
    ],
)
@pytest.mark.shows("R4")
def test_a_server_is_asked_that_is_the_providers_own(
    folder: Folder, option: str, keys: dict[str, Any], asks: bool
) -> None:
    found = by_hand(folder(f"judge={option}", **{f"judge.{key}": value for key, value in keys.items()}))
    if asks:
        return found.check_server("judge")
    with pytest.raises(UserError) as error:
        found.check_server("judge")
    server = found.config.judge
    for part in (server.base_url, server.api_key_env, f"judge.base_url={server.base_url}", str(file())):
        assert part is None or part in str(error.value)
    assert found.notice is not None and f"judge.base_url={server.base_url}" in found.notice
    return None


def test_a_server_that_was_typed_gets_only_the_key_that_was_typed(folder: Folder) -> None:
    run = folder("judge=local", **{"judge.base_url": EVIL, "judge.api_key_env": SECRET})
    mine = "judge.base_url=http://mine:8000/v1"
    with pytest.raises(UserError, match=SECRET):
        by_hand(run, mine).check_server("judge")
    with pytest.raises(UserError, match="evil"):
        by_hand(run, "judge.api_key_env=MY_KEY").check_server("judge")
    for typed in ("judge.api_key_env=null", "judge.api_key_env=MY_KEY"):
        found = by_hand(run, mine, typed)
        found.check_server("judge")
        assert found.config.judge.base_url == "http://mine:8000/v1" and found.config.judge.api_key_env != SECRET
    by_hand(run, f"judge.base_url={EVIL}", f"judge.api_key_env={SECRET}").check_server("judge")


@pytest.mark.shows("R15")
def test_what_may_be_spent_is_not_the_folders_to_say(folder: Folder) -> None:
    spending = {"judge.max_usd": 1e6, "judge.input_usd": 1e-4, "judge.output_usd": 1e-4}
    run = folder("judge=openai", **spending)
    found = by_hand(run)
    judge = found.config.judge
    assert (judge.max_usd, judge.input_usd, judge.output_usd) == (10, None, None), "as conf/judge/openai.yaml has it"
    assert found.notice is not None and all(key in found.notice for key in spending)
    assert by_hand(run, "judge.max_usd=50").config.judge.max_usd == 50
    assert by_hand(run, TRUST).config.judge.max_usd == 1e6
    assert by_hand(folder("judge=openai", **{"judge.max_usd": None})).config.judge.max_usd == 10
    careful = by_hand(folder("judge=openai", **{"judge.max_usd": 2.0}))
    assert careful.config.judge.max_usd == 2.0 and careful.notice is None


def test_a_list_of_ones_own_names_hosts_with_their_variables(folder: Folder) -> None:
    run = folder("judge=local", **{"judge.base_url": "https://api.mine.example:8443/v1", "judge.api_key_env": "MY_KEY"})
    file().parent.mkdir(parents=True)
    file().write_text("# mine\n\napi.mine.example:8443\nother.example MY_KEY  # not this host\n")
    with pytest.raises(UserError, match="only in this folder"):
        by_hand(run).check_server("judge")
    file().write_text("api.mine.example:8443 OTHER\n")
    with pytest.raises(UserError, match="has that host with OTHER"):
        by_hand(run).check_server("judge")
    file().write_text("API.mine.example:8443 MY_KEY\n")
    by_hand(run).check_server("judge")
    assert known_hosts() == [(None, "api.mine.example:8443", "MY_KEY")]
    plain = folder(
        "judge=local", **{"judge.base_url": "http://api.mine.example:8443/v1", "judge.api_key_env": "MY_KEY"}
    )
    with pytest.raises(UserError, match=r"the line `http://api\.mine\.example:8443 MY_KEY`"):
        by_hand(plain).check_server("judge")
    file().write_text("http://api.mine.example:8443 MY_KEY\n")
    by_hand(plain).check_server("judge")
    file().write_text("api.mine.example/v1 MY_KEY\n")
    with pytest.raises(UserError, match=r"hosts:1: expected HOST"):
        known_hosts()


def test_a_server_of_the_engine_is_no_other(folder: Folder) -> None:
    run = folder("engine=local", **{"engine.base_url": "http://10.0.0.1:1/v1"})
    found = by_hand(run)
    found.check_server("judge")
    with pytest.raises(UserError, match=r"10\.0\.0\.1"):
        found.check_server("engine")


@pytest.mark.shows("R5")
def test_a_copy_is_at_home_where_it_lies(folder: Folder, tmp_path: Path) -> None:
    run = folder(**{"recreate.out": str(tmp_path / "run" / "rows")})
    assert by_hand(run).config.recreate.out == str(run.root / "rows"), "inside the folder it may write"
    copy = RunDir(tmp_path / "copy")
    copy.root.mkdir()
    copy.config.write_bytes(run.config.read_bytes())
    found = by_hand(copy)
    assert (found.config.run_dir, found.config.recreate.out) == (str(copy.root), None)


@pytest.mark.shows("R7")
def test_a_folder_of_an_older_version_is_taken_as_far_as_it_goes(folder: Folder) -> None:
    run = folder(**{"engine.python": "/tmp/evil"})
    values = read(run.config)
    for key in ("general", "recreate", "plan"):
        del values[key]
    run.config.write_text(written(values))
    assert by_hand(run).config.general.tasks == [] and by_hand(run).config.engine.python is None


@pytest.mark.shows("R6")
def test_links_that_lead_out_are_refused(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    (run.root / "mix").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for link in (run.tokens, run.validation_tokens):  # as the mix stage makes them
        link.symlink_to(tmp_path / "elsewhere")
    (run.root / "model").symlink_to(run.root / "mix")
    log = run.tracker / "offline-run-20261201_010203-abc" / "logs" / "debug-core.log"
    log.parent.mkdir(parents=True)
    log.symlink_to(tmp_path / "elsewhere" / "core.log")  # as wandb makes it
    refuse_links(run, may_lead_out=run.cached)
    with pytest.raises(UserError, match="mix/tokens is a link"):
        refuse_links(run, may_lead_out=set())
    for name in ("tables", "report.html", "scores.json.partial"):
        (run.root / name).symlink_to(tmp_path / "elsewhere")
        with pytest.raises(UserError, match=rf"run/{name} is a link to .*elsewhere"):
            refuse_links(run, may_lead_out=run.cached)
        (run.root / name).unlink()
    (run.root / "loop").symlink_to(run.root / "loop")
    with pytest.raises(UserError, match="loop is a link"):
        refuse_links(run, may_lead_out=run.cached)
    (run.root / "loop").unlink()
    os.mkfifo(run.root / "pipe")
    with pytest.raises(UserError, match="neither a file nor a folder"):
        refuse_links(run, may_lead_out=run.cached)


REFERENCES = ("${oc.env:HOME}", "${unclosed", "\\${x} ${y}", "\\\\${x}\\", "\n${a${b}}\n")


@pytest.mark.shows("R1")
def test_a_reference_is_text_wherever_a_config_is_read_or_written(folder: Folder) -> None:
    run = folder()
    for text in REFERENCES:
        values = {**read(run.config), "name": text}
        run.config.write_text(yaml.safe_dump(values))
        assert read(run.config)["name"] == load(run.config).name == by_hand(run).config.name == text
        again = to_yaml(load(run.config))
        assert plain_values(again.encode())["name"] == text and from_plain(plain_values(again.encode())).name == text


def test_numbers_and_dates_are_read_as_omegaconf_reads_them() -> None:
    content = b"{a: 1e-5, b: 1.0e-05, c: 2026-12-01, d: 1E5, e: .5, f: 12, g: '12:30', h: 1e, i: -.5e3, j: on, k: null}"
    expected = OmegaConf.to_container(OmegaConf.create(content.decode()))
    assert plain_values(content) == expected
    assert [type(value) for value in plain_values(content).values()] == [type(v) for v in expected.values()]


def test_a_config_written_and_read_is_the_same(composed: Callable[..., Config]) -> None:
    config = composed("experiment=demo", "general=quick", "judge=openai", "+engine.extra.a=[1e-5,12:30]", "name=x")
    assert from_plain(plain_values(to_yaml(config).encode())) == config


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "aliases"),
        (b"a: " + b"[" * 9000, "nested"),
        (b"# " + b"x" * 2**20 + b"\na: 1\n", "bytes"),
        (b"a: !!python/object/apply:os.system [id]\n", "tags"),
        (b"name: !!python/object/apply:pathlib.Path ['${oc.env:HOME}']\n", "tags"),
        (b"a: !!bool zz\n", "tags"),
        (b"a: !!timestamp xx\n", "tags"),
        (b"a: !!binary eHg=\n", "tags"),
        (b"!!map {a: 1}\n", "tags"),
        (b"? [a, b]\n: 1\n", "no text as a key"),
        (b"\xff\xfe", "decode"),
        (b"", "empty"),
        (b"- 1\n", "expected keys"),
        (b"a: 1\na: 2\n", "duplicate"),
    ],
)
@pytest.mark.shows("R8")
def test_a_config_that_is_none_is_refused_in_a_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read(path)
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.shows("R2")
def test_of_attention_only_the_kernels_of_the_hub_are_ignored(folder: Folder) -> None:
    run = folder(**{"train.attention": "kernels-community/flash-attn2"})
    found = by_hand(run)
    assert found.config.train.attention == "auto" and found.ignored == (
        "train.attention=kernels-community/flash-attn2",
    )
    typed = by_hand(run, "train.attention=kernels-community/flash-attn2")
    assert typed.config.train.attention == "kernels-community/flash-attn2" and not typed.ignored
    own = by_hand(folder(**{"train.attention": "eager"}))
    assert own.config.train.attention == "eager" and not own.ignored
