"""All of a run's config: the sections, and what concerns several of them."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from omegaconf import MISSING

from sciriff.config.deepspeed import DeepspeedConfig
from sciriff.config.engine import EngineConfig
from sciriff.config.eval import EvalConfig
from sciriff.config.general import GeneralConfig
from sciriff.config.judge import JudgeConfig
from sciriff.config.log import LogConfig
from sciriff.config.merge import MergeConfig
from sciriff.config.mix import MixConfig
from sciriff.config.model import ApiModelConfig, ModelConfig, shares_heads
from sciriff.config.plan import PlanConfig
from sciriff.config.publish import PublishConfig
from sciriff.config.recreate import RecreateConfig
from sciriff.config.report import ReportConfig
from sciriff.config.roles import ANSWERED, BOTH, HOW, LEARNT, setting
from sciriff.config.train import TrainConfig
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

STAGES = ("recreate", "mix", "train", "merge", "predict", "general", "judge", "score", "report", "publish")


@dataclass
class Config:
    """Everything that a run depends on; what `python -m sciriff.train --cfg job` prints."""

    model: ModelConfig = setting(MISSING, BOTH)
    mix: MixConfig = setting(MISSING, LEARNT)
    train: TrainConfig = setting(MISSING, LEARNT)
    deepspeed: DeepspeedConfig = setting(MISSING, LEARNT)
    engine: EngineConfig = setting(MISSING, ANSWERED)
    eval: EvalConfig = setting(MISSING, ANSWERED)
    general: GeneralConfig = setting(role=ANSWERED, factory=GeneralConfig, named=False, may_change=True)
    """As with the judge, general abilities may be measured later, in the same run."""
    judge: JudgeConfig = setting(MISSING, ANSWERED, named=False, may_change=True)
    """Another judge makes no other run: it often comes later, and its rows say whose they are."""
    log: LogConfig = setting(MISSING, HOW)
    report: ReportConfig = setting(role=HOW, factory=ReportConfig)
    plan: PlanConfig = setting(role=HOW, factory=PlanConfig)
    recreate: RecreateConfig = setting(role=BOTH, factory=RecreateConfig)
    merge: MergeConfig = setting(role=LEARNT, factory=MergeConfig)
    publish: PublishConfig = setting(role=HOW, factory=PublishConfig)

    name: str | None = setting(None, HOW, may_change=False)
    """Name of the run; null makes it from the choices and overrides that were typed."""
    stages: list[str] = setting(role=HOW, factory=lambda: list(STAGES), choices=STAGES)
    run_dir: str = setting("runs/${name}", HOW, path=True)
    cache_dir: str = setting(MISSING, HOW, path=True, written_to=True)
    """Mixes and their tokens, shared by all runs."""
    seed: int = setting(42, BOTH)
    """Drives the order of training, initial weights and sampling."""
    dry_run: bool = setting(False, HOW)
    """Print the plan and stop."""
    predictions: str | None = setting(None, ANSWERED, path=True)
    """Score the predictions of this folder instead of generating any."""
    predictions_filter: str | None = setting(None, ANSWERED, unwritten_if_empty=True)
    """Where lm-eval passed each of these answers through several filters, the name of the one to score; null takes the
    first. `predictions.filter` on the command line is the same."""
    allow_missing: bool = setting(False, HOW)
    """Score what is there when instances are missing; the scores say so."""

    def __post_init__(self) -> None:
        if not self.stages:
            raise UserError(f"stages=[] runs nothing; name some of {', '.join(STAGES)}")
        if not 0 <= self.seed < 2**32:
            raise UserError(f"seed={self.seed} must be at least 0 and below 2**32")
        if self.predictions_filter is not None and self.predictions is None:
            raise UserError(
                f"predictions_filter={self.predictions_filter} chooses among lm-eval's answers: name them with "
                "predictions=FOLDER, or leave it out"
            )
        if self.name is not None and ("/" in self.name or self.name in ("", ".", "..")):
            raise UserError(f"name={self.name!r} must be a plain folder name")
        if self.merge.method != "none":
            self._check_merge()
        if "train" in self.active_stages:
            self._check_training()
        if "predict" in self.active_stages:
            self._check_sampling()
        if self.model.api is not None:
            self._check_api_model(self.model.api)
        if "predict" in self.active_stages and self.engine.asks and self.engine.name != "local":
            for name in self.model.chat_arguments:
                raise UserError(
                    f"model.chat_arguments.{name} goes to a chat template, and engine={self.engine.name} shows none: "
                    "leave it out, or choose engine=local"
                )
        if "publish" in self.active_stages:
            self._check_publishing()
        if self.model.api is None and "predict" in self.active_stages and self.engine.name == "anthropic":
            raise UserError(f"engine=anthropic has no model={self.model.name}; its models are model=claude_...")
        if "predict" in self.active_stages and self.engine.asks:
            for stage, verb in (("train", "trains"), ("merge", "merges")):
                if stage in self.active_stages:
                    raise UserError(
                        f"engine={self.engine.name} asks a server, and none has the model that this run {verb}: choose "
                        f"engine=vllm; or {stage} first, serve the run's model, and then run "
                        "stages=[predict,score,report]"
                    )
        ways, shape = self.engine.tensor_parallel, self.model.shape if self.eval.model is None else None
        if "predict" in self.active_stages and shape and not shares_heads(shape.heads, shape.kv_heads, ways):
            raise UserError(
                f"engine.tensor_parallel={ways} does not share out model.shape.heads={shape.heads}, the attention "
                f"heads of the model (model.shape.kv_heads={shape.kv_heads} of keys and values)"
            )

    @property
    def temperature(self) -> float | None:
        """Temperature that answers are sampled at; None is the server's own."""
        if self.model.api is not None and not self.model.api.takes_temperature:
            return None
        return self.engine.temperature if self.engine.asks else self.engine.temperature or 0.0

    @property
    def thinking_tokens(self) -> int:
        """Tokens that a thought may have besides its answer: those of the evaluation, else those that a model behind an
        API is given."""
        return self.eval.thinking_tokens or (self.model.api.thinking_tokens if self.model.api is not None else 0)

    @property
    def most_thought(self) -> int:
        """The same of the model that answers; a model that is said not to think has none, and leaves the room free."""
        return 0 if self.model.thinking == "none" else self.thinking_tokens

    def _check_sampling(self) -> None:
        """UserError for samples that would all be the same, and for sampling under eval.parity=reference."""
        samples, temperature = self.eval.samples, self.temperature
        if samples > 1 and temperature == 0:
            raise UserError(
                f"eval.samples={samples} needs a temperature; at engine.temperature=0 all {samples} answers are the "
                "same: add engine.temperature=0.7, or leave eval.samples out"
            )
        if self.eval.parity == "reference" and (samples > 1 or temperature):
            key = f"eval.samples={samples}" if samples > 1 else f"engine.temperature={temperature:g}"
            raise UserError(
                f"{key} does not go with eval.parity=reference: the original code took the most likely answer, one to "
                "each prompt"
            )

    def _check_api_model(self, api: ApiModelConfig) -> None:
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

    def _check_merge(self) -> None:
        merge = f"merge={self.merge.method}"
        if self.train.method != "none":
            raise UserError(
                f"{merge} makes the model of merge.models, and train={self.train.method} trains one: leave one of them "
                "out (train=none, merge=none); a merged model is trained in a run of its own, by model.path=RUN/model"
            )
        if self.eval.model is not None:
            raise UserError(f"eval.model={self.eval.model} would answer instead of what {merge} makes: leave one out")
        if self.model.api is not None:
            raise UserError(f"{merge} makes weights, and model={self.model.name} is behind an API: leave model out")

    def _check_publishing(self) -> None:
        """UserError for what the run will not have made."""
        trains = self.train.method != "none" and self.predictions is None
        makes = self.makes_model and self.predictions is None
        lacking = {
            "model": None if makes else "trains and merges no model (train=none, merge=none)",
            "adapter": None if trains and self.train.adapts else "trains no adapter (train=lora and train=qlora do)",
            "mix": None if trains else "makes no mix (train=none)",
        }
        for what in self.publish.what:
            if why := lacking[what]:
                raise UserError(
                    f"publish.what=[{','.join(self.publish.what)}]: this run {why}; publish=none, or other choices"
                )

    def _check_training(self) -> None:
        mix, stage = self.mix, f"deepspeed.zero_stage={self.deepspeed.zero_stage}"
        if not mix.exists:
            raise UserError(
                "mix has no source: give mix.sources.sciriff.path=FOLDER, +mix.sources.NAME.path=FILE or a mix=..."
            )
        if self.deepspeed.zero_stage and self.train.method == "qlora":
            raise UserError(
                f"train=qlora does not go with {stage}, which cannot share out four-bit weights: choose "
                "deepspeed=none, where each GPU has a whole copy, or train=lora"
            )
        if self.deepspeed.zero_stage == 3 and self.train.lora_variant in ("dora", "pissa"):
            raise UserError(
                f"train.lora_variant={self.train.lora_variant} does not go with {stage}: it needs whole weights where "
                "each GPU has a share; choose deepspeed=zero2 or deepspeed=none, or another variant"
            )
        if self.deepspeed.zero_stage == 3 and "experts" in (self.train.lora_targets or ()):
            raise UserError(
                f"train.lora_targets: adapters on experts do not go with {stage}, which has no whole weight to add "
                "them to: choose deepspeed=zero2 or deepspeed=none"
            )
        if self.deepspeed.zero_stage and self.train.optimizer != "adamw":
            raise UserError(
                f"train.optimizer={self.train.optimizer} does not go with {stage}, which shares out AdamW's states "
                "itself: leave train.optimizer out, or choose deepspeed=none"
            )
        if self.train.keep == "best" and not self.train.answers:
            self._check_validation_rows()

    def _check_validation_rows(self) -> None:
        """UserError if the best model is to be chosen by a loss on rows that the mix does not have."""
        mix, by = self.mix, self.train.best_by
        chosen = "train.keep=best" if by is None else f"train.best_by={by}"
        if mix.path is not None:
            raise UserError(f"{chosen} needs validation rows, and mix.path={mix.path} brings none")
        if not mix.validation_rows:
            raise UserError(f"{chosen} chooses by the loss on validation rows, and mix.validation_rows=0 draws none")
        kind = (by or "").removesuffix("_loss")
        if by is not None and kind not in mix.kinds:
            raise UserError(
                f"train.best_by={by} needs {kind} validation rows, and mix={mix.name} has no {kind} source: choose a "
                "mix with one, or another train.best_by"
            )

    @property
    def active_stages(self) -> list[str]:
        """The chosen stages in their order, without those that other choices leave out."""
        active = {
            "recreate": self.recreate.out is not None,
            "mix": self.train.method != "none" and self.predictions is None,
            "train": self.train.method != "none" and self.predictions is None,
            "merge": self.merge.method != "none" and self.predictions is None,
            "predict": self.predictions is None,
            "general": self.measures_general,
            "judge": self.judge.provider != "none",
            "publish": self.publish.to != "none",
        }
        return [stage for stage in STAGES if stage in self.stages and active.get(stage, True)]

    @property
    def makes_model(self) -> bool:
        """Whether the model that answers is one of the run's own, trained or merged."""
        return self.train.method != "none" or self.merge.method != "none"

    @property
    def measures_general(self) -> bool:
        """Whether the run has general tasks, be it that their stage is not among the chosen ones."""
        return bool(self.general.tasks) and self.predictions is None

    @property
    def answering_model(self) -> ModelConfig:
        """The model that answers: `eval.model`, else the one that this run trains or merges, else `model`. Under
        eval.parity=reference it computes in float16, as the original code has vLLM do."""
        model = replace(self.model, dtype="float16") if self.eval.parity == "reference" else self.model
        if self.eval.model is not None:
            return replace(model, path=self.eval.model, tokenizer=None, revision=None)
        if self.makes_model:
            return replace(model, path=str(RunDir(Path(self.run_dir)).model), tokenizer=None, revision=None)
        return model


@dataclass
class RecreateRoot:
    """What `python -m sciriff.recreate` composes."""

    recreate: RecreateConfig = field(default_factory=RecreateConfig)
    cache_dir: str = MISSING
