"""Try before the first step what writes the finished model, so that nothing fails first after hours.

Names and shapes of all weights go through transformers' conversion to those of a checkpoint file and back, on the meta
device, where a tensor has no memory. All other files are written to a temporary folder and read back. What cannot be
known yet (the weights' values, room on the disk) is checked when the model is written.
"""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from sciriff.config import ModelConfig
from sciriff.finetune.finished_model import Plan, skeleton
from sciriff.finetune.workers import Workers
from sciriff.models import processor_files, verification
from sciriff.models.loading import auto_class, load_config
from sciriff.models.model_folder import write_small_files
from sciriff.models.towers import towers
from sciriff.run.user_error import UserError


def rehearse(model: ModelConfig, language_model: Any, workers: Workers) -> Plan:
    """Return how the finished model will be written. Every rank calls it; UserError on all if it could not be."""
    problem, plan = None, Plan()
    if workers.rank == 0:
        try:
            plan = _plan(model, language_model)
        except UserError as error:
            problem = str(error)
    if problem := workers.broadcast(problem):
        raise UserError(problem)
    if not plan.processor and towers(language_model):
        workers.log(
            f"the base model has no {processor_files.NAMES[0]}: the finished one answers texts here, and a server that "
            "is asked about pictures or sounds may not load it"
        )
    return plan


def _plan(model: ModelConfig, language_model: Any) -> Plan:
    processor = processor_files.read(model)
    family = type(language_model).__name__
    with TemporaryDirectory() as name:
        folder = Path(name)
        saved = replace(model, path=name, tokenizer=None, revision=None)
        try:
            plain = skeleton(model, language_model)
            write_small_files(model, plain.config, processor, folder)
            config = load_config(saved)
            with torch.device("meta"):
                read = auto_class(config).from_config(
                    config, attn_implementation="eager", trust_remote_code=model.trust_remote_code
                )
            if type(read).__name__ != type(plain).__name__:  # code of the folder's own is imported once for each folder
                raise UserError(f"{model.name}: a trained {family} would be read back as {type(read).__name__}")
            dtypes = _there_and_back(plain, getattr(torch, model.dtype))
            verification.prompt(model, folder)
        except UserError as error:
            raise UserError(str(error).replace(name, "the finished model")) from None
        except OSError:
            raise
        except Exception as error:  # whatever a library raises here, it would raise after the whole training
            reason = next(iter(str(error).strip().splitlines()), "no reason given")
            raise UserError(
                f"{model.name}: a trained {family} could not be saved and read back by this transformers "
                f"({type(error).__name__}: {reason}); use another version of it, or another model"
            ) from error
    return Plan(dtypes, processor)


def _there_and_back(plain: Any, dtype: torch.dtype) -> dict[str, torch.dtype]:
    """Convert names and shapes of all weights to a file's, as `save_pretrained`, and read them back. Returns the types
    of weights that are then not of `dtype`. UserError names a weight that is lost or changed."""
    from transformers.utils import logging

    try:
        from transformers.core_model_loading import revert_weight_conversion
        from transformers.modeling_utils import remove_tied_weights_from_state_dict
    except ImportError:
        return {}  # before transformers 5, which converts nothing
    logging.disable_progress_bar()
    whole = plain.state_dict()
    written = {name: weight for name, weight in whole.items() if name not in (plain._keys_to_ignore_on_save or ())}
    file = revert_weight_conversion(plain, remove_tied_weights_from_state_dict(written, plain))
    read, found = type(plain).from_pretrained(
        None,
        config=deepcopy(plain.config),
        state_dict=file,
        dtype=dtype,
        device_map={"": "meta"},
        output_loading_info=True,
    )
    after = read.state_dict()
    shapes, shapes_after = ({name: weight.shape for name, weight in one.items()} for one in (whole, after))
    lost = [*found["missing_keys"], *found["unexpected_keys"], *found["mismatched_keys"]]
    lost += [name for name in shapes | shapes_after if shapes.get(name) != shapes_after.get(name)]
    if lost:
        problem = f"{type(plain).__name__}: {lost[0]} would not be read back from what this transformers saves"
        raise UserError(f"{problem} ({len(lost)} weights in all); use another version of it, or another model")
    return {name: weight.dtype for name, weight in after.items() if weight.dtype != dtype}
