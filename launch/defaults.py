"""Reads the defaults that code gives to a gin config, from source: nothing is imported.

What a config leaves out is decided by the code: by the defaults of dataclass fields and of
parameters, and by the constants that a definition uses. They belong to a trial's identity as much
as the config does. Comments, docstrings and what functions do with the values do not.
"""

import ast
import functools
import hashlib
import importlib.machinery
import importlib.util
import pathlib
from collections.abc import Iterable, Iterator

from launch.errors import LaunchError

_MOST_IMPORTS = 10  # From a name in a config to its definition.
_MOST_CHARACTERS = 100  # Of a value that is kept as it is written.
_REGISTER_EXPERIMENT = "register_config_factory"

_Definition = tuple["_Module", str]


class Defaults:
    """Reads defaults by the names that configs use; parses each module once."""

    def __init__(self, versioned: Iterable[str] = ()) -> None:
        """Makes a reader.

        Args:
            versioned: Top-level packages to leave out, because their version stands for them.
        """
        self._versioned = frozenset(versioned)
        self._modules: dict[str, _Module | None] = {}

    def of(
        self, configurables: Iterable[str], bound: Iterable[tuple[str, str]] = ()
    ) -> dict[str, str]:
        """Returns the defaults and constants that configurables use.

        Base classes count in the same package and in kwc; so do functions and classes of the same
        module that a configurable uses. What cannot be found in source has no defaults.

        Args:
            configurables: Full names of classes and functions, however imports reach them.
            bound: Pairs of a configurable and a parameter that a config sets, so that its default
                does not matter.

        Returns:
            Python expressions by full name, such as
            `{"kwc.algorithms.clustering.Clustering.iterations": "50"}`.

        Raises:
            LaunchError: If a module is not valid Python.
        """
        found: dict[str, str] = {}
        visited: set[tuple[str, str]] = set()
        for configurable in sorted(configurables):
            if definition := self._find(configurable):
                self._collect(definition, found, visited)
        for configurable, parameter in bound:
            if definition := self._find(configurable):
                found.pop(f"{definition[0].name}.{definition[1]}.{parameter}", None)
        return found

    def of_experiment(self, name: str, modules: Iterable[str]) -> dict[str, str]:
        """Returns the defaults of a Model Garden experiment, which its factory's code holds.

        Args:
            name: Name under which a function is registered.
            modules: Full names of the modules to look through.

        Returns:
            As `of`; in addition, for each function that the factory consists of, a digest of its
            code. Nothing if no function is registered under that name.
        """
        for module in filter(None, map(self._module, sorted(modules))):
            for factory, node in module.definitions.items():
                if name in _registered(node):
                    found: dict[str, str] = {}
                    visited: set[tuple[str, str]] = set()
                    self._collect((module, factory), found, visited)
                    codes = {f"{m}.{n}": _code(self._modules[m].definitions[n]) for m, n in visited}
                    return found | {key: code for key, code in codes.items() if code}
        return {}

    def imported_by(self, name: str) -> frozenset[str]:
        """Returns the full names that a module imports; none if it is not in source."""
        module = self._module(name)
        return frozenset(module.imports.values() if module else ())

    def _collect(
        self, definition: _Definition, found: dict[str, str], visited: set[tuple[str, str]]
    ) -> None:
        module, name = definition
        if (module.name, name) in visited:
            return
        visited.add((module.name, name))
        found.update(_values(f"{module.name}.{name}", module.definitions[name]))
        for other in module.uses(name):
            self._collect((module, other), found, visited)
        for base in module.imported_bases(name):
            if _package(base) in (_package(module.name), "kwc") and (parent := self._find(base)):
                self._collect(parent, found, visited)

    def _find(self, path: str) -> _Definition | None:
        """Follows imports from a full name to the module that defines it."""
        for _ in range(_MOST_IMPORTS):
            module, names = self._split(path)
            name, dot, rest = names.partition(".")
            if module is None:
                return None
            if name in module.definitions:
                return module, name
            if name not in module.imports:
                return None
            path = module.imports[name] + dot + rest
        return None

    def _split(self, path: str) -> tuple["_Module | None", str]:
        """Splits a full name into its module, the longest there is, and the names inside."""
        parts = path.split(".")
        for end in range(len(parts) - 1, 0, -1):
            if module := self._module(".".join(parts[:end])):
                return module, ".".join(parts[end:])
        return None, path

    def _module(self, name: str) -> "_Module | None":
        if name not in self._modules:
            spec = None if _package(name) in self._versioned else _find_spec(name)
            is_source = spec and spec.origin and spec.origin.endswith(".py")
            self._modules[name] = _Module(spec) if is_source else None
        return self._modules[name]


