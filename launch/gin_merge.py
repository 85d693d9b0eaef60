"""Merges gin files into one canonical gin text, without importing what they configure.

The text depends on what the files bind and not on their comments, order, layout or import style,
so its hash can name a trial.
"""

import dataclasses
import functools
import importlib.util
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any, Self

from gin import config_parser

from launch import gin_text
from launch.errors import LaunchError
from launch.gin_text import Binding, Macro, Reference

_REQUIRED = "gin.REQUIRED"


@dataclasses.dataclass(frozen=True)
class Source:
    """One gin text to merge: a file, or a line made by the launcher. It is parsed once.

    Attributes:
        origin: What error messages call it, such as the file's path.
        text: The gin text.
        folder: Where the text's own `include` statements look first.
    """

    origin: str
    text: str
    folder: pathlib.Path | None = None

    @classmethod
    def read(cls, name: str, folder: pathlib.Path | None = None) -> "Source":
        """Reads a gin file; see `find_file` for where it is looked for."""
        path = find_file(name, folder)
        return cls(str(path), path.read_text(encoding="utf-8"), path.parent)

    @functools.cached_property
    def config(self) -> "MergedConfig":
        """What the text binds, with what it includes; not checked to be complete."""
        return _read(self)


def find_file(name: str, folder: pathlib.Path | None = None) -> pathlib.Path:
    """Finds a gin file: an absolute path, or under `folder`, here, or the shipped `gin_configs`.

    Args:
        name: A path, absolute or relative.
        folder: The folder of the file that names this one.

    Returns:
        The path of an existing file.

    Raises:
        LaunchError: If there is no such file; the message lists where it was looked for.
    """
    shipped = importlib.util.find_spec("gin_configs")
    roots = [
        *([folder] if folder else []),
        pathlib.Path.cwd(),
        *map(pathlib.Path, (shipped and shipped.submodule_search_locations) or ()),
    ]
    # An absolute name replaces the root it is joined to.
    candidates = list(dict.fromkeys(root / name for root in roots))
    for candidate in candidates:
        if candidate.is_file():
            return candidate.resolve()
    looked = "".join(f"\n  {candidate}" for candidate in candidates)
    raise LaunchError(f"no gin file {name!r}; looked for{looked}")


class MergedConfig:
    """What a sequence of gin texts binds once later bindings have replaced earlier ones."""

    def __init__(self) -> None:
        self._modules: set[str] = set()
        self._bindings: dict[tuple[str, str, str], Binding] = {}

    @property
    def modules(self) -> frozenset[str]:
        """Full names of what the texts import."""
        return frozenset(self._modules)

    @property
    def macros_used(self) -> frozenset[str]:
        """Names of the macros that some value refers to."""
        return frozenset().union(*(binding.macros for binding in self._bindings.values()))

    @property
    def configurables(self) -> frozenset[str]:
        """Full names of what is configured or referred to."""
        bindings = self._bindings.values()
        configured = (binding.path for binding in bindings if binding.argument)
        return frozenset(configured).union(*(binding.references for binding in bindings))

    @property
    def bound(self) -> frozenset[tuple[str, str]]:
        """The (configurable, parameter) pairs that have a value outside any scope."""
        return frozenset(
            (path, argument) for scope, path, argument in self._bindings if argument and not scope
        )

    def get(self, binding: str, default: Any = None) -> Any:
        """Returns the value bound to an unscoped parameter, macros resolved.

        Args:
            binding: Full dotted name, such as `experiments.trial.Experiment.seed`.
            default: What to return when nothing binds it.
        """
        path, _, argument = binding.rpartition(".")
        found = self._bindings.get(("", path, argument))
        for _ in self._bindings:  # A chain of macros is no longer than this, unless it is a cycle.
            if found and isinstance(found.value, Macro):
                found = self._bindings.get(_macro_key(found.value.name))
        return found.value if found else default

    def text(self) -> str:
        """Returns the canonical gin text: imports, macros, bindings, each sorted, one a line."""
        names = gin_text.names(self.modules)
        bindings = self._bindings.values()
        macros = sorted(binding.line(names) for binding in bindings if not binding.argument)
        parameters = sorted(binding.line(names) for binding in bindings if binding.argument)
        blocks = (["from __gin__ import dynamic_registration", *names.imports], macros, parameters)
        return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"

    def bind(self, binding: Binding) -> None:
        """Adds a binding, which replaces an equally named one."""
        self._bindings[binding.scope, binding.path, binding.argument] = binding

    def add_module(self, module: str) -> None:
        """Adds an import."""
        self._modules.add(module)

    def update(self, later: Self) -> None:
        """Adds all of another configuration, whose bindings replace those here."""
        self._modules |= later._modules
        self._bindings |= later._bindings

    def check_complete(self) -> None:
        """Checks that every macro in use has a value.

        Raises:
            LaunchError: If one is missing or still `%gin.REQUIRED`.
        """
        for binding in self._bindings.values():
            for macro in sorted(binding.macros):
                # A dotted macro is a constant that some module defines: not ours to check.
                is_missing = "." not in macro and _macro_key(macro) not in self._bindings
                if macro == _REQUIRED or is_missing:
                    raise LaunchError(f"{binding.name} {_incomplete(macro)}")


