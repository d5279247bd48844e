"""What the engines that ask a server need before they can: which server, and its name for the model."""

from dataclasses import replace

from sciriff.config import Config
from sciriff.models.api.service import Service
from sciriff.run.user_error import UserError


def service(config: Config) -> Service:
    """Who answers. UserError where nobody can know the server's name for the model."""
    engine, model = config.engine, config.answering_model
    name = engine.model or (model.api.name if model.api else model.path)
    if name is None:
        raise UserError(f"engine={engine.name} needs engine.model=NAME, the server's name for model={model.name}")
    if model.api is not None and not model.api.takes_temperature:
        engine = replace(engine, temperature=None)
    return Service("engine", engine.name, name, engine, "a model that runs here, or engine=local", "answering")