class _Module:
    """What the top level of a module defines and imports."""

    def __init__(self, spec: importlib.machinery.ModuleSpec) -> None:
        self.name = spec.name
        self.definitions: dict[str, ast.AST] = {}
        self.imports: dict[str, str] = {}
        self.uses = functools.cache(self._uses)
        package = spec.name if spec.submodule_search_locations is not None else spec.parent
        try:
            tree = ast.parse(pathlib.Path(spec.origin).read_bytes())
        except SyntaxError as error:
            raise LaunchError(f"{spec.origin}:{error.lineno}: {error.msg}") from error
        for node in _statements(tree):
            match node:
                case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                    self.definitions[name] = node
                case (
                    ast.Assign(targets=[ast.Name(id=name)])
                    | ast.AnnAssign(target=ast.Name(id=name))
                ):
                    self.definitions[name] = node
                case ast.Import(names=aliases):
                    for alias in aliases:
                        top = _package(alias.name)
                        self.imports[alias.asname or top] = alias.name if alias.asname else top
                case ast.ImportFrom(module=module, names=aliases, level=level):
                    relative = importlib.util.resolve_name("." * level, package) if level else ""
                    origin = ".".join(filter(None, [relative.rstrip("."), module]))
                    for alias in aliases:
                        self.imports[alias.asname or alias.name] = f"{origin}.{alias.name}"

    def imported_bases(self, name: str) -> Iterator[str]:
        """Yields the full names of those bases of a class that other modules define."""
        for base in getattr(self.definitions[name], "bases", ()):
            first, dot, rest = ast.unparse(base).partition(".")
            if first in self.imports:
                yield self.imports[first] + dot + rest

    def _uses(self, name: str) -> list[str]:
        """Returns the names of this module that a definition uses, sorted."""
        nodes = ast.walk(self.definitions[name])
        names = {node.id for node in nodes if isinstance(node, ast.Name)}
        return sorted(names & self.definitions.keys())


def _find_spec(name: str) -> importlib.machinery.ModuleSpec | None:
    """Finds a module without importing the packages that it is in."""
    package, _, _ = name.rpartition(".")
    if not package:
        return importlib.util.find_spec(name)
    parent = _find_spec(package)
    folders = parent and parent.submodule_search_locations
    return importlib.machinery.PathFinder.find_spec(name, folders) if folders else None


def _package(name: str) -> str:
    return name.partition(".")[0]


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yields the statements of a module, those under `if`, `try` and `with` too."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If | ast.Try | ast.ExceptHandler | ast.With):
            yield from _statements(child)
        else:
            yield child


def _values(name: str, node: ast.AST) -> Iterator[tuple[str, str]]:
    """Yields each default and each constant that a definition writes, by its full name."""
    match node:
        case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
            yield name, _shown(value)
        case ast.ClassDef(body=body):
            for inner in body:
                match inner:
                    case (
                        ast.Assign(targets=[ast.Name(id=field)])
                        | ast.AnnAssign(target=ast.Name(id=field))
                    ):
                        yield from _values(f"{name}.{field}", inner)
                    case ast.FunctionDef(name="__init__"):
                        yield from _values(name, inner)
                    case ast.FunctionDef(name=method):
                        yield from _values(f"{name}.{method}", inner)
        case ast.FunctionDef(args=args):
            positional = [*args.posonlyargs, *args.args][::-1]
            pairs = [*zip(positional, args.defaults[::-1], strict=False)]
            pairs += zip(args.kwonlyargs, args.kw_defaults, strict=True)
            for parameter, default in pairs:
                if default is not None:
                    yield f"{name}.{parameter.arg}", _shown(default)


def _shown(value: ast.expr) -> str:
    text = ast.unparse(value)
    if len(text) <= _MOST_CHARACTERS:
        return text
    return f"{text[:_MOST_CHARACTERS]}... ({_digest(text)})"


def _registered(node: ast.AST) -> Iterator[str]:
    """Yields the names under which a function is registered as an experiment."""
    for decorator in getattr(node, "decorator_list", ()):
        match decorator:
            case ast.Call(
                func=ast.Attribute(attr=function) | ast.Name(id=function),
                args=[ast.Constant(value=str() as name)],
            ) if function == _REGISTER_EXPERIMENT:
                yield name


def _code(node: ast.AST) -> str | None:
    """Returns a digest of what a function does; its docstring, comments and layout do not count."""
    if not isinstance(node, ast.FunctionDef):
        return None
    body = node.body[ast.get_docstring(node) is not None :]
    return f"code {_digest(chr(10).join(map(ast.unparse, body)))}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
