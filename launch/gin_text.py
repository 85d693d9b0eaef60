"""The bindings of gin as data, and the one text that they are written as."""

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any


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


@dataclasses.dataclass(frozen=True, eq=False)
class Binding:
    """One `scope/path.argument = value`, or the macro `scope/path = value`.

    Attributes:
        scope: The scope; empty outside any.
        path: Full name of what is configured, or the macro's name.
        argument: The parameter; empty for a macro.
        value: The value, in which references have full paths.
    """

    scope: str
    path: str
    argument: str
    value: Any

    @property
    def name(self) -> str:
        """What gin reads before the equals sign, with full paths."""
        name = f"{self.path}.{self.argument}" if self.argument else self.path
        return f"{self.scope}/{name}" if self.scope else name

    @functools.cached_property
    def macros(self) -> frozenset[str]:
        """Names of the macros that the value refers to."""
        return frozenset(leaf.name for leaf in _leaves(self.value) if isinstance(leaf, Macro))

    @functools.cached_property
    def references(self) -> frozenset[str]:
        """Full paths of what the value refers to."""
        return frozenset(leaf.path for leaf in _leaves(self.value) if isinstance(leaf, Reference))

    def line(self, names: "Names") -> str:
        """Returns the binding as one line of gin, with local names; each is written once."""
        if names not in self._lines:
            path = names.shorten(self.path) if self.argument else self.path
            name = dataclasses.replace(self, path=path).name
            self._lines[names] = f"{name} = {write(self.value, names.shorten)}"
        return self._lines[names]

    @functools.cached_property
    def _lines(self) -> dict["Names", str]:
        return {}


class Names:
    """The local names of modules.

    Attributes:
        imports: One line for each module, sorted.
    """

    def __init__(self, modules: frozenset[str]) -> None:
        """Chooses the names of modules, given by their full names."""
        # Named by the last component, or by the whole path where two would clash.
        last = {module: module.rpartition(".")[2] for module in modules}
        count = collections.Counter([*last.values(), "gin"])
        self._names = {
            module: name if count[name] == 1 else module.replace(".", "_")
            for module, name in last.items()
        }
        self.imports = [_import_line(module, name) for module, name in sorted(self._names.items())]

    def shorten(self, path: str) -> str:
        """Returns a full name with the local name of its module."""
        inside = [module for module in self._names if f"{path}.".startswith(f"{module}.")]
        module = max(inside, key=len, default="")
        return self._names[module] + path[len(module) :] if module else path


# The trials of a sweep differ in values, so they import few different sets of modules.
names = functools.lru_cache(maxsize=64)(Names)


def _import_line(module: str, name: str) -> str:
    package, _, last = module.rpartition(".")
    line = f"from {package} import {last}" if package else f"import {last}"
    return line if name == last else f"{line} as {name}"


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


def write(value: Any, shorten: Callable[[str], str] = str) -> str:
    """Writes a value as gin reads it; `shorten` gives the local names of full paths."""
    match value:
        case Reference(scope, path, evaluate):
            return f"@{scope + '/' if scope else ''}{shorten(path)}{'()' if evaluate else ''}"
        case Macro(name):
            return f"%{name}"
        case dict():
            items = (f"{write(k, shorten)}: {write(v, shorten)}" for k, v in value.items())
            return "{" + ", ".join(items) + "}"
        case list():
            return "[" + ", ".join(write(item, shorten) for item in value) + "]"
        case tuple():
            items = ", ".join(write(item, shorten) for item in value)
            return f"({items},)" if len(value) == 1 else f"({items})"
        case _:
            return repr(value)
