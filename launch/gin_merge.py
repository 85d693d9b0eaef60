"""Merges gin files into one canonical gin text, without importing what they configure.

The text depends on what the files bind and not on their comments, order, layout or import style,
so its hash can name a trial.
"""

import collections
import dataclasses
import importlib.util
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from gin import config_parser

from launch.errors import LaunchError

_REQUIRED = "gin.REQUIRED"


@dataclasses.dataclass(frozen=True)
class Reference:
    """A `@scope/module.name` or, when evaluated, `@scope/module.name()` inside a value."""

    scope: str
    path: str
    evaluate: bool


@dataclasses.dataclass(frozen=True)
class Macro:
    """A `%scope/name` inside a value."""

    name: str


@dataclasses.dataclass(frozen=True)
class Source:
    """One gin text to merge: a file, or a line made by the launcher.

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
        self._bindings: dict[tuple[str, str, str], Any] = {}

    @property
    def macros_used(self) -> set[str]:
        """Names of the macros that some value refers to."""
        values = self._bindings.values()
        return {leaf.name for value in values for leaf in _leaves(value) if isinstance(leaf, Macro)}

    def get(self, binding: str, default: Any = None) -> Any:
        """Returns the value bound to an unscoped parameter, macros resolved.

        Args:
            binding: Full dotted name, such as `experiments.trial.Experiment.seed`.
            default: What to return when nothing binds it.
        """
        path, _, argument = binding.rpartition(".")
        value = self._bindings.get(("", path, argument), default)
        for _ in self._bindings:  # A chain of macros is no longer than this, unless it is a cycle.
            if isinstance(value, Macro):
                value = self._bindings.get(_macro_key(value.name))
        return value

    def text(self) -> str:
        """Returns the canonical gin text: imports, macros, bindings, each sorted, one a line."""
        names = _short_names(self._modules)

        def shorten(path: str) -> str:
            module = max((m for m in names if f"{path}.".startswith(f"{m}.")), key=len, default="")
            return names[module] + path[len(module) :] if module else path

        macros, parameters = [], []
        for (scope, path, argument), value in self._bindings.items():
            key = f"{scope}/" if scope else ""
            key += f"{shorten(path)}.{argument}" if argument else path
            (parameters if argument else macros).append(f"{key} = {_format(value, shorten)}")
        imports = [_import_line(module, name) for module, name in sorted(names.items())]
        blocks = [["from __gin__ import dynamic_registration", *imports], macros, parameters]
        blocks[1:] = map(sorted, blocks[1:])
        return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"

    def add(self, source: Source, including: tuple[str, ...] = ()) -> None:
        """Adds one gin text, whose bindings replace equal ones added before.

        Args:
            source: The text.
            including: Origins of the files that include this one, outermost first.

        Raises:
            LaunchError: On a syntax error, an unknown symbol or file, or an include cycle.
        """
        if source.origin in including:
            raise LaunchError(f"{' includes '.join((*including, source.origin))}: a cycle")
        symbols = {"gin": "gin"}
        for statement in _parse(source):
            place = f"{source.origin}:{statement.location.line_num}"
            match statement:
                case config_parser.ImportStatement(module=module) if module.startswith("__gin__."):
                    continue
                case config_parser.ImportStatement(module=module):
                    self._modules.add(module)
                    bound = statement.bound_name()
                    # A plain `import a.b` binds the name `a`, as in Python.
                    symbols[bound] = module if statement.is_from or statement.alias else bound
                    self._modules.add(symbols[bound])
                case config_parser.IncludeStatement(filename=filename):
                    included = Source.read(filename, source.folder)
                    self.add(included, (*including, source.origin))
                case config_parser.BlockDeclaration(selector=selector):
                    _full_path(selector, symbols, place)
                case config_parser.BindingStatement(scope, selector, argument, value):
                    path = _full_path(selector, symbols, place) if argument else selector
                    self._bindings[scope, path, argument] = _resolve(value, symbols, place)

    def check_complete(self) -> None:
        """Checks that every macro in use has a value.

        Raises:
            LaunchError: If one is missing or still `%gin.REQUIRED`.
        """
        for (scope, path, argument), value in sorted(self._bindings.items(), key=lambda kv: kv[0]):
            name = "/".join(filter(None, [scope, ".".join(filter(None, [path, argument]))]))
            for leaf in _leaves(value):
                if leaf == Macro(_REQUIRED):
                    raise LaunchError(f"{name} is %{_REQUIRED}: give it a value")
                # A dotted macro is a constant that some module defines: not ours to check.
                is_local = isinstance(leaf, Macro) and "." not in leaf.name
                if is_local and _macro_key(leaf.name) not in self._bindings:
                    raise LaunchError(
                        f"{name} uses %{leaf.name}, which nothing defines: "
                        f"add `{leaf.name} = ...` to a file or {leaf.name!r} to the grid"
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
        config.add(source)
    config.check_complete()
    return config


class _Delegate(config_parser.ParserDelegate):
    """Keeps references and macros as data instead of looking them up."""

    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> Reference:
        scope, _, selector = scoped_configurable_name.rpartition("/")
        return Reference(scope, selector, evaluate)

    def macro(self, macro_name: str) -> Macro:
        return Macro(macro_name)


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


def _leaves(value: Any) -> Iterator[Any]:
    match value:
        case dict():
            for item in (*value.keys(), *value.values()):
                yield from _leaves(item)
        case list() | tuple():
            for item in value:
                yield from _leaves(item)
        case _:
            yield value


def _format(value: Any, shorten: Callable[[str], str]) -> str:
    """Writes a value as gin reads it."""
    match value:
        case Reference(scope, path, evaluate):
            return f"@{scope + '/' if scope else ''}{shorten(path)}{'()' if evaluate else ''}"
        case Macro(name):
            return f"%{name}"
        case dict():
            items = (f"{_format(k, shorten)}: {_format(v, shorten)}" for k, v in value.items())
            return "{" + ", ".join(items) + "}"
        case list():
            return "[" + ", ".join(_format(item, shorten) for item in value) + "]"
        case tuple():
            items = ", ".join(_format(item, shorten) for item in value)
            return f"({items},)" if len(value) == 1 else f"({items})"
        case _:
            return repr(value)


def _macro_key(name: str) -> tuple[str, str, str]:
    scope, _, name = name.rpartition("/")
    return scope, name, ""


def _short_names(modules: Iterable[str]) -> dict[str, str]:
    """Names each module by its last component, or by its whole path where two would clash."""
    last = {module: module.rpartition(".")[2] for module in modules}
    count = collections.Counter([*last.values(), "gin"])
    return {m: name if count[name] == 1 else m.replace(".", "_") for m, name in last.items()}


def _import_line(module: str, name: str) -> str:
    package, _, last = module.rpartition(".")
    line = f"from {package} import {last}" if package else f"import {last}"
    return line if name == last else f"{line} as {name}"
