"""The package: the order of its modules, a cheap import, docstrings, type hints, vocabulary."""

import ast
import io
import re
import statistics
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "posekit"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)
EXPERIMENTS = sorted((ROOT / "book" / "experiments").glob("*.py"))

#: The pipeline: a module imports only from modules that stand before its own.
ORDER = (
    "errors files skeleton body_size geometry cameras images hardware datasets records minidome "
    "viz inputs models losses metrics inference training live notebook doctor cli __main__"
).split()
#: MiniDome's renderer imports the shared modules only; its `dataset` also reads and writes records.
SHARED = {"errors", "files", "skeleton", "geometry", "cameras", "images"}
MINIDOME_WITH_RECORDS = {"__init__", "__main__", "dataset"}

#: Words of an earlier private language -> what the field says.
PRIVATE_WORDS = {
    "anew": "again",
    "anybody": "a person",
    "aside": "to a temporary file",
    "beside": "next to, besides",
    "everybody": "every person",
    "mend": "fix",
    "mended": "fixed, corrected",
    "mending": "fixing",
    "mends": "fixes",
    "nobody": "no person, background",
    "somebody": "a person",
    "whoever": "if you",
}


def stage_of(path: Path) -> str:
    """The top-level module or package of posekit that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def stages_imported(source: str) -> set[str]:
    """Top-level modules of posekit that a source imports, inside functions too."""
    stages = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level:
            stages.add(".relative")
        elif isinstance(node, ast.ImportFrom) and node.module == "posekit":
            stages |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("posekit."):
            stages.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            stages |= {name.split(".")[1] for name in names if name.startswith("posekit.")}
    return stages - {"__version__"}


def out_of_order(path: Path, source: str) -> set[str]:
    """Modules that a file imports though they do not stand before its own."""
    stage = stage_of(path)
    if stage == "__init__":
        return set()
    stages = stages_imported(source) - {stage}
    if stage == "minidome" and path.stem not in MINIDOME_WITH_RECORDS:
        return stages - SHARED
    return {s for s in stages if s not in ORDER or ORDER.index(s) > ORDER.index(stage)}


def test_a_module_imports_only_from_modules_before_it():
    wrong = {
        str(path.relative_to(PACKAGE)): found
        for path in MODULES
        if (found := out_of_order(path, path.read_text(encoding="utf-8")))
    }
    assert wrong == {}


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("geometry.py", "from posekit import datasets", {"datasets"}),
        ("losses.py", "def f():\n    from posekit.inference.predictor import load", {"inference"}),
        ("minidome/body.py", "import posekit.records", {"records"}),
        ("minidome/dataset.py", "from posekit.inputs import tfdata", {"inputs"}),
        ("datasets/coco.py", "from posekit.datasets import x\nfrom posekit.images import y", set()),
        ("viz.py", "from .inference import load", {".relative"}),
        ("live/server.py", "from posekit import experiments", {"experiments"}),
    ],
)
def test_the_order_of_modules_can_be_broken(module, source, wrong):
    assert out_of_order(PACKAGE / module, source) == wrong


def test_every_announced_module_is_there_and_every_module_is_announced():
    import posekit

    there = {stage_of(path) for path in MODULES} - {"__init__", "__main__"}
    assert set(posekit._MODULES) == there
    assert set(ORDER) == there | {"__main__"}


def test_import_is_cheap_and_loads_no_heavy_library():
    code = (
        "import sys, time; start = time.perf_counter(); import posekit; "
        "took = time.perf_counter() - start; "
        "heavy = {'tensorflow', 'keras', 'cv2', 'matplotlib', 'scipy', 'numpy'}; "
        "print(took, *sorted(heavy & set(sys.modules)))"
    )
    times = []
    for _ in range(5):
        took, *heavy = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout.split()
        assert heavy == []
        times.append(float(took))
    assert statistics.median(times) <= 0.05


def test_light_modules_do_not_load_tensorflow_or_opencv():
    light = (
        "errors files skeleton body_size geometry cameras images datasets records metrics viz "
        "notebook notebook.runs notebook.checks minidome"
    ).split()
    code = (
        f"import sys, importlib\nfor m in {light!r}: importlib.import_module('posekit.' + m)\n"
        "print(*({'tensorflow', 'keras', 'cv2', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == ""


# ---- docstrings, type hints, vocabulary ---------------------------------------------------------


def without_docstring(path: Path) -> list[str]:
    """Public functions and classes of a file, and the file itself, that lack a docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    missing = [] if ast.get_docstring(tree) or path.name == "__main__.py" else ["the module"]
    classes = [n for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")]
    for owner in [tree, *classes]:
        for node in owner.body:
            if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
                continue
            inherited = owner is not tree and re.match(r"on_|call$|build$|get_config$", node.name)
            if not ast.get_docstring(node) and not inherited:
                missing.append(node.name)
    return missing


def test_public_things_have_docstrings():
    missing = {
        str(path.relative_to(ROOT)): names
        for path in [*MODULES, *EXPERIMENTS]
        if (names := without_docstring(path))
    }
    assert missing == {}


def test_public_functions_have_type_hints():
    missing = []
    for path in MODULES:
        if stage_of(path) in ("losses", "models"):
            continue  # tensors of three backends have no common type
        if stage_of(path) in ("doctor", "__main__"):
            continue  # they run on any Python 3
        if stage_of(path) == "minidome" and path.stem not in MINIDOME_WITH_RECORDS:
            continue  # the renderer is not called from outside
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                untyped = [
                    a.arg
                    for a in arguments
                    if a.annotation is None and a.arg not in ("ax", "fig", "args", "serialized")
                ]
                if untyped:
                    missing.append(f"{path.relative_to(PACKAGE)}:{node.name}({', '.join(untyped)})")
    assert missing == []


def private_words(source: str) -> list[str]:
    """Private words in comments, docstrings and other strings of a source: "line: word"."""
    pattern = re.compile(rf"\b({'|'.join(PRIVATE_WORDS)})\b", re.IGNORECASE)
    found = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING) or token.type == FSTRING_TEXT:
            found += [f"{token.start[0]}: {word}" for word in pattern.findall(token.string)]
    return found


#: From Python 3.12 on, an f-string is several tokens.
FSTRING_TEXT = getattr(tokenize, "FSTRING_MIDDLE", None)


def test_texts_use_the_words_of_the_field():
    found = {
        str(path.relative_to(ROOT)): words
        for path in [*MODULES, *EXPERIMENTS]
        if (words := private_words(path.read_text(encoding="utf-8")))
    }
    assert found == {}, "see PRIVATE_WORDS for what to write instead"


def test_a_private_word_is_noticed():
    source = '"""Crops with nobody."""\nx = f"mend {y}"  # beside it\nbeside = 1\n'
    assert private_words(source) == ["1: nobody", "2: mend", "2: beside"]
