"""Which linear map computes in which number format."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from nautiloid.core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class PrecisionRule:
    """Formats of the linear maps whose module name matches.

    Args:
        modules: Glob on the module name inside its layer (`mixer.out_proj`, `lm_head`).
        layers: Trunk layers it applies to; None is all, and everything outside the trunk.
        activation: Format of the input, None leaves it as it is.
        weight: Format of the weight, None leaves it as it is.
    """

    modules: str = "*"
    layers: tuple[int, ...] | None = None
    activation: str | None = None
    weight: str | None = None


@dataclass(frozen=True, kw_only=True)
class PrecisionConfig:
    """An ordered list of rules; the first that matches decides, none leaves the map untouched."""

    rules: tuple[PrecisionRule, ...] = ()

    def find(self, module: str, layer: int | None) -> PrecisionRule | None:
        """The rule of one linear map.

        >>> config = PrecisionConfig(rules=(PrecisionRule(modules="mixer.*", weight="bf16"),))
        >>> config.find("mixer.out_proj", 3).weight
        'bf16'
        >>> config.find("lm_head", None) is None
        True
        """
        for rule in self.rules:
            if rule.layers is not None and layer not in rule.layers:
                continue
            if fnmatchcase(module, rule.modules):
                return rule
        return None

    def check_used(self, used: set[int]) -> None:
        """Refuse rules that decided nothing: a typing error in a glob would pass in silence.

        Args:
            used: Indices of the rules that decided for some map.
        """
        for i, rule in enumerate(self.rules):
            if i not in used:
                raise InputError(
                    f"precision.rules.{i}.modules", rule.modules, "matches no linear map"
                )
