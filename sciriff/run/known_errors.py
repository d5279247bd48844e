"""Errors of other packages that only their text tells apart from others of the same type.

Each has the versions in which the text was seen: a release may reword it, so look here first after an upgrade.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class KnownError:
    package: str
    seen: str
    """Oldest and newest version in which the text was seen."""
    text: str
    """Regular expression, searched for in the error's message. Its groups are what callers show."""

    def search(self, error: object) -> re.Match[str] | None:
        """Return the match in an exception or its message; None if it is another error."""
        return re.search(self.text, str(error))


AMBIGUOUS_VALUE = KnownError("hydra-core", "1.3.2 - 1.3.8", r"Ambiguous value for argument '([^=]+)=(.*)'")
NO_SUCH_OVERRIDE = KnownError("hydra-core", "1.3.2 - 1.3.8", r"Could not override '([^']+)'")
BAD_OVERRIDE = KnownError("hydra-core", "1.3.2 - 1.3.8", r"Error merging override (\S+)")
"""Its cause, an error of OmegaConf's, says what is wrong with the value."""
NULL_OPTION = KnownError("hydra-core", "1.3.2 - 1.3.8", r"^Config group override must be a string or a list")
"""`train=null`, and `null` among the options of a list."""

NO_SUCH_KEY = KnownError("omegaconf", "2.3.0 - 2.3.1", r"Key '([^']+)' (?:is )?not in (?:'(\w+)'|struct)")
KEY_BELOW_NULL = KnownError("omegaconf", "2.3.0 - 2.3.1", r"^Unexpected type( for root)?: None")
"""An assertion of OmegaConf: a key is set below a section that is null."""
TABLE_ON_NULL = KnownError("omegaconf", "2.3.0 - 2.4", r"^'NoneType' object has no attribute 'get'")
"""An AttributeError of OmegaConf: a table is merged into a section that is null."""
WRONG_TYPE = KnownError("omegaconf", "2.3.0 - 2.3.1", r"could not be converted to (\w+)")
NOT_A_LIST = KnownError("omegaconf", "2.3.0 - 2.3.1", r"is not a ListConfig")
NOT_OPTIONAL = KnownError("omegaconf", "2.3.0 - 2.3.1", r"is not Optional")

STUDY_STOPPED = KnownError("optuna, under hydra-optuna-sweeper 1.3", "2.10", r"Study\.stop")
"""Raised by the sweeper if the last job of a grid has failed; all others have ended by then."""

UNKNOWN_SPLIT = KnownError("datasets", "3.0 - 5.2", r"^Unknown split")

NO_FLASH_ATTENTION = KnownError("transformers", "4.56 - 5.24", r"does not support Flash Attention")
NO_SDPA = KnownError("transformers", "4.56 - 5.24", r"scaled_dot_product_attention")
NO_PACKED_KERNEL = KnownError("transformers", "5.24", r"can't keep packed sequences apart")
"""A recurrent layer is told where rows begin, and the package whose kernel could heed it is missing."""
NO_SUCH_ARGUMENT = KnownError("python", "3.11 - 3.13", r"got an unexpected keyword argument|got multiple values for")
"""A family's forward, or a layer of it, does not take what others do, such as positions."""
NEEDS_REMOTE_CODE = KnownError("transformers", "4.56 - 5.24", r"trust_remote_code")

TORCH_WRITES = KnownError("torch", "2.4 - 2.13", r"inline_container|PytorchStreamWriter")
"""torch.save could not write its file; often it does not say that the disk is full."""
DISK_FULL = KnownError("torch, safetensors and the operating system", "0.8", r"No space left|os error 28|quota")

NAN_LOGITS = KnownError("vllm", "0.10 - 0.32", r"NaNs detected in logits")
