"""Before a sweep begins: what a user mistyped is left to the sweeper, and a bug is not taken for that."""

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from sciriff.config import conf_dir
from sciriff.config.registration import register
from sciriff.driver.separate_runs import refuse_shared
from sciriff.driver.sweep import SweepFolder, SweepNotBegun
from sciriff.run.user_error import UserError


class Loader:
    """Hydra's loader of configs, but that composing a job raises `error`."""

    def __init__(self, loader, error: Exception):
        self.loader, self.error = loader, error

    def __getattr__(self, name: str):
        return getattr(self.loader, name)

    def load_sweep_config(self, *_: object):
        raise self.error


@pytest.fixture
def swept():
    """`swept("seed=1,2")` is Hydra's loader and the config of that sweep before its jobs are composed."""
    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        yield lambda *typed: (loader, loader.load_configuration("config", list(typed), RunMode.MULTIRUN))


def test_a_bug_while_jobs_are_composed_is_raised(swept):
    loader, master = swept("experiment=demo", "seed=1,2")
    with pytest.raises(AssertionError, match="ours"):
        refuse_shared(Loader(loader, AssertionError("ours")), master)


@pytest.mark.parametrize("mistyped", ["train.learning_rate=1,fast", "judge=null,none", "model.api.name=a,b"])
def test_what_was_mistyped_is_left_to_the_sweeper(swept, mistyped: str):
    refuse_shared(*swept("experiment=demo", mistyped))


def test_hydra_makes_no_warning_of_either(swept, monkeypatch: pytest.MonkeyPatch):
    _, master = swept("experiment=demo", "seed=1,1")
    with pytest.raises(SweepNotBegun, match="two jobs of this sweep are the same"):
        SweepFolder().on_multirun_start(master)
    loader = GlobalHydra.instance().config_loader()
    monkeypatch.setattr(GlobalHydra.instance(), "config_loader", lambda: Loader(loader, AssertionError("ours")))
    with pytest.raises(SweepNotBegun) as broke:
        SweepFolder().on_multirun_start(master)
    assert not isinstance(broke.value, Exception) and str(broke.value.__cause__) == "ours"


def test_jobs_that_would_push_to_one_repository_are_refused(swept):
    hub = ("experiment=demo", "seed=1,2", "publish=hub")
    with pytest.raises(UserError, match=r"publish\.repo=me/one is one repository .*USER/\$\{name\}"):
        refuse_shared(*swept(*hub, "publish.repo=me/one"))
    refuse_shared(*swept(*hub, "publish.repo=me/${name}"))
