"""The command: compose the config and build the rows. `python -m sciriff.recreate --help`"""

import signal

if __name__ == "__main__":  # as in sciriff.train
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import os
import sys
from dataclasses import replace

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from sciriff.config import RecreateConfig, compose_error, conf_dir
from sciriff.config.files import recreate_from_container
from sciriff.config.registration import composing, register
from sciriff.run.arguments import refuse_control_characters
from sciriff.run.messages import say, say_error, say_traceback
from sciriff.run.safe_path import take_no_modules_from_here
from sciriff.run.user_error import UserError
from sciriff.stage import USER_ERROR


def main() -> int:
    sys.excepthook = say_traceback
    take_no_modules_from_here()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come here instead of being printed by Hydra
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    statuses: list[int] = []
    jobs: dict[str | None, RecreateConfig] = {}

    def entry(composed: DictConfig) -> None:
        from sciriff.recreate.build import build

        try:
            config = recreate_from_container(composed)
            before = jobs.setdefault(config.out, config)
            if replace(before, tasks=config.tasks) != config:
                raise UserError(
                    f"two jobs of the sweep have recreate.out={config.out} and other settings, and the second would "
                    "take the place of the first: sweep over recreate.out, too"
                )
            statuses.append(build(config, add=config.add or HydraConfig.get().mode == RunMode.MULTIRUN))
        except (UserError, OSError) as error:  # outside Hydra, which would print a line of its own
            say_error(error)
            statuses.append(USER_ERROR)

    try:
        refuse_control_characters(sys.argv[1:])
        register()
        with composing():
            hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="recreate")(entry)()
    except KeyboardInterrupt:
        say("stopped; finished tasks are kept. The same command goes on from there")
        return 130
    except (HydraException, OmegaConfBaseException) as error:
        say_error(compose_error.in_hydra(error, sys.argv[1:]) or compose_error.explain(error))
        return USER_ERROR
    except UserError as error:  # before any job began
        say_error(error)
        return USER_ERROR
    return max(statuses, default=0)


if __name__ == "__main__":
    sys.exit(main())