def _incomplete(macro: str) -> str:
    if macro == _REQUIRED:
        return f"is %{_REQUIRED}: give it a value"
    return (
        f"uses %{macro}, which nothing defines: "
        f"add `{macro} = ...` to a file or {macro!r} to the grid"
    )


def merge(sources: Iterable[Source]) -> MergedConfig:
    """Merges gin texts in order; later bindings replace earlier ones.

    Args:
        sources: The texts.

    Returns:
        The merged configuration, complete: every macro in use has a value.

    Raises:
        LaunchError: If a text cannot be parsed or the whole is incomplete.

    Example:
        >>> config = merge([Source("a", "STEPS = 10  # short"), Source("b", "STEPS = 2_0")])
        >>> print(config.text(), end="")
        from __gin__ import dynamic_registration
        <BLANKLINE>
        STEPS = 20
    """
    config = MergedConfig()
    for source in sources:
        config.update(source.config)
    config.check_complete()
    return config


def parse_value(text: str) -> Any:
    """Returns a value that gin text holds; its references have local names."""
    (binding,) = _parse(Source("value", f"value = {text}"))
    return binding.value


class _Delegate(config_parser.ParserDelegate):
    """Keeps references and macros as data instead of looking them up."""

    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> Reference:
        scope, _, selector = scoped_configurable_name.rpartition("/")
        return Reference(scope, selector, evaluate)

    def macro(self, macro_name: str) -> Macro:
        return Macro(macro_name)


def _read(source: Source, including: tuple[str, ...] = ()) -> MergedConfig:
    """Reads one gin text and what it includes.

    Args:
        source: The text.
        including: Origins of the files that include this one, outermost first.

    Raises:
        LaunchError: On a syntax error, an unknown symbol or file, or an include cycle.
    """
    if source.origin in including:
        raise LaunchError(f"{' includes '.join((*including, source.origin))}: a cycle")
    config = MergedConfig()
    symbols = {"gin": "gin"}
    for statement in _parse(source):
        place = f"{source.origin}:{statement.location.line_num}"
        match statement:
            case config_parser.ImportStatement(module=module) if module.startswith("__gin__."):
                continue
            case config_parser.ImportStatement(module=module):
                bound = statement.bound_name()
                # A plain `import a.b` binds the name `a`, as in Python.
                symbols[bound] = module if statement.is_from or statement.alias else bound
                config.add_module(module)
                config.add_module(symbols[bound])
            case config_parser.IncludeStatement(filename=filename):
                included = Source.read(filename, source.folder)
                config.update(_read(included, (*including, source.origin)))
            case config_parser.BlockDeclaration(selector=selector):
                _full_path(selector, symbols, place)
            case config_parser.BindingStatement(scope, selector, argument, value):
                path = _full_path(selector, symbols, place) if argument else selector
                config.bind(Binding(scope, path, argument, _resolve(value, symbols, place)))
    return config


def _parse(source: Source) -> Iterator[Any]:
    """Yields gin's statements; a syntax error becomes a LaunchError with its place."""
    try:
        yield from config_parser.ConfigParser(source.text, _Delegate())
    except SyntaxError as error:
        line = f"\n  {error.text.strip()}" if error.text else ""
        raise LaunchError(f"{source.origin}:{error.lineno}: {error.msg}{line}") from error


def _full_path(selector: str, symbols: dict[str, str], place: str) -> str:
    """Replaces the local name that opens a selector by the full name of its module."""
    symbol, dot, rest = selector.partition(".")
    if symbol not in symbols:
        raise LaunchError(f"{place}: {symbol!r} is not imported; add `from ... import {symbol}`")
    return symbols[symbol] + dot + rest


def _resolve(value: Any, symbols: dict[str, str], place: str) -> Any:
    """Returns `value` with the full path in each of its references."""

    def resolve(value: Any) -> Any:
        match value:
            case Reference(scope, path, evaluate):
                return Reference(scope, _full_path(path, symbols, place), evaluate)
            case dict():
                return {resolve(key): resolve(item) for key, item in value.items()}
            case list() | tuple():
                return type(value)(map(resolve, value))
            case _:
                return value

    return resolve(value)


def _macro_key(name: str) -> tuple[str, str, str]:
    scope, _, name = name.rpartition("/")
    return scope, name, ""
