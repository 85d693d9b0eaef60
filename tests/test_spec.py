"""Rules: the first that matches a whole path wins, and what is dead or uncovered is told."""

import pytest

from kwc.algorithms import Pruning, Quantization
from kwc.compressor import CompressionError
from kwc.spec import Rule, Spec, SpecError, checked

PATHS = ["conv/kernel", "conv/bias", "dense/kernel", "dense/bias"]


def chosen(rules, paths=PATHS):
    return {path: rule.compressor for path, rule in Spec(rules).assign(paths).items()}


def test_the_first_rule_that_matches_wins():
    rules = [("conv/kernel", Pruning(0.5)), (".*/kernel", Quantization(4)), (".*", None)]
    assert chosen(rules) == {
        "conv/kernel": Pruning(0.5),
        "conv/bias": None,
        "dense/kernel": Quantization(4),
        "dense/bias": None,
    }


def test_a_pattern_matches_whole_paths():
    with pytest.raises(SpecError, match="'kernel' matches no weight"):
        chosen([("kernel", Quantization(4)), (".*", None)])


def test_an_uncovered_weight_is_an_error_that_lists_the_paths():
    with pytest.raises(SpecError, match=r"No rule matches conv/bias, dense/bias\..*'\.\*', None"):
        chosen([(".*/kernel", Quantization(4))])


def test_a_long_list_of_paths_is_cut():
    paths = [f"layer_{i}/kernel" for i in range(30)]
    with pytest.raises(SpecError, match=r"layer_19/kernel and 10 more\."):
        chosen([], paths)


def test_a_rule_that_matches_nothing_is_an_error_that_lists_the_weights():
    with pytest.raises(SpecError, match=r"'.*/embeddings' matches no weight.*optional.*dense/bias"):
        chosen([(".*/embeddings", Quantization(4)), (".*", None)])


def test_an_optional_rule_may_match_nothing():
    assert chosen([(".*/embeddings", Quantization(4), True), (".*", None)]) == dict.fromkeys(PATHS)


def test_a_rule_that_earlier_ones_hide_is_an_error():
    with pytest.raises(SpecError, match=r"'dense/kernel' is never reached.*Move it up"):
        chosen([(".*/kernel", Quantization(4)), ("dense/kernel", Pruning(0.5)), (".*", None)])


def test_the_rule_for_the_rest_may_find_no_rest():
    assert set(chosen([(".*", Quantization(4)), (".*", None)]).values()) == {Quantization(4)}


def test_a_rule_for_a_layer_is_told_apart_from_a_typing_error():
    spec = Spec([("relu", Quantization(4)), (".*", None)])
    with pytest.raises(SpecError, match="matches relu, but kwc compresses weights only"):
        spec.assign(PATHS, ["conv", "relu"])


def test_a_pattern_that_is_no_regular_expression_is_refused():
    with pytest.raises(SpecError, match=r"'\*/kernel' is not a regular expression"):
        Rule("*/kernel", None)


@pytest.mark.parametrize("compressor", [Quantization, "quantization", 4])
def test_what_is_no_algorithm_is_refused(compressor):
    with pytest.raises(SpecError, match="is no WeightCompressor"):
        Spec([(".*", compressor)])


def test_rules_and_tuples_are_the_same():
    assert Spec([Rule(".*", None, True)]).rules == Spec([(".*", None, True)]).rules


def test_a_list_of_rules_is_no_spec():
    spec = Spec([(".*", None)])
    assert checked(spec) is spec
    with pytest.raises(SpecError, match=r"kwc\.Spec\(\[\.\.\.\]\).*not list"):
        checked([(".*", None)])


def test_a_spec_error_is_a_compression_error():
    assert issubclass(SpecError, CompressionError)
