"""All of a run's config: the sections, and what concerns several of them."""

from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import MISSING

from sciriff.config.deepspeed import DeepspeedConfig
from sciriff.config.engine import EngineConfig
from sciriff.config.eval import EvalConfig
from sciriff.config.judge import JudgeConfig
from sciriff.config.log import LogConfig
from sciriff.config.mix import MixConfig
from sciriff.config.model import ApiModelConfig, ModelConfig, shares_heads
from sciriff.config.plan import PlanConfig
from sciriff.config.report import ReportConfig
from sciriff.config.roles import ANSWERED, BOTH, HOW, LEARNT, setting
from sciriff.config.train import TrainConfig
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

STAGES = ("mix", "train", "predict", "judge", "score", "report")


@dataclass
class Config:
    """Everything that a run depends on; what `python -m sciriff.train --cfg job` prints."""

    model: ModelConfig = setting(MISSING, BOTH)
    mix: MixConfig = setting(MISSING, LEARNT)
    train: TrainConfig = setting(MISSING, LEARNT)
    deepspeed: DeepspeedConfig = setting(MISSING, LEARNT)
    engine: EngineConfig = setting(MISSING, ANSWERED)
    eval: EvalConfig = setting(MISSING, ANSWERED)
    judge: JudgeConfig = setting(MISSING, ANSWERED, named=False, may_change=True)
    """It often comes later, or with more money, and its rows say whose they are: no other judge makes another run."""
    log: LogConfig = setting(MISSING, HOW)
    report: ReportConfig = setting(role=HOW, factory=ReportConfig)
    plan: PlanConfig = setting(role=HOW, factory=PlanConfig)

    name: str | None = setting(None, HOW, may_change=False)
    """Name of the run; null makes it from the choices and overrides that were typed."""
    stages: list[str] = setting(role=HOW, factory=lambda: list(STAGES), choices=STAGES)
    """Which stages to run, of mix, train, predict, judge, score, report."""
    run_dir: str = setting("runs/${name}", HOW)
    cache_dir: str = setting(MISSING, HOW)
    """Where mixes and their tokens are kept and shared by all runs."""
    seed: int = setting(42, BOTH)
    """Drives the order of training, initial weights and sampling."""
    dry_run: bool = setting(False, HOW)
    """Print the plan and stop."""
    predictions: str | None = setting(None, ANSWERED)
    """Score the predictions of this folder instead of generating any."""
    allow_missing: bool = setting(False, HOW)
    """Score what is there when instances are missing, and say so."""

    def __post_init__(self) -> None:
        if not self.stages:
            raise UserError(f"stages=[] runs nothing; name some of {', '.join(STAGES)}")
        if not 0 <= self.seed < 2**32:
            raise UserError(f"seed={self.seed} must be at least 0 and below 2**32")
        if self.name is not None and ("/" in self.name or self.name in ("", ".", "..")):
            raise UserError(f"name={self.name!r} must be a plain folder name")
        if "train" in self.active_stages and not self.mix.path and not self.mix.has_source:
            raise UserError("mix has no source: give mix.sources.sciriff.path=FOLDER, or choose a mix")
        if "train" in self.active_stages and self.deepspeed.zero_stage:
            self._refuse_with_deepspeed()
        if "train" in self.active_stages and self.train.keep == "best":
            self._refuse_a_choice_without_rows()
        if "predict" in self.active_stages:
            self._check_sampling()
        if self.model.api is not None:
            self._check_api_model(self.model.api)
        elif "predict" in self.active_stages and self.engine.name == "anthropic":
            raise UserError(f"engine=anthropic has no model={self.model.name}; its models are model=claude_...")
        if {"train", "predict"} <= set(self.active_stages) and self.engine.asks:
            raise UserError(
                f"engine={self.engine.name} asks a server, and none has the model that this run trains: choose "
                "engine=vllm; or train first, serve the run's model, and then run stages=[predict,score,report]"
            )
        ways, shape = self.engine.tensor_parallel, self.model.shape if self.eval.model is None else None
        if "predict" in self.active_stages and shape and not shares_heads(shape.heads, shape.kv_heads, ways):
            raise UserError(
                f"engine.tensor_parallel={ways} does not share out model.shape.heads={shape.heads}, the attention "
                f"heads of the model (model.shape.kv_heads={shape.kv_heads} of keys and values)"
            )

    @property
    def temperature(self) -> float | None:
        """At which prompts are answered; None is the server's own."""
        if self.model.api is not None and not self.model.api.takes_temperature:
            return None
        return self.engine.temperature if self.engine.asks else self.engine.temperature or 0.0

    def _check_sampling(self) -> None:
        """UserError for samples that would all be the same, and for chance where the original code has none."""
        samples, temperature = self.eval.samples, self.temperature
        if samples > 1 and temperature == 0:
            raise UserError(
                f"eval.samples={samples} needs a temperature, for at engine.temperature=0 all {samples} answers are "
                "the same: add engine.temperature=0.7, or leave eval.samples out"
            )
        if self.eval.parity == "reference" and (samples > 1 or temperature):
            key = f"eval.samples={samples}" if samples > 1 else f"engine.temperature={temperature:g}"
            raise UserError(
                f"{key} does not go with eval.parity=reference: the original code took the most likely answer, one to "
                "each prompt"
            )

    def _check_api_model(self, api: ApiModelConfig) -> None:
        """UserError for what cannot be done with a model that only its provider has."""
        model = self.model.name
        if self.train.method != "none":
            raise UserError(f"model={model} cannot be trained here, for {api.provider} keeps its weights: train=none")
        if self.eval.model is not None:
            raise UserError(f"eval.model names weights, and model={model} is one that {api.provider} answers for")
        if "predict" not in self.active_stages:
            return
        if self.engine.name not in (api.provider, "local"):
            raise UserError(f"model={model} answers over {api.provider}'s API: engine={api.provider}")
        if not api.takes_temperature and self.engine.temperature:
            raise UserError(f"engine.temperature={self.engine.temperature:g}: model={model} takes no temperature")
        if not api.takes_temperature and self.engine.top_p < 1:
            raise UserError(f"engine.top_p={self.engine.top_p:g}: model={model} takes neither it nor a temperature")

    def _refuse_with_deepspeed(self) -> None:
        stage = f"deepspeed.zero_stage={self.deepspeed.zero_stage}"
        if self.train.method == "qlora":
            raise UserError(
                f"train=qlora does not go with {stage}, which cannot share out four-bit weights: choose "
                "deepspeed=none, where each GPU has a whole copy, or train=lora"
            )
        if self.train.optimizer != "adamw":
            raise UserError(
                f"train.optimizer={self.train.optimizer} does not go with {stage}, which shares out AdamW's states "
                "itself: leave train.optimizer out, or choose deepspeed=none"
            )

    def _refuse_a_choice_without_rows(self) -> None:
        if self.mix.path is not None:
            raise UserError(f"train.keep=best needs validation rows, and mix.path={self.mix.path} brings none")
        if not self.mix.validation_rows:
            raise UserError(
                "train.keep=best chooses by the loss on validation rows, and mix.validation_rows=0 draws none"
            )

    @property
    def active_stages(self) -> list[str]:
        """The chosen stages in their order, without those that other choices leave out."""
        left_out: set[str] = set()
        if self.train.method == "none":
            left_out |= {"mix", "train"}
        if self.judge.provider == "none":
            left_out.add("judge")
        if self.predictions is not None:
            left_out |= {"mix", "train", "predict"}
        return [stage for stage in STAGES if stage in self.stages and stage not in left_out]

    @property
    def answering_model(self) -> ModelConfig:
        """Whose answers are scored: `eval.model`, else the model that this run trains, else `model` as it is. Under
        eval.parity=reference it computes in float16, as the original code has vLLM do."""
        model = replace(self.model, dtype="float16") if self.eval.parity == "reference" else self.model
        if self.eval.model is not None:
            return replace(model, path=self.eval.model, tokenizer=None, revision=None)
        if self.train.method != "none":
            return replace(model, path=str(RunDir(Path(self.run_dir)).model), tokenizer=None, revision=None)
        return model
