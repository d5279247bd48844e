"""The schema of conf/, a file per folder: a misspelt key, a wrong type, an impossible value ends here."""

from sciriff.config.checks import nearest
from sciriff.config.deepspeed import DeepspeedConfig
from sciriff.config.engine import EngineConfig
from sciriff.config.eval import EvalConfig
from sciriff.config.files import as_dict, from_container, from_plain, load, read, shape_of_values, to_yaml, what_decides
from sciriff.config.general import GeneralConfig
from sciriff.config.judge import JudgeConfig
from sciriff.config.keys import FREE_TO_CHANGE, KEYS, UNNAMED, keys_of, optional_sections, unknown_key
from sciriff.config.log import LogConfig
from sciriff.config.merge import MergeConfig
from sciriff.config.mix import KINDS, KNOWN_SOURCES, MixConfig, MixSourceConfig
from sciriff.config.model import CHAT_DATE, CHAT_FORMATS, ApiModelConfig, ChatSettings, ModelConfig, ShapeConfig
from sciriff.config.places import PACKAGE, SAMPLE, conf_dir
from sciriff.config.plan import PlanConfig
from sciriff.config.publish import PublishConfig, Target
from sciriff.config.recreate import RecreateConfig
from sciriff.config.report import ReportConfig
from sciriff.config.root import STAGES, Config
from sciriff.config.server import ADDRESS, PROVIDERS, ServerConfig
from sciriff.config.source import SourceConfig
from sciriff.config.train import (
    ATTENTIONS,
    BEST_FROM,
    BEST_ROWS,
    CHECKPOINTS_KEPT,
    LOGITS_AT_ONCE,
    LORA_PATTERN,
    REPORTED,
    TASK_MEAN,
    TRAIN_SPLIT,
    VALIDATION_ROWS,
    TrainConfig,
)
