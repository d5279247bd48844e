"""A mix, predictions and a model that somebody sent: they run nothing and read nothing of the environment."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
from canaries import SECRETS, command, leaked, leaked_files
from predict_runs import row, tiny_model, write_rows
from task_cases import REFERENCES

from sciriff.data.records import Prediction
from sciriff.run.json_lines import write_jsonl
from sciriff.run.run_dir import RunDir

EVERY = " ".join(f"${{oc.env:{name}}} {{{{ env.{name} }}}} {{% raw %}} $({name}) %({name})s" for name in SECRETS)
EVAL = "__import__('os').system('touch RAN')"
NO_TRACKER = ("log=none", "judge=none")


def check(place: Path, *words: str, status: int = 0, **environment: str) -> str:
    """Run a command; what it printed on standard error, once nothing leaked and nothing ran."""
    result = command(place, *words, **environment)
    assert result.returncode == status, (words, result.stderr.decode()[-3000:])
    assert not leaked(result.stdout + result.stderr) and not leaked_files(place)
    assert not list(place.rglob("RAN*")), "code ran"
    return result.stderr.decode()


@pytest.mark.slow
@pytest.mark.shows("D1")
def test_rows_of_a_mix_are_text(tmp_path: Path) -> None:
    said = [{"role": "user", "content": f"{EVERY} {EVAL}"}, {"role": "assistant", "content": f"{EVERY} {EVAL}"}]
    rows = [{"dataset": f"science.{EVERY}", "id": f"{EVERY}{n}", "messages": said} for n in range(4)]
    (tmp_path / "mix.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    typed = ("experiment=demo", "mix.path=mix.jsonl", "stages=[mix]", "name=m", "train.keep=last", *NO_TRACKER)
    check(tmp_path, "train", *typed, "mix.validation_rows=0", "train.eval_every=null")
    kept = [json.loads(line) for line in RunDir(tmp_path / "runs/m").mix.read_text().splitlines()]
    assert [one["messages"] for one in kept] == [said] * 4


@pytest.mark.slow
@pytest.mark.shows("D3")
def test_predictions_are_text(tmp_path: Path) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    for task, good in REFERENCES.items():
        texts = (EVERY, EVAL, deep, "{" * 5000, '{"__class__": {"__init__": "x"}}', "\ud800", "9" * 5000, "NaN", good)
        rows = [Prediction(task, f"{EVERY}:{n}", EVERY, text, good) for n, text in enumerate(texts)]
        write_jsonl(tmp_path / "answers" / f"{task}.jsonl", rows)
    typed = ("train=none", "model=scitulu_7b", "predictions=answers", "run_dir=out", *NO_TRACKER)
    check(tmp_path, "train", *typed)
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert all(found["n"] == 9 for found in scores["tasks"].values()) and len(scores["tasks"]) == len(REFERENCES)


CODE = """from pathlib import Path
Path("RAN").touch()
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
class C(LlamaConfig): pass
class M(LlamaForCausalLM): pass
class T(PreTrainedTokenizerFast): pass
"""
ESCAPES = (
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ raise_exception.__globals__ }}",
    "{{ messages.__init__.__globals__['os'].environ }}",
    "{{ cycler.__init__.__globals__.os.environ }}",
    "{{ namespace.__init__.__globals__.os.popen('touch RAN').read() }}",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose files ask for code of theirs, of the hub and of pickles, and yet can be loaded without."""
    import torch

    from sciriff.models.loading import load_model, load_tokenizer

    folder = tmp_path_factory.mktemp("model")
    load_model(tiny_model(), seed=1, dtype=torch.float32).save_pretrained(folder)
    load_tokenizer(tiny_model()).save_pretrained(folder)
    (folder / "evil.py").write_text(CODE)
    auto = {"auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}}
    kernel = {"attn_implementation": "someone/kernel", "_attn_implementation": "someone/kernel"}
    amend(folder / "config.json", {**auto, **kernel, "name_or_path": "${oc.env:HF_TOKEN}"})
    amend(folder / "generation_config.json", {"custom_generate": "someone/generate", "trust_remote_code": True})
    (folder / "README.md").write_text("---\nlicense: ${oc.env:HF_TOKEN}\n---\n" + EVERY)
    return folder


def amend(file: Path, values: dict[str, Any]) -> None:
    before = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps({**before, **values}))


