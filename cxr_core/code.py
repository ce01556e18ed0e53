"""Which code a stage's result depends on, and the digest of each of its files.

Prefect's own source policy hashes only the task function's lines. Here the stage's module and
everything that it imports inside this package count, function-level imports too, each file by its
syntax tree without docstrings and comments: a reworded sentence rebuilds nothing, a changed
constant three modules away does.
"""

import ast
import hashlib
import importlib.util
import threading
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGE = "cxr_core"
_parsing = threading.Lock()

CANNOT_CHANGE_A_RESULT = frozenset(
    {
        "cxr_core",
        "cxr_core.errors",
        "cxr_core.progress",
        "cxr_core.child",
        "cxr_core.device",
        "cxr_core.code",
        # Configured values reach the key as parameters, so the module that checks them need not.
        "cxr_core.config",
    }
)


def code_digests(modules: Iterable[str]) -> dict[str, str]:
    """File (as in ``cxr_core/graphs/export.py``) to sha256, over the modules and all they import in this package.

    A package named here counts with all its modules: that is how a stage names the room of the
    backend that it was given. Modules outside the package (a test double) count themselves alone.
    """
    wanted = [name for module in modules for name in _with_submodules(module)]
    seen: dict[str, str] = {}
    visited: set[str] = set()
    while wanted:
        module = wanted.pop()
        if module in visited or module in CANNOT_CHANGE_A_RESULT:
            continue
        visited.add(module)
        path = _source(module)
        if path is None:
            continue
        seen[module.replace(".", "/") + ("/__init__.py" if path.name == "__init__.py" else ".py")] = _digest(path)
        wanted.extend(_imports(path))
    return dict(sorted(seen.items()))


def _with_submodules(module: str) -> list[str]:
    path = _source(module)
    if path is None or path.name != "__init__.py":
        return [module]
    return [module, *(f"{module}.{p.stem}" for p in sorted(path.parent.glob("*.py")) if p.stem != "__init__")]


@cache
def _source(module: str) -> Path | None:
    first, *rest = module.split(".")
    # Only the first name is looked up: finding a spec further down would import all packages above it, torch too.
    spec = importlib.util.find_spec(first)
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return None
    path = Path(spec.origin)
    if rest:
        path = path.parent.joinpath(*rest)
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return path if path.is_file() else None


@cache
def _digest(path: Path) -> str:
    tree = _parsed(path)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


@cache
def _imports(path: Path) -> tuple[str, ...]:
    found: list[str] = []
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.Import):
            found.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.append(node.module)
            # ``from package import module`` names a module too; names that are none have no source.
            found.extend(f"{node.module}.{alias.name}" for alias in node.names)
    return tuple(name for name in found if name.split(".")[0] == PACKAGE)


def _parsed(path: Path) -> ast.Module:
    # CPython 3.11 counts the parser's depth per interpreter, so two threads that parse at once can fail.
    with _parsing:
        return ast.parse(path.read_bytes())
