"""Which algorithm compresses which weight: an ordered list of rules."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence

from kwc.compressor import CompressionError, WeightCompressor


class SpecError(CompressionError):
    """A rule that matches nothing, a weight that no rule matches, or rules that disagree."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """The algorithm of every weight whose whole path matches a regular expression.

    Attributes:
        pattern: regular expression for the structural path, such as `.*/kernel`.
        compressor: an algorithm or a chain; None stores the weight losslessly.
        optional: whether the rule may match nothing, as in specs that serve many architectures.
    """

    pattern: str
    compressor: WeightCompressor | None
    optional: bool = False

    def __post_init__(self):
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise SpecError(
                f"{self.pattern!r} is not a regular expression: {error}. A rule's pattern is "
                "matched against whole weight paths, for example '.*/kernel'."
            ) from error
        if self.compressor is not None and not isinstance(self.compressor, WeightCompressor):
            raise SpecError(
                f"The rule {self.pattern!r} has {self.compressor!r}, which is no WeightCompressor: "
                "kwc compresses weights by instances of its algorithms (in gin: @Quantization(), "
                "with the brackets), and never activations."
            )

    def matches(self, path: str) -> bool:
        return re.fullmatch(self.pattern, path) is not None


class Spec:
    """An ordered list of rules; the first that matches a weight's whole path wins.

    >>> from kwc.algorithms import Quantization
    >>> spec = Spec([(".*/kernel", Quantization(bits=4)), (".*", None)])
    >>> spec.assign(["dense/kernel", "dense/bias"])["dense/kernel"].compressor
    Quantization(bits=4)

    Args:
        rules: `Rule`s, or tuples `(pattern, compressor)` or `(pattern, compressor, optional)`.

    Raises:
        SpecError: a pattern or a compressor is not one.
    """

    def __init__(self, rules: Iterable[Rule | tuple]):
        try:
            self.rules = tuple(rule if isinstance(rule, Rule) else Rule(*rule) for rule in rules)
        except TypeError as error:
            raise SpecError(
                f"A spec takes a list of tuples (pattern, algorithm), such as [('.*/kernel', "
                f"Quantization(4)), ('.*', None)], not {rules!r}."
            ) from error

    def __repr__(self) -> str:
        return f"Spec({list(self.rules)})"

    def assign(self, paths: Sequence[str], layers: Sequence[str] = ()) -> dict[str, Rule]:
        """Returns the rule of each weight path.

        Args:
            paths: every weight path of the model.
            layers: every layer path of the model, to explain rules that match one of those.

        Raises:
            SpecError: listing the paths, if a weight has no rule, a rule has no weight and is not
                optional, or a rule's weights are all taken by earlier rules.
        """
        assigned = {
            path: next((rule for rule in self.rules if rule.matches(path)), None) for path in paths
        }
        uncovered = [path for path, rule in assigned.items() if rule is None]
        if uncovered:
            raise SpecError(
                f"No rule matches {_listed(uncovered)}. Add a rule for them, or end the spec with "
                "('.*', None), which stores the rest losslessly."
            )
        for rule in self.rules:
            if not rule.optional:
                self._check_alive(rule, assigned, layers)
        return assigned

    def _check_alive(self, rule: Rule, assigned: dict[str, Rule], layers: Sequence[str]) -> None:
        matched = [path for path in assigned if rule.matches(path)]
        if not matched:
            hit = [path for path in layers if rule.matches(path)]
            cause = (
                f"It matches {_listed(hit)}, but kwc compresses weights only, never activations or "
                "whole layers."
                if hit
                else "Mend the pattern, or mark the rule optional."
            )
            raise SpecError(
                f"The rule {rule.pattern!r} matches no weight. {cause} The weights are "
                f"{_listed(list(assigned))}."
            )
        taken = all(assigned[path] is not rule for path in matched)
        if taken and rule.compressor is not None:
            raise SpecError(
                f"The rule {rule.pattern!r} is never reached: earlier rules take every weight that "
                f"it matches, {_listed(matched)}. Move it up, or mark it optional."
            )


def checked(spec: Spec) -> Spec:
    """Returns a spec as it is.

    Raises:
        SpecError: it is something else, such as its list of rules.
    """
    if not isinstance(spec, Spec):
        raise SpecError(
            f"A spec is kwc.Spec([...]), and in a gin file @spec.Spec(), not {type(spec).__name__}."
        )
    return spec


def _listed(paths: Sequence[str], most: int = 20) -> str:
    rest = f" and {len(paths) - most} more" if len(paths) > most else ""
    return ", ".join(paths[:most]) + rest
