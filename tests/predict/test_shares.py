"""Several nodes share the prompts and give the bytes of one; what they hand over is data, and checked."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from predict_runs import files_of, finish, make_run, row, save_lively_model, start, tiny_model, write_rows

from sciriff.config import EngineConfig
from sciriff.models.engines import Answer
from sciriff.predict.shares import LOOK, Shares
from sciriff.run.nodes.cluster import Cluster
from sciriff.run.nodes.everywhere import START
from sciriff.run.run_dir import RunDir

TWO = Cluster(("node 0", "node 1"))
VARIABLES = {"NODES": "2", "MASTER_ADDR": "127.0.0.1", START: "one"}
DIGEST = "digest of the prompts"


@pytest.fixture
def shares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Shares]:
    """Those of two nodes, with an engine and with two."""
    monkeypatch.setenv(START, "one")
    nodes = (Cluster(TWO.nodes, rank) for rank in (0, 1))
    return [Shares(RunDir(tmp_path), node, [1, 2], DIGEST) for node in nodes]


def file_of(folder: Path) -> Path:
    return RunDir(folder).share("one", 1)


def test_a_node_answers_as_many_batches_as_it_has_engines(shares: list[Shares]) -> None:
    batches = [[0], [1, 2], [3], [4], [5], [6]]
    assert shares[0].deal(batches) == [[0], [4]]
    assert shares[1].dealt() == [[1, 2], [3], [5], [6]]


def test_answers_arrive_once_and_the_end_waits_for_all(shares: list[Shares], tmp_path: Path) -> None:
    mine = shares[0].deal([[0], [1], [2]])
    stream = shares[0].collect([Answer(place, [7], "stop")] for (place,) in mine)
    assert next(stream) == [Answer(0, [7], "stop")]
    shares[1].answer([[Answer(2, [5, 6], "length")]])
    assert next(stream) == [Answer(2, [5, 6], "length")]
    scored = Answer(1, [], "scored", [-0.125, -3.3333333333333335], [True, False])
    shares[1].answer([[scored]])
    assert list(stream) == [[scored]]
    shares[1].dealt()
    shares[0].end()
    assert list(RunDir(tmp_path).nodes.iterdir()) == []


def test_the_first_node_waits_for_one_that_comes_late_and_has_nothing_to_do(
    shares: list[Shares], tmp_path: Path
) -> None:
    assert shares[0].deal([[0]]) == [[0]]
    with ThreadPoolExecutor() as pool:
        ended = pool.submit(shares[0].end)
        time.sleep(2 * LOOK)
        assert not ended.done()
        assert shares[1].dealt() == []
        ended.result(timeout=60)
    assert list(RunDir(tmp_path).nodes.iterdir()) == []


@pytest.mark.parametrize(
    "written",
    [
        "no JSON\n",
        "[]\n",
        '{"asked": "digest of the prompts", "place": "1", "token_ids": [], "finish_reason": "stop"}\n',
        '{"asked": "digest of the prompts", "place": 1, "token_ids": [-1], "finish_reason": "stop"}\n',
        '{"asked": "digest of the prompts", "place": 1, "token_ids": [1e9], "finish_reason": "stop"}\n',
        '{"asked": "digest of the prompts", "place": 1, "token_ids": [], "finish_reason": "../x"}\n',
        '{"asked": "digest of the prompts", "place": 1, "token_ids": [], "finish_reason": "scored", '
        '"log_likelihoods": [NaN], "greedy": [true]}\n',
        '{"asked": "digest of the prompts", "place": 0, "token_ids": [], "finish_reason": "stop"}\n',
        '{"asked": "digest of the prompts", "place": 99, "token_ids": [], "finish_reason": "stop"}\n',
        '{"asked": "other prompts", "place": 1, "token_ids": [], "finish_reason": "stop"}\n',
        2 * '{"asked": "digest of the prompts", "place": 1, "token_ids": [], "finish_reason": "stop"}\n',
    ],
)
def test_what_is_no_answer_of_that_node_is_refused(written: str, shares: list[Shares], tmp_path: Path) -> None:
    shares[0].deal([[0], [1], [2]])
    file_of(tmp_path).write_text(written)
    with pytest.raises(ValueError, match=str(file_of(tmp_path))):
        list(shares[0].collect([]))
    assert len(shares[0].left_behind(range(2))) <= 2, "of an earlier start it is no error"


def test_a_node_with_other_prompts_is_refused(shares: list[Shares], tmp_path: Path) -> None:
    shares[0].deal([[0]])
    other = Shares(RunDir(tmp_path), Cluster(TWO.nodes, 1), [1, 2], "digest of others")
    with pytest.raises(ValueError, match="node 1 has other prompts or settings than node 0"):
        other.dealt()


@pytest.mark.slow
def test_two_nodes_give_the_bytes_of_one_also_after_the_first_was_killed(tmp_path: Path) -> None:
    save_lively_model(tmp_path / "model")
    rows = [row(f"scierc_ner:v:{i}", f"Find the names.\n\n{'word ' * (i % 23)}{i}\n\nWhich?") for i in range(40)]
    made = {
        "model": replace(tiny_model(), path=str(tmp_path / "model")),
        "path": str(write_rows(tmp_path / "instances.jsonl", rows)),
        "engine": EngineConfig(name="transformers", batch_tokens=400),
    }
    alone = make_run(tmp_path / "alone", **made)
    finish(alone)
    run = make_run(tmp_path / "run", **made)
    other = start(run, **VARIABLES, NODE_RANK="1")
    first = start(run, **VARIABLES, NODE_RANK="0")
    while not run.share("one", 1).exists():
        assert other.poll() is None, other.communicate()
    first.kill()
    first.communicate()
    assert other.wait(300) == 0
    again = {**VARIABLES, START: "two"}
    nodes = [start(run, **again, NODE_RANK=str(rank)) for rank in (0, 1)]
    outputs = [node.communicate(timeout=300)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], outputs
    assert "answers are here already" in outputs[0] and "2 engines on 2 nodes" in outputs[0]
    assert files_of(run) == files_of(alone)
    assert list(run.nodes.iterdir()) == []
