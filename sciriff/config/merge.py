"""merge: a model made of the weights of others, in the place of a training."""

from dataclasses import dataclass

from sciriff.config.roles import setting
from sciriff.run.user_error import UserError

METHODS = ("linear", "slerp", "ties", "dare")
WITH_BASE = ("ties", "dare")
"""Methods that merge what models have learnt since a common base."""


@dataclass
class MergeConfig:
    method: str = setting("none", choices=("none", *METHODS))
    """linear (mean of the weights), slerp (of two models, along the arc between their tensors), ties and dare (the
    differences from a base, trimmed or thinned out), or none."""
    models: list[str] = setting(factory=list, path=True, or_hub_id=True)
    """Run folders, whose model/ is taken, model folders or hub ids."""
    weights: list[float] | None = setting(None, least=0)
    """Share of each model, in their order; only the ratios count. Null is equal shares. A model of share 0 is not
    read."""
    base: str | None = setting(None, path=True, or_hub_id=True)
    """The model that all were trained from, for ties and dare: a run folder, a model folder or a hub id."""
    density: float | None = setting(None, above=0, most=1)
    """Share of each tensor's differences from the base that is kept: the largest (ties), or drawn by chance (dare)."""
    seed: int | None = setting(None, least=0, below=2**32)
    """Draws which differences dare keeps; it is not that of the run."""

    def __post_init__(self) -> None:
        if self.method == "none":
            self._refuse_without_method()
            return
        least = 1 if self.method in WITH_BASE else 2
        if self.method == "slerp" and len(self.models) != 2:
            raise UserError(f"merge=slerp takes two models, and merge.models has {len(self.models)}; linear takes any")
        if len(self.models) < least:
            raise UserError(
                f"merge={self.method} needs {least} model{'s' * (least > 1)} or more, and merge.models has "
                f"{len(self.models)}: give merge.models=[RUN_OR_FOLDER,...]"
            )
        self._check_weights()
        for name in ("base", "density"):
            value = getattr(self, name)
            if self.method in WITH_BASE and value is None:
                raise UserError(f"merge={self.method} needs merge.{name}: {_WHAT[name]}")
            if self.method not in WITH_BASE and value is not None:
                raise UserError(f"merge.{name}={value} is for merge=ties and merge=dare, and this is {self.method}")
        if (self.seed is None) is (self.method == "dare"):
            needs = "needs merge.seed, a whole number" if self.seed is None else "draws nothing: leave merge.seed out"
            raise UserError(f"merge={self.method} {needs}")

    def _check_weights(self) -> None:
        if self.weights is None:
            return
        if len(self.weights) != len(self.models):
            raise UserError(
                f"merge.weights has {len(self.weights)} number{'s' * (len(self.weights) != 1)} for {len(self.models)} "
                "merge.models: give one for each"
            )
        if not any(self.weights):
            raise UserError(f"merge.weights={self.weights} are all 0, so nothing would be merged")

    def _refuse_without_method(self) -> None:
        for name in ("models", "weights", "base", "density", "seed"):
            if getattr(self, name) not in (None, []):
                raise UserError(f"merge.{name} is given and no method: choose merge={', '.join(METHODS)}")

    @property
    def shares(self) -> list[float]:
        """The share of each model; their sum is 1."""
        weights = self.weights or [1.0] * len(self.models)
        parts = [weight / max(weights) for weight in weights]
        return [part / sum(parts) for part in parts]


_WHAT = {
    "base": "merge.base=FOLDER_OR_HUB_ID, the model that all were trained from",
    "density": "merge.density=0.5 keeps half of the differences from the base",
}