def answering(place: Path, model: Path, *more: str, status: int = 0) -> str:
    write_rows(place / "rows.jsonl", [row("scierc_ner:v:1", "Question?", "{}")])
    shape = "layers: 2, hidden: 64, intermediate: 96, heads: 2, kv_heads: 1, vocabulary: 4096, context: 256"
    typed = ("train=none", "model=custom", f"model.path={model}", f"model.shape={{{shape}}}", "model.dtype=float32")
    asked = ("engine=transformers", "eval.path=rows.jsonl", "eval.max_new_tokens=8", "stages=[predict]", "name=r")
    return check(place, "train", *typed, *asked, *NO_TRACKER, *more, status=status, HF_HUB_OFFLINE="1")


@pytest.mark.slow
@pytest.mark.shows("W1", "W3", "W5")
def test_code_beside_a_model_does_not_run(model: Path, tmp_path: Path) -> None:
    answering(tmp_path, model, "model.chat=tulu")
    assert (tmp_path / "runs/r/predictions/scierc_ner.jsonl").read_text().count("\n") == 1
    amend_copy = tmp_path / "copy"
    shutil.copytree(model, amend_copy)
    amend(amend_copy / "tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.T", "evil.T"]}})
    amend(amend_copy / "tokenizer_config.json", {"tokenizer_class": "T"})
    said = answering(tmp_path, amend_copy, "model.chat=tulu", "name=s", status=1)
    assert "model.trust_remote_code=true" in said and "Traceback" not in said


@pytest.mark.shows("W5")
def test_a_licence_of_a_model_folder_is_text(model: Path) -> None:
    from dataclasses import replace

    from sciriff.finetune.model_card import license_of

    assert license_of(replace(tiny_model(), path=str(model))) == "${oc.env:HF_TOKEN}"


@pytest.mark.shows("W6")
def test_an_adapter_that_names_modules_is_refused(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    import torch

    from sciriff.models.loading import load_model
    from sciriff.run.user_error import UserError

    folder = tmp_path / "megatron"
    shutil.copytree(model, folder)
    (folder / "evil.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / 'RAN')!r}).touch()\n")
    adapter = {
        "peft_type": "LORA",
        "target_modules": ["q_proj"],
        "megatron_config": {},
        "megatron_core": "megatron.evil",
    }
    amend(folder / "adapter_config.json", adapter)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"adapter_config\.json.*model\.trust_remote_code=true"):
        load_model(replace(tiny_model(), path=str(folder)), seed=1, dtype=torch.float32)
    assert not (tmp_path / "RAN").exists()


@pytest.mark.shows("W2")
def test_a_pickle_that_holds_more_than_tensors_is_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    import torch

    from sciriff.models.loading import load_model
    from sciriff.run.user_error import UserError

    class Runs:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "RAN",)

    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "pickled"
    shutil.copytree(model, folder)
    (folder / "model.safetensors").unlink()
    for content in (pickle.dumps(Runs()), None):
        if content is None:
            torch.save(Runs(), folder / "pytorch_model.bin")
        else:
            (folder / "pytorch_model.bin").write_bytes(content)
        with pytest.raises(UserError, match="pickle") as error:
            load_model(replace(tiny_model(), path=str(folder)), seed=1, dtype=torch.float32)
        assert "\n" not in str(error.value) and not (tmp_path / "RAN").exists()


@pytest.mark.parametrize("template", ESCAPES)
@pytest.mark.shows("W4")
def test_a_chat_template_sees_nothing_of_python(model: Path, template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from sciriff.models import chat_markup
    from sciriff.models.loading import load_tokenizer
    from sciriff.run.json_lines import Message

    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    tokenizer = load_tokenizer(replace(tiny_model(), path=str(model), tokenizer=str(model)))
    tokenizer.chat_template = template
    try:
        shown = tokenizer.decode(chat_markup.prompt_ids("tokenizer", [Message("user", "x")], tokenizer))
    except Exception as error:
        shown = str(error)
    assert not leaked(shown.encode()) and "subclasses" not in shown.replace("__subclasses__", "")
