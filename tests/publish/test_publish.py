"""A push to a hub on a real socket: what is sent, what is not, and what happens when connections are cut."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_hub import TOKEN, USER, FakeHub, fake_hub, sha256
from finetune_runs import TRAIN, tiny_model
from huggingface_hub import EvalResult, HfApi, ModelCard, constants
from huggingface_hub.repocard import DatasetCard
from huggingface_hub.utils import _http
from safetensors.numpy import save_file

from sciriff.config import SAMPLE, Config, PublishConfig, TrainConfig, load, to_yaml
from sciriff.config.merge import MergeConfig
from sciriff.config.trust import frozen
from sciriff.data.mix_card import MixCard
from sciriff.publish import __main__ as stage
from sciriff.publish import cards, check, hub
from sciriff.run.manifest import Manifest, StageRecord
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

SECRETS = {"WANDB_API_KEY": "5ec2e7" * 6 + "5ec2", "OPENAI_API_KEY": "sk-a5ecretofthejudge", "HF_TOKEN": TOKEN}
REPO = f"{USER}/reader"
SCORES = {
    "model": "reader",
    "parity": "none",
    "tasks": {
        name: {
            "n": 40,
            "missing": 0,
            "benchmark": None,
            "readable": 1.0,
            "unreadable": {},
            "end_differs": 0,
            "truncated_prompts": 0,
            "truncated_tokens": 0,
            "skipped_prompts": 0,
            "cut_answers": 0,
            "rated": 0,
            "headline": {"f1": value},
            "details": {},
        }
        for name, value in (("biored_ner", 0.51234), ("scierc_ner", 0.25))
    },
    "summary": {
        "columns": {"biored_ner/f1": {"value": 0.51234, "ci95": [0.4, 0.6]}, "scierc_ner/f1": {"value": 0.25}},
        "mean": 0.38117,
        "median": 0.38117,
        "missing": ["discomat_te/bleu"],
    },
}
PAGE = """---
base_model: someone/base
library_name: transformers
license: llama2
tags:
- sciriff
---

# reader

