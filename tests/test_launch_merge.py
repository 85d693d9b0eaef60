"""Merging gin files: the canonical text, its stability and its errors."""

import gin
import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.errors import LaunchError
from launch.gin_merge import Source, find_file, merge, parse_value
from launch.gin_text import Macro

HEADER = "from __gin__ import dynamic_registration\n"


def merged(*texts: str) -> str:
    return merge([Source(f"text {i}", text) for i, text in enumerate(texts)]).text()


def test_canonical_text():
    text = merged(
        HEADER
        + """
        from experiments import trial
        RATE = 0.1   # a default
        trial.Experiment:
            spec = [('.*/kernel', @trial.Lossy()), (".*", None)]
            steps = 1_000
        """,
        "RATE = 4",
    )
    assert text == (
        "from __gin__ import dynamic_registration\n"
        "from experiments import trial\n"
        "\n"
        "RATE = 4\n"
        "\n"
        "trial.Experiment.spec = [('.*/kernel', @trial.Lossy()), ('.*', None)]\n"
        "trial.Experiment.steps = 1000\n"
    )


@pytest.mark.parametrize(
    "same",
    [
        "from experiments import trial\ntrial.E.b = 'x'\ntrial.E.a = (1,)\n",
        '# words\nfrom experiments import trial\n\ntrial.E.a   =   ( 1 , )\ntrial.E.b = "x"',
        "from experiments import trial as t\nt.E.a = [0]\nt.E.a = (1,)\nt.E.b = 'x'\n",
        "from experiments import trial\ntrial.E:\n  a = (1,)\n  b = 'x'\n",
    ],
)
def test_comments_order_layout_and_aliases_do_not_matter(same):
    first = "from experiments import trial\ntrial.E.a = (1,)\ntrial.E.b = 'x'\n"
    assert merged(HEADER + same) == merged(HEADER + first)


def test_two_modules_with_one_name_stay_apart():
    text = merged(
        HEADER + "from a import m\nm.F.x = @m.g", HEADER + "from b import m\nm.F.x = @s/m.g()"
    )
    assert "from a import m as a_m\nfrom b import m as b_m\n" in text
    assert "a_m.F.x = @a_m.g\n" in text
    assert "b_m.F.x = @s/b_m.g()\n" in text


literals = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, width=32),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=8,
).filter(lambda value: "inf" not in repr(value))


@given(st.dictionaries(st.from_regex(r"[A-Z]{1,5}", fullmatch=True), literals, max_size=4))
def test_text_reads_back_to_the_same_values_and_the_same_text(macros):
    lines = [f"{name} = {value!r}" for name, value in macros.items()]
    config = merge([Source("text", "\n".join(lines))])
    again = merge([Source("again", config.text())])
    assert again.text() == config.text() == merged("\n".join(reversed(lines)))
    gin.clear_config()
    gin.parse_config(config.text())
    assert {name: gin.query_parameter(f"%{name}") for name in macros} == macros
    gin.clear_config()


def test_include_is_followed_from_the_including_file(tmp_path):
    (tmp_path / "inner.gin").write_text("A = 1\nB = 1")
    (tmp_path / "outer.gin").write_text("include 'inner.gin'\nB = 2")
    text = merge([Source.read("outer.gin", tmp_path)]).text()
    assert text.endswith("A = 1\nB = 2\n")


def test_include_cycle_is_named(tmp_path):
    (tmp_path / "a.gin").write_text("include 'b.gin'")
    (tmp_path / "b.gin").write_text("include 'a.gin'")
    with pytest.raises(LaunchError, match=r"a\.gin includes .*b\.gin includes .*a\.gin: a cycle"):
        merge([Source.read("a.gin", tmp_path)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("X = ", r"text 0:1: Unable to parse value"),
        ("trial.E.x = 1", r"text 0:1: 'trial' is not imported"),
        ("X = [@trial.E()]", r"text 0:1: 'trial' is not imported"),
        ("X = %gin.REQUIRED", r"X is %gin.REQUIRED: give it a value"),
        ("X = {'a': [%RATE]}", r"X uses %RATE, which nothing defines"),
    ],
)
def test_bad_text_is_one_clear_error(text, message):
    with pytest.raises(LaunchError, match=message):
        merged(text)


def test_a_macro_of_a_module_is_left_to_gin():
    assert "X = %some.module.CONSTANT\n" in merged("X = %some.module.CONSTANT")


def test_get_resolves_macros():
    text = HEADER + "from e import t\nD = %E\nE = 'mnist'\nt.X.data = %D"
    config = merge([Source("text", text)])
    assert config.get("e.t.X.data") == "mnist"
    assert config.get("e.t.X.other", 3) == 3


def test_sources_serve_many_configs():
    base = Source("base", HEADER + "from e import t\nt.X.a = @t.F()\nt.X.b = %RATE\nRATE = 1")
    other = Source("other", HEADER + "from f import t\nt.X.a = 2\nRATE = %STEPS\nSTEPS = 3")
    before = merge([base]).text()
    both = merge([base, other])
    assert both.text() == merge([base, other]).text() != before
    assert merge([base]).text() == before
    assert both.modules == {"e.t", "f.t"}
    assert both.configurables == {"e.t.X", "e.t.F", "f.t.X"}
    assert both.bound == {("e.t.X", "a"), ("e.t.X", "b"), ("f.t.X", "a")}
    assert both.macros_used == {"RATE", "STEPS"}


def test_a_scoped_binding_leaves_its_default_to_others():
    config = merge([Source("text", HEADER + "from e import t\nhalf/t.X.a = 1")])
    assert config.configurables == {"e.t.X"}
    assert config.bound == set()


def test_parse_value():
    assert parse_value("{'a': [%RATE, 1]}") == {"a": [Macro("RATE"), 1]}


def test_missing_file_names_the_places(tmp_path):
    with pytest.raises(LaunchError, match=f"(?s)no gin file 'no.gin'.*{tmp_path}/no.gin"):
        find_file("no.gin", tmp_path)


def test_shipped_files_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_file("sweeps/quickstart.gin").name == "quickstart.gin"
