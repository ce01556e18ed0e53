"""What our source uses of a described module, and what of that the module does not offer.

Objects are followed by the names that they have in our source (``ROLES``). Whatever a call of the module returns must
go to a name that is listed with its class, so that nothing is used unseen.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROLES = {
    "tensorrt": {
        "builder": "Builder",
        "network": "INetworkDefinition",
        "parser": "OnnxParser",
        "problem": "ParserError",
        "port": "ITensor",
        "settings": "IBuilderConfig",
        "shaped": "IOptimizationProfile",
        "timing": "ITimingCache",
        "meanwhile": "ITimingCache",
        "plan": "IHostMemory",
        "_opener": "Runtime",
        "_engine": "ICudaEngine",
        "_context": "IExecutionContext",
        "context": "IExecutionContext",
        "inspector": "EngineInspector",
    },
    "cuda": {"about": "cudaDeviceProp"},
    "pynvml": {},
}
# What a property holds; the compiled packages do not tell.
_HOLDS = {"cudaDeviceProp.uuid": "cudaUUID_t"}
MODULES = {"trt": "tensorrt", "_trt": "tensorrt", "runtime": "cuda", "_cudart": "cuda", "nvml": "pynvml"}
_ALIASES = {"IParserError": "ParserError"}
_UNSEEN = {"__version__", "__name__"}

Known = tuple[str, Any]  # what an expression is, and its description


@dataclass
class Walk:
    """One file under one description of one module."""

    module: str
    api: Mapping[str, Any]
    where: str
    uses: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def of(self, tree: ast.AST) -> "Walk":
        for node in ast.walk(tree):
            match node:
                case ast.Attribute():
                    self.known(node)
                case ast.Call():
                    self.called(node)
                case ast.ClassDef():
                    self.derived(node)
                case ast.Assign(targets=[target], value=value) | ast.NamedExpr(target=target, value=value):
                    self.assigned(target, value)
                case ast.AnnAssign(target=target, value=value) if value is not None:
                    self.assigned(target, value)
        return self

    def known(self, node: ast.expr) -> Known | None:
        """What an expression is; a name that its owner does not have is a problem."""
        match node:
            case ast.Name(id=name):
                return self._named(name)
            case ast.Attribute(value=ast.Name(id="self"), attr=name):
                return self._named(name)
            case ast.Attribute(value=value, attr=name):
                owner = self.known(value)
                return self._member(owner, name, node) if owner else None
            case ast.Call(func=function):
                made = self.known(function)
                return self._returned(made) if made else None
        return None

    def _named(self, name: str) -> Known | None:
        if MODULES.get(name) == self.module:
            return "", {"members": self.api}
        role = ROLES[self.module].get(name)
        return (role, self.api.get(role, {"members": {}})) if role else None

    def _member(self, owner: Known, name: str, node: ast.expr) -> Known | None:
        path = f"{owner[0]}.{name}".lstrip(".")
        if name in _UNSEEN or "members" not in owner[1]:
            return None
        self.uses.add(path)
        if name not in owner[1]["members"]:
            self._problem(node, f"{path} does not exist")
            return None
        if path in _HOLDS:
            return _HOLDS[path], self.api[_HOLDS[path]]
        return path, owner[1]["members"][name]

    def _returned(self, made: Known) -> Known | None:
        path, about = made
        if about.get("kind") == "class":
            return path, about
        names = {_ALIASES.get(one["returns"], one["returns"]) for one in about.get("signatures", ())}
        found = [name for name in names if self.api.get(name, {}).get("kind") == "class"]
        return (found[0], self.api[found[0]]) if found else None

    def called(self, node: ast.Call) -> None:
        """Arguments fit a signature; ``checked(call, ...)`` and what is called back later count as calls."""
        function, arguments = node.func, node.args
        while _name(function) in ("checked", "callback") and arguments:
            function, arguments = arguments[0], arguments[1:]
        if _name(function) == "_taken" and self.module == "cuda":
            for given in node.args[:2]:
                self._fits(given, 1, [])
            return
        if any(isinstance(one, ast.Starred) for one in arguments):
            return
        self._fits(function, len(arguments), [one.arg for one in node.keywords if one.arg])

    def _fits(self, function: ast.expr, count: int, keywords: list[str]) -> None:
        made = self.known(function)
        if made is None:
            return
        path, about = made
        if about.get("kind") == "class":
            about = about["members"]["__init__"]
        offered = about.get("signatures", ())
        own = 1 if path.endswith("__init__") else 0  # ``trt.ILogger.__init__(self)`` names self itself
        fitting = [
            one
            for one in offered
            if set(keywords) <= {*one["names"]} and one["required"] <= count - own + len(keywords) <= len(one["names"])
        ]
        if offered and not fitting:
            self._problem(function, f"{path} is given {count} arguments and {keywords}, offered {offered}")

    def derived(self, node: ast.ClassDef) -> None:
        """A class that derives from one of the module overrides what is there, with as many parameters."""
        for base in node.bases:
            made = self.known(base)
            for method in node.body if made else ():
                if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                    found = self._member(made, method.name, base)  # type: ignore[arg-type]
                    counts = [len(one["names"]) for one in found[1]["signatures"]] if found else []
                    if found and len(method.args.args) - 1 not in counts:
                        self._problem(method, f"{found[0]} takes {counts} parameters")

    def assigned(self, target: ast.expr, value: ast.expr) -> None:
        """A property that is set can be set; an object of the module goes to a name that is followed."""
        if isinstance(target, ast.Attribute) and _name(target.value) != "self":
            found = self.known(target)
            if found and found[1].get("kind") == "property" and not found[1]["settable"]:
                self._problem(target, f"{found[0]} cannot be set")
        made = self.known(value) if isinstance(value, ast.Call) else None
        if made and made[1].get("kind") == "class" and ROLES[self.module].get(_name(target)) != made[0]:
            self._problem(target, f"{_name(target)} holds a {made[0]} and is not listed as one")

    def _problem(self, node: ast.AST, text: str) -> None:
        self.problems.append(f"{self.where}:{getattr(node, 'lineno', '?')}: {text}")


def walked(files: Iterator[Path] | list[Path], module: str, api: Mapping[str, Any]) -> tuple[set[str], list[str]]:
    """What the files use of the module, and what is wrong with that."""
    walks = [Walk(module, api, file.name).of(ast.parse(file.read_text(encoding="utf-8"))) for file in files]
    return set().union(*(walk.uses for walk in walks)), [one for walk in walks for one in walk.problems]


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
