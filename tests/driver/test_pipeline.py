"""The run folder is owned, its config frozen, and stale work recognised."""

import fcntl
import re
from dataclasses import replace
from pathlib import Path

import pytest

from sciriff.config import load
from sciriff.driver import pipeline
from sciriff.driver.frozen_config import freeze
from sciriff.driver.stage_inputs import changed
from sciriff.driver.stages import STAGES
from sciriff.run import locks
from sciriff.run.locks import own_node, own_run
from sciriff.run.run_dir import RunDir


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


def test_frozen_config_reads_back_equal(run: RunDir, composed):
    config = composed("experiment=demo", "name=a", "mix.tulu=7")
    freeze(config, run)
    assert load(run.config) == config


def test_another_config_is_refused_with_the_first_key(run: RunDir, composed):
    freeze(composed("experiment=demo", "name=a"), run)
    other = composed("experiment=demo", "name=a", "train.learning_rate=0.5")
    freeze(other, run)  # nothing was done under the first
    assert load(run.config) == other
    run.checkpoints.mkdir()
    with pytest.raises(ValueError, match=r"was made with train\.learning_rate=0\.5, not 0\.\d+"):
        freeze(composed("experiment=demo", "name=a"), run)


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [
        (b"a: [1\n", "not a config (expected ',' or ']'"),
        (b"\xff\xfe", "not a config ("),
        (b"- 1\n", "not a config (expected keys and values)"),
        (b"", "not a config (it is empty)"),
        (b"model:\n  name: tiny\n", "has no mix: it is cut off, or of another version of sciriff"),
    ],
)
def test_a_damaged_config_is_told_in_one_line(damaged, reason, run: RunDir, composed):
    config = composed("experiment=demo", "name=a", f"run_dir={run.root}")
    run.config.write_bytes(damaged)
    with pytest.raises(ValueError, match=re.escape(str(run.config))) as error:
        freeze(config, run)
    assert reason in str(error.value) and "; remove it" in str(error.value) and "\n" not in str(error.value)
    assert not pipeline.is_finished(config)
    run.config.unlink()
    freeze(config, run)
    assert load(run.config) == config


def test_keys_that_say_what_to_do_now_may_change(run: RunDir, composed):
    config = composed("experiment=demo", "name=a")
    freeze(config, run)
    freeze(replace(config, stages=["score"], report=replace(config.report, beside=["b"])), run)
    assert load(run.config).report.beside == ["b"]
    freeze(replace(config, eval=replace(config.eval, resamples=500)), run)
    assert load(run.config).eval.resamples == 500
    run.predictions.mkdir()
    with pytest.raises(ValueError, match=r"made with eval.split=validation, not test"):
        freeze(replace(config, eval=replace(config.eval, split="test")), run)


def test_how_much_is_asked_may_change_and_is_asked_again(run: RunDir, composed):
    config = composed("experiment=demo", "train=none", "name=a")
    freeze(config, run)
    before = STAGES["predict"].inputs(config, run)
    for change in ({"limit": 2}, {"tasks": ["scierc_ner"]}, {"max_new_tokens": 7}, {"max_new_tokens_of": {"a": 5}}):
        more = replace(config, eval=replace(config.eval, **change))
        freeze(more, run)
        assert STAGES["predict"].inputs(more, run) != before, change
    assert STAGES["predict"].stale(run) == [], "the stage itself knows which rows are still good"


def test_where_prompts_are_answered_changes_no_answer(run: RunDir, composed):
    config = composed("experiment=demo", "train=none", "name=a")
    freeze(config, run)
    elsewhere = replace(config, engine=replace(config.engine, replicas=2, memory_fraction=0.5, python="/bin/python"))
    freeze(elsewhere, run)
    assert STAGES["predict"].inputs(elsewhere, run) == STAGES["predict"].inputs(config, run)


def test_a_training_may_go_on_in_other_processes_and_micro_batches(run: RunDir, composed):
    """After it ran out of memory, or on a machine with other GPUs."""
    config = composed("experiment=demo", "name=a", f"run_dir={run.root}")
    freeze(config, run)
    other = replace(config, train=replace(config.train, num_processes=2, micro_batch_tokens=2048, attention="sdpa"))
    freeze(other, run)
    assert load(run.config).train.num_processes == 2
    run.mix.parent.mkdir()
    run.mix.write_text("{}\n")
    assert STAGES["train"].inputs(other, run) == STAGES["train"].inputs(config, run)


