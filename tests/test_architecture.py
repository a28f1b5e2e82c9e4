"""The rules of the house, read from the source: layers, sizes, names, and what never occurs."""

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

import pytest

from stages.engine.catalogue import STAGES

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("mimicmotion", "stages", "flows")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

ENGINES = {"prefect", "ray", "mlflow"}
FORBIDDEN = {
    "mimicmotion": {*ENGINES, "stages", "flows"},
    "stages": {*ENGINES, "flows"},
    "flows": {"torch", "ray", "mlflow"},
}
"""What no file of a layer may import, at any place in it."""
ADAPTERS = {"stages/adapters/ray/": "ray", "stages/adapters/mlflow/": "mlflow"}
"""The folders through which an engine is reached, and through which alone."""
HEAVY = {"torch", "onnxruntime", "decord", "diffusers", "transformers", *ENGINES}
"""What costs seconds to import, so that ``status`` must not."""

LADDER = (
    ("redaction",),
    ("errors", "durable", "foreign", "memory", "parent", "devices", "settings"),
    ("names",),
    ("lists",),
    ("video", "diffusion", "weights"),
    ("pose",),
    ("clips", "model"),
    ("metrics",),
    ("pictures",),
    ("training", "animation"),
    ("synthetic",),
)
"""The rungs of the library: each imports only what stands before it."""

MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 80
MAX_STAGE_LINES = 250
MEDIAN_FILE_LINES, P90_FUNCTION_LINES = 150, 30
LONG_FILES: dict[str, str] = {}
LONG_FUNCTIONS: dict[str, str] = {}
"""Exceptions, each with its reason."""

VAGUE = ("util", "helper", "misc", "common", "manager")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), name_of(path))


def imported(tree: ast.AST) -> Iterator[str]:
    """Top-level names of everything that is imported inside a piece of source."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield (node.module or "").split(".")[0]


def imported_first(tree: ast.Module) -> Iterator[str]:
    """What is imported together with a module, so not inside functions or for type checkers only."""
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from imported(node)


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_imports_go_in_one_direction() -> None:
    wrong = [
        f"{name_of(path)} imports {name}"
        for path in SOURCES
        for name in set(imported(tree_of(path)))
        if name in FORBIDDEN[path.relative_to(ROOT).parts[0]]
        and not any(name == engine and name_of(path).startswith(place) for place, engine in ADAPTERS.items())
    ]
    assert not wrong


def modules_imported(path: Path) -> set[str]:
    """Names of this project's modules that a file imports, at any place in it."""
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            found |= whole or {node.module}
    return {name for name in found if name in MODULES}


def module_name(path: Path) -> str:
    return name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


MODULES = {module_name(path): path for path in SOURCES}
IMPORTS = {name: modules_imported(path) - {name} for name, path in MODULES.items()}


def circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """Groups of nodes that reach one another."""
    reached: dict[str, set[str]] = {}
    for start in graph:
        seen, todo = set(), [start]
        while todo:
            for further in graph.get(todo.pop(), set()) - seen:
                seen.add(further)
                todo.append(further)
        reached[start] = seen
    return {
        frozenset(other for other in reached[name] if name in reached.get(other, set()))
        for name in graph
        if name in reached[name]
    }


def test_the_library_is_a_ladder() -> None:
    rungs = {name: height for height, rung in enumerate(LADDER) for name in rung}
    wrong = [
        f"{name} imports {other}"
        for name, others in IMPORTS.items()
        for other in others
        if name.startswith("mimicmotion.") and other.startswith("mimicmotion.")
        if (ours := name.split(".")[1]) != (theirs := other.split(".")[1]) and rungs[theirs] >= rungs[ours]
    ]
    assert not wrong
    assert set(rungs) == {name.split(".")[1] for name in MODULES if name.startswith("mimicmotion.")}


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circles(IMPORTS) == set()


def test_no_packages_import_each_other() -> None:
    """A package beside another; what lies in one below the other is a part of it."""
    packages: dict[str, set[str]] = {}
    for name, others in IMPORTS.items():
        ours = name.rpartition(".")[0]
        for theirs in {other.rpartition(".")[0] for other in others} - {ours}:
            if not (f"{ours}.".startswith(f"{theirs}.") or f"{theirs}.".startswith(f"{ours}.")):
                packages.setdefault(ours, set()).add(theirs)
    assert circles(packages) == set()