Made by training.
"""
COUNTS = {"sum": 1, "mean": 1.0, "median": 1.0, "max": 1}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets of this machine, LFS instead of Xet, which needs a second server, and no pause between attempts."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    class Hasty:
        sleep = staticmethod(lambda seconds: None)

    monkeypatch.setattr(_http, "time", Hasty)
    monkeypatch.setattr(check, "PAUSE", 0.0)


@pytest.fixture(scope="module")
def settings(composed: Callable[..., Config]) -> Config:
    config = composed("experiment=demo", "log=none", "name=reader", "train=lora")
    return replace(config, model=tiny_model(license="llama2"), publish=asked())


@pytest.fixture
def finished(settings: Config, tmp_path: Path) -> RunDir:
    """A run folder as it is after its last stage: a sharded model, an adapter, a mix, scores, logs, a config."""
    run = RunDir(tmp_path / "secretive" / "runs" / "reader")
    for folder in (run.model, run.adapter, run.mix.parent, run.log("x").parent):
        folder.mkdir(parents=True)
    shutil.copytree(SAMPLE / "tokenizer", run.model, dirs_exist_ok=True)
    (run.model / "config.json").write_text(json.dumps({"model_type": "llama", "_name_or_path": f"{run.root}/base"}))
    draw = np.random.default_rng(0)
    for shard in (1, 2, 3):
        name = f"model-0000{shard}-of-00003.safetensors"
        save_file({f"layer.{shard}": draw.normal(size=(150, 150))}, run.model / name)
    (run.model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": {}}))
    (run.model / "README.md").write_text(PAGE)
    (run.model / "optimizer.pt").write_bytes(b"not for others")
    save_file({"lora": draw.normal(size=(4, 4))}, run.adapter / "adapter_model.safetensors")
    (run.adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(run.root), "r": 4}))
    (run.adapter / "README.md").write_text(PAGE)
    (run.mix).write_text('{"dataset": "d", "id": "a:1", "messages": []}\n' * 3000)
    (run.validation).write_text('{"dataset": "d", "id": "a:2", "messages": []}\n')
    (run.mix.parent / "tokens").mkdir()
    (run.mix_card_page).write_text(f"# Mix own\n\n- from `{run.root}/rows.jsonl`\n")
    run.scores.write_text(json.dumps(SCORES))
    run.log("train").write_text(f"HF_TOKEN={TOKEN}\n")
    Manifest(run.manifest, stages={"train": StageRecord("done", {})}).write()
    run.config.write_text(to_yaml(replace(settings, run_dir=str(run.root))))
    return run


def asked(**values: Any) -> PublishConfig:
    return PublishConfig(**{"to": "hub", "repo": REPO, **values})


def mix_card() -> MixCard:
    part = {"rows": 3000, "prompt_tokens": COUNTS, "target_tokens": COUNTS, "target_share": 0.5}
    whole: dict[str, Any] = {**part, "licenses": {"sciriff": "odc-by", "mine": "unknown"}}
    return whole  # type: ignore[return-value]


@pytest.fixture
def no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "read_mix_card", lambda path: mix_card())


def loaded(run: RunDir, **publish: Any) -> Config:
    return replace(load(run.config), publish=asked(**publish))


def pushing(server: FakeHub, run: RunDir, attempts: int = 1, **publish: Any) -> list[hub.Pushed]:
    """Push as the stage does; each attempt is another start of it."""
    api, config = hub.api(TOKEN, server.url), loaded(run, **publish)
    targets = config.publish.targets
    for attempt in range(attempts):
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(constants, "ENDPOINT", server.url)  # huggingface_hub 0.34 reads addresses by it
                items = [stage.items_of(target, config, run, TOKEN) for target in targets]
                return [
                    hub.push(api, target, config.publish, some, "message", [0.0])
                    for target, some in zip(targets, items, strict=True)
                ]
        except UserError as error:
            if attempt == attempts - 1:
                raise
            assert "\n" not in str(error) and server.url not in str(error) and "5ign3d" not in str(error)
    raise AssertionError


def wanted_of(run: RunDir) -> dict[str, bytes]:
    names = {path.name for path in run.model.iterdir()} - {"optimizer.pt"}
    return {name: (run.model / name).read_bytes() for name in names}


@pytest.mark.parametrize("seed", (1, 2, 3))
@pytest.mark.shows("P1", "P3")
def test_a_push_that_is_cut_at_random_ends_complete_and_nothing_is_there_twice(
    finished: RunDir, seed: int, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with fake_hub(seed, chance=0.25) as server:
        pushing(server, finished, attempts=60)
        assert len(server.cuts) >= 3, "connections were cut"
        (commit,) = server.commits(REPO)
        files, wanted = server.files(REPO), wanted_of(finished)
        assert set(files) == set(wanted) == set(commit["wrote"]), "one commit with everything"
        assert len(commit["wrote"]) == len(set(commit["wrote"]))
        large = [name for name in files if name.endswith(".safetensors")]
        assert all(files[name] == wanted[name] for name in large)
        digests = {sha256(wanted[name]) for name in large}
        assert set(server.objects) == digests
        for digest in digests:  # what arrived whole is sent again only where that was never confirmed
            lost = server.cuts.count(f"PUT /lfs/{digest} answer lost")
            assert 1 <= server.stored.count(digest) <= 1 + lost
        assert server.repositories["model", REPO].private
        stored = list(server.stored)
        pushing(server, finished, attempts=60)
        assert len(server.commits(REPO)) == 1 and server.stored == stored, "a second push finds all of it there"
        sent = server.all_bytes()
        for name, value in SECRETS.items():
            assert value.encode() not in sent, name
        said = caplog.text + "".join(capfd.readouterr())
        assert "trying again" in said and "5ign3d" not in said and TOKEN not in said, "addresses of uploads are signed"
        assert b"secretive" not in sent and b"not for others" not in sent and str(Path.home()).encode() not in sent


def test_the_card_has_the_scores_where_the_hub_looks_for_them(finished: RunDir) -> None:
    with fake_hub() as server:
        pushing(server, finished)
        page = server.files(REPO)["README.md"].decode()
    card = ModelCard(page)
    assert (card.data.license, card.data.base_model, card.data.model_name) == ("llama2", "someone/base", "reader")
    results: list[EvalResult] = card.data.eval_results
    by_name = {result.metric_name: result for result in results}
    first = by_name["biored_ner/f1"]
    assert (first.metric_type, first.metric_value, first.task_type) == ("f1", 0.5123, "text-generation")
    assert first.metric_args == {"ci95": [0.4, 0.6], "n": 40}
    assert by_name["mean of 2 of 11 columns"].metric_value == 0.3812
    assert "Llama 2 Community License" in card.text and "Made by training." in card.text
    assert "| biored\\_ner/f1 | 51.2 | 40.0 to 60.0 | 40 |" in card.text and "discomat\\_te/bleu" in card.text


def test_scores_by_which_the_model_was_chosen_say_so(finished: RunDir) -> None:
    scores = json.loads(json.dumps(SCORES))
    scores["summary"]["columns"]["scierc_ner/f1"]["selected"] = "selected on these prompts"
    page = cards.of_model(PAGE, loaded(finished), scores, "mit", "model")
    assert "Selected on these prompts, so that the score of another set may be lower: scierc\\_ner/f1, mean" in page
    by_name = {result.metric_name: result for result in ModelCard(page).data.eval_results}
    assert by_name["scierc_ner/f1"].metric_args == {"n": 40, "note": "selected on these prompts"}


def test_the_card_says_what_a_score_leaves_out_and_takes_no_markup_from_a_file(finished: RunDir) -> None:
    scores = json.loads(json.dumps(SCORES))
    scores["tasks"]["biored_ner"]["missing"] = 7
    scores["own_tasks"] = {"scierc_ner": "f1"}
    scores["summary"]["columns"]["scierc_ner/f1"]["ci95_note"] = "rough\n# Injected"
    overlap = "3 of 20 rows hold text of 2 of the 40 evaluation prompts"
    page = cards.of_model(PAGE, loaded(finished), scores, "mit\n# Injected", "model", overlap)
    assert overlap in page and "biored\\_ner: 7 answers are missing" in page and "\n# Injected" not in page
    assert "Not of SciRIFF's nine held-out tasks: scierc" in page
    args = {result.metric_name: result.metric_args for result in ModelCard(page).data.eval_results}
    assert args["biored_ner/f1"] == {"ci95": [0.4, 0.6], "n": 40, "missing_answers": 7}


def test_what_lies_below_a_place_of_this_machine_is_named_by_its_last_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    text = "from `/home/ada/theses/x/y` and file:///home/ada/z. Of /home/ada. See https://hub.example/home/ada/w"
    shown = cards.named_places(text, ["/home/ada", "/home/ada/theses"])
    assert shown == "from `y` and file://z. Of ~. See https://hub.example/home/ada/w"


def test_adapter_and_mix_have_repositories_and_cards_of_their_own(finished: RunDir, no_card: None) -> None:
    with fake_hub() as server:
        pushed = pushing(server, finished, what=["model", "adapter", "mix"], revision="v1")
        assert [(one["repo"], one["kind"], one["revision"]) for one in pushed] == [
            (REPO, "model", "v1"),
            (f"{REPO}-adapter", "model", "v1"),
            (REPO, "dataset", "v1"),
        ]
        about = json.loads(server.files(f"{REPO}-adapter", branch="v1")["adapter_config.json"])
        assert about == {"r": 4, "base_model_name_or_path": None}
        files = server.files(REPO, "dataset", "v1")
        assert set(files) == {"README.md", "train.jsonl", "validation.jsonl"}
        card = DatasetCard(files["README.md"].decode())
        assert card.data.configs[0]["data_files"][0] == {"split": "train", "path": "train.jsonl"}
        assert card.data.license == "other" and "| mine | unknown |" in card.text and "from `rows.jsonl`" in card.text
        assert server.commits(REPO) == [] == server.commits(REPO, "dataset"), "main is as it was"
        assert b"secretive" not in server.all_bytes()


def test_shards_of_an_earlier_push_do_not_stay_beside_the_new_model(finished: RunDir) -> None:
    with fake_hub() as server:
        pushing(server, finished)
        for path in finished.model.glob("model*"):
            path.unlink()
        save_file({"one": np.ones(3)}, finished.model / "model.safetensors")
        pushing(server, finished)
        assert len(server.commits(REPO)) == 2
        assert [name for name in server.files(REPO) if name.startswith("model")] == ["model.safetensors"]


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("chat_template.jinja", SECRETS["OPENAI_API_KEY"], "$OPENAI_API_KEY"),
        ("generation_config.json", '{"note": "%s/x"}', "place on this machine"),
        ("README.md", f"token {TOKEN}", "$HF_TOKEN"),
        ("README.md", "password of-the-5erver", "the password of api.wandb.ai in ~/.netrc"),
        ("README.md", "at postgres://me:pw@db/x", "$STORE"),
        ("chat_template.jinja", "hf_" + "5omebodyElses" * 3, "hf_5omeb..."),
    ],
)
@pytest.mark.shows("P2")
def test_secrets_and_places_end_a_push_before_anything_is_sent(
    finished: RunDir, file: str, text: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("STORE", "postgres://me:pw@db/x")
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password of-the-5erver\n")
    (finished.model / file).write_text(text.replace("%s", str(finished.root)))
    with fake_hub() as server:
        with pytest.raises(UserError, match=file) as refused:
            pushing(server, finished)
        assert said in str(refused.value) and TOKEN not in str(refused.value)
        assert server.received == []


@pytest.mark.shows("P1")
@pytest.mark.parametrize("name", ("vocab.txt", "README.md"))
def test_a_link_in_the_model_is_not_followed(finished: RunDir, tmp_path: Path, name: str) -> None:
    (tmp_path / "mine").write_text("mine")
    (finished.model / name).unlink(missing_ok=True)
    (finished.model / name).symlink_to(tmp_path / "mine")
    with pytest.raises(UserError, match=name):
        stage.items_of(asked().targets[0], loaded(finished), finished)


@pytest.mark.parametrize(
    ("name", "content"),
    [("config.json", b'{"\xff": 1}'), ("config.json", b"[" * 100_000), ("README.md", b"\xff")],
)
def test_what_cannot_be_read_is_one_line(finished: RunDir, name: str, content: bytes) -> None:
    (finished.model / name).write_bytes(content)
    with pytest.raises(UserError, match=name) as refused:
        stage.items_of(asked().targets[0], loaded(finished), finished)
    assert "\n" not in str(refused.value)


@pytest.mark.shows("R17")
def test_a_run_that_is_not_finished_and_one_that_names_no_place_are_not_pushed(finished: RunDir) -> None:
    found = frozen(finished.config)
    assert found.notice and all(key in found.notice for key in ("publish.to=hub", f"publish.repo={REPO}"))
    with pytest.raises(UserError, match=r"publish\.to=hub publish\.repo=USER/NAME"):
        stage.main(found.config, finished)
    typed = frozen(finished.config, ["publish.to=hub", "publish.repo=me/mine"]).config.publish
    assert (typed.repo, typed.private, typed.what) == ("me/mine", True, ["model"])
    Manifest(finished.manifest, stages={"predict": StageRecord("failed", {})}).write()
    with pytest.raises(UserError, match="its stage predict is failed"):
        stage.main(loaded(finished), finished)


def findings(server: FakeHub, licence: str | None = "apache-2.0", token: str = TOKEN, **values: Any) -> list[str]:
    return list(check.findings(asked(**values), licence, HfApi(endpoint=server.url, token=token)))


def test_what_the_hub_will_refuse_is_said_before_the_run() -> None:
    with fake_hub() as server:
        assert findings(server) == []
        assert findings(server, repo="lab/reader") == []
        (other,) = findings(server, repo="nobody/reader")
        assert other.startswith("problem: ") and "nobody is none of them" in other and "lab, library" in other
        assert "only reads" in findings(server, repo="library/reader")[0]
        assert "does not know this token" in findings(server, token="hf_wrong")[0]
        server.refused = "/whoami"
        assert "403" in findings(server)[0] and "does not know" not in findings(server)[0]
        server.refused = ""
        server.who["auth"]["accessToken"]["role"] = "read"
        assert "may only read" in findings(server)[0]
        scope = {"entity": {"type": "user", "name": "someone"}, "permissions": ["repo.write"]}
        server.who["auth"]["accessToken"] = {"role": "fineGrained", "fineGrained": {"scoped": [scope]}}
        assert findings(server)[0].startswith("note: the token is fine-grained")
        scope["entity"]["name"] = USER
        assert findings(server) == []
        HfApi(endpoint=server.url, token=TOKEN).create_repo(REPO, private=False)
        assert "is public" in findings(server)[0] and findings(server)[0].startswith("problem: ")
        name, there = findings(server, "llama3.1", private=False)
        assert "begins with Llama" in name and "is there (model, public, 0 files)" in there
    (out_of_reach,) = check.findings(asked(), None, HfApi(endpoint="http://127.0.0.1:9", token=TOKEN))
    assert out_of_reach.startswith("note: the hub is out of reach now") and "\n" not in out_of_reach


@pytest.mark.shows("P4")
def test_a_public_repository_gets_nothing_that_is_meant_to_be_private(finished: RunDir) -> None:
    with fake_hub() as server:
        HfApi(endpoint=server.url, token=TOKEN).create_repo(REPO, private=False)
        with pytest.raises(UserError, match=r"publish\.private=false"):
            pushing(server, finished)
        assert server.commits(REPO) == [] and server.objects == {}
        assert pushing(server, finished, private=False)[0]["private"] is False


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"repo": None}, "publish.repo=USER/NAME"),
        ({"to": "none"}, "add publish=hub"),
        ({"repo": "reader"}, "publish.repo=reader"),
        ({"repo": "ada/a+b"}, "publish.repo=ada/a+b"),
        ({"repo": "ada/" + "n" * 97}, "97"),
        ({"repo": "ada/x.git"}, ".git"),
        ({"what": []}, "publish.what=[]"),
        ({"what": ["mix", "mix"]}, "publish.what=[mix,mix]"),
        ({"revision": "a b"}, "publish.revision=a b"),
        ({"message": " "}, "publish.message"),
    ],
)
def test_bad_settings_are_one_line(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as refused:
        asked(**values)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_what_a_run_does_not_make_is_refused(settings: Config) -> None:
    assert settings.active_stages[-1] == "publish"
    merged = MergeConfig(method="linear", models=["a", "b"])
    assert replace(settings, train=TrainConfig(method="none"), merge=merged).active_stages[-1] == "publish"
    assert "publish" not in replace(settings, publish=PublishConfig()).active_stages
    full, none = TRAIN, TrainConfig(method="none")
    for train, what, said in (
        (none, ["model"], "merges no model"),
        (full, ["adapter"], "trains no adapter"),
        (none, ["mix"], "makes no mix"),
    ):
        with pytest.raises(UserError, match=said):
            replace(settings, train=train, publish=asked(what=what))


def test_a_commit_whose_answer_is_lost_is_not_made_again(finished: RunDir) -> None:
    with fake_hub() as server:
        server.cut = lambda where: where == "answer lost" and not server.cuts and bool(server.commits_of_all())
        pushing(server, finished)
        assert [cut.split()[1] for cut in server.cuts] == [f"/api/models/{REPO}/commit/main"]
        assert len(server.commits(REPO)) == 1 and set(server.files(REPO)) == set(wanted_of(finished))