def test_validation_rows_decide_where_the_best_model_is_kept(run: RunDir, composed):
    options = ("experiment=demo", "name=a", f"run_dir={run.root}", "train.eval_every=5", "mix.validation_rows=3")
    run.mix.parent.mkdir()
    for path in (run.mix, run.validation):
        path.write_text("{}\n")
    assert "validation rows" not in STAGES["train"].inputs(composed(*options), run)
    assert "validation rows" in STAGES["train"].inputs(composed(*options, "train.keep=best"), run)


def test_more_resamples_need_no_new_answers(run: RunDir, composed):
    config = composed("experiment=demo", "train=none", "name=a")
    run.predictions.mkdir()
    more = replace(config, eval=replace(config.eval, resamples=500))
    changed = [s for s in ("predict", "score") if STAGES[s].inputs(config, run) != STAGES[s].inputs(more, run)]
    assert changed == ["score"]


def test_a_run_may_go_on_without_what_is_missing(run: RunDir, composed):
    """As its own errors advise, and back again, when what is missing is asked for."""
    strict = composed(
        "experiment=demo", "train=none", "name=a", "engine=local", "engine.base_url=http://localhost:1/v1"
    )
    freeze(strict, run)
    lax = replace(strict, allow_missing=True)
    freeze(lax, run)
    assert load(run.config).allow_missing
    made_strictly, made_laxly = STAGES["predict"].inputs(strict, run), STAGES["predict"].inputs(lax, run)
    assert changed(made_strictly, made_laxly) == []
    assert changed(made_laxly, made_strictly) == ["missing answers"]
    run.predictions.mkdir()
    assert changed(STAGES["score"].inputs(strict, run), STAGES["score"].inputs(lax, run)) == ["rules"]


def test_a_second_driver_is_refused(run: RunDir):
    with own_run(run), pytest.raises(ValueError, match="in use by another run"), own_run(run):
        pass


@pytest.mark.parametrize("first", [own_run, lambda run: own_node(run, 0)], ids=["alone", "with nodes"])
def test_a_second_driver_with_nodes_leaves_what_the_firsts_nodes_read(
    first, run: RunDir, cli, monkeypatch: pytest.MonkeyPatch
):
    run.nodes.mkdir()
    run.node(0).write_text("the first's")
    for name, value in {"NODES": "2", "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    with first(run):
        result = cli("experiment=demo", "stages=[mix]", f"run_dir={run.root}")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr
    assert f"{run.root} is in use by another run" in result.stderr
    assert run.node(0).read_text() == "the first's"
    assert not run.heartbeat(0).exists()


def test_a_worker_that_is_still_alive_is_waited_for(run: RunDir, monkeypatch):
    monkeypatch.setattr(locks, "WAIT_FOR_WORKERS", 0.5)
    with run.workers_lock.open("ab") as worker:
        fcntl.flock(worker, fcntl.LOCK_SH)
        with pytest.raises(ValueError, match="a stage of an earlier run is still alive"), own_run(run):
            pass
    with own_run(run):
        pass


def test_what_decides_a_stage_is_in_its_inputs(run: RunDir, composed, tmp_path: Path):
    config = composed("experiment=demo", "name=a", f"run_dir={tmp_path}")
    run.mix.parent.mkdir()
    run.mix.write_text("{}\n")
    before = STAGES["train"].inputs(config, run)
    assert STAGES["train"].inputs(config, run) == before
    other = STAGES["train"].inputs(replace(config, train=replace(config.train, learning_rate=0.5)), run)
    assert {name for name in before if before[name] != other[name]} == {"recipe"}
    run.mix.write_text('{"another": "mix"}\n')
    other = STAGES["train"].inputs(config, run)
    assert {name for name in before if before[name] != other[name]} == {"mix"}


def test_training_without_a_mix_says_so(run: RunDir, composed, tmp_path: Path):
    config = composed("experiment=demo", "name=a", f"run_dir={tmp_path}")
    with pytest.raises(ValueError, match="there is no mix yet: add mix to stages"):
        STAGES["train"].inputs(config, run)


def test_a_changed_validation_split_builds_the_mix_again(run: RunDir, composed, tmp_path: Path):
    for name in ("train", "validation"):
        (tmp_path / f"{name}.jsonl").write_text("{}\n")
    settings = ("experiment=demo", "name=a", f"mix.sources.sciriff.path={tmp_path}")
    watched, plain = composed(*settings, "mix.validation_rows=9"), composed(*settings)
    before = [STAGES["mix"].inputs(config, run) for config in (watched, plain)]
    (tmp_path / "validation.jsonl").write_text("{}\n{}\n")
    after = [STAGES["mix"].inputs(config, run) for config in (watched, plain)]
    assert before[0]["sources"] != after[0]["sources"] and before[1] == after[1]