def test_stages_are_few_to_look_at() -> None:
    shown = [path.name for path in (ROOT / "stages").iterdir() if not path.name.startswith("__")]
    assert len(shown) <= 13, f"a further stage goes into stages/parts (CONTRIBUTING.md): {sorted(shown)}"


def test_the_adapters_are_there() -> None:
    for place, engine in ADAPTERS.items():
        assert any(engine in imported(tree_of(path)) for path in SOURCES if name_of(path).startswith(place))


def test_one_file_reaches_into_ray() -> None:
    wrong = [
        name_of(path)
        for path in SOURCES
        if name_of(path) != "stages/adapters/ray/internals.py"
        and ("ray._private" in (text := path.read_text(encoding="utf-8")) or "v2._internal" in text)
    ]
    assert wrong == []


def test_stages_and_commands_import_nothing_heavy_at_first() -> None:
    """Adapters and flows are themselves imported late; everything else must be quick."""
    late = {"flows/ablation.py", "flows/rebuild.py", "flows/stage.py", "flows/tasks.py"}
    wrong = [
        f"{name_of(path)} imports {name}"
        for path in SOURCES
        if not name_of(path).startswith(("mimicmotion/", *ADAPTERS)) and name_of(path) not in late
        for name in set(imported_first(tree_of(path)))
        if name in HEAVY
    ]
    assert not wrong


def test_files_are_short() -> None:
    lines = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {
        name: count for name, count in lines.items() if count > MAX_FILE_LINES and name not in LONG_FILES
    } == {}
    stages = {f"stages/{name}.py" for name in STAGES}
    assert {name: lines[name] for name in stages & lines.keys() if lines[name] > MAX_STAGE_LINES} == {}
    assert all(lines.get(name, 0) > MAX_FILE_LINES for name in LONG_FILES), "an exception that is none"
    assert median(count for name, count in lines.items() if count > 1) <= MEDIAN_FILE_LINES


def test_sizes_of_pictures_have_one_type() -> None:
    """A bare pair does not say which side comes first."""
    assert [
        f"{name_of(path)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation
        if "size" in ast.unparse(node).partition(":")[0] and "tuple[int, int]" in ast.unparse(node.annotation)
    ] == []


def test_functions_are_short() -> None:
    lengths = {
        f"{name_of(path)}:{node.name}": length(node) for path in SOURCES for node in functions(tree_of(path))
    }
    long = {name: lines for name, lines in lengths.items() if lines > MAX_FUNCTION_LINES}
    assert {name: lines for name, lines in long.items() if name not in LONG_FUNCTIONS} == {}
    assert set(LONG_FUNCTIONS) <= set(long), "an exception that is none"
    assert quantiles(lengths.values(), n=10)[8] <= P90_FUNCTION_LINES


def test_every_module_says_what_it_is() -> None:
    assert [name_of(path) for path in SOURCES if not ast.get_docstring(tree_of(path))] == []


def test_names_say_something() -> None:
    names = [(name_of(path), path.stem) for path in SOURCES]
    for path in SOURCES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                names.append((name_of(path), node.name))
    words = [(where, name, name.lower().strip("_").split("_")) for where, name in names]
    assert [
        f"{where}: {name}"
        for where, name, parts in words
        for vague in VAGUE
        if vague in parts or f"{vague}s" in parts or name.lower().endswith(("helper", "manager"))
    ] == []


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_what_never_occurs(path: Path) -> None:
    wrong = []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ExceptHandler):
            if node.type is None:
                wrong.append((node.lineno, "bare except"))
            if all(isinstance(line, ast.Pass) for line in node.body):
                wrong.append((node.lineno, "swallowed error"))
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            options = {word.arg: ast.unparse(word.value) for word in node.keywords if word.arg}
            if options.get("strict") == "False" and called != "zip":
                wrong.append((node.lineno, "strict=False"))
            if called == "torch.load" and options.get("weights_only") != "True":
                wrong.append((node.lineno, "torch.load without weights_only=True"))
            if called.split(".")[0] in ("pickle", "dill", "joblib"):
                wrong.append((node.lineno, f"{called}: pickles are never loaded"))
    assert wrong == []


def test_nothing_is_left_to_do() -> None:
    marks = ("TO" + "DO", "FIX" + "ME", "XX" + "X")
    assert [
        f"{name_of(path)}: {mark}"
        for path in SOURCES
        for mark in marks
        if mark in path.read_text(encoding="utf-8")
    ] == []
