"""The house around the rooms: their order and size, a cheap import, docstrings, the top level, pins, handles."""

import ast
import io
import re
import statistics
import subprocess
import sys
import tokenize
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "posekit"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)

#: The way of a person through the rooms: a module imports only from rooms that stand before its own.
ORDER = (
    "errors files skeleton geometry cameras images hardware minidome datasets records viz inputs models losses "
    "metrics inference training live notebook doctor cli __main__"
).split()
#: Not counted towards the size of the package: a generator, what exercises call, what is run once and recorded, and plumbing
#: that no chapter teaches.
UNTAUGHT = {"minidome", "checks", "downloads"}
#: MiniDome's renderer stands on the ground floor; only what joins it to records may look further.
GROUND_FLOOR = {"errors", "files", "skeleton", "geometry", "cameras", "images"}
MINIDOME_JOINTS = {"__init__", "__main__", "dataset"}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def rooms_imported(source: str) -> set[str]:
    """Rooms of posekit that a source imports, at any depth of its functions."""
    rooms = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "posekit":
            rooms |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("posekit."):
            rooms.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            rooms |= {
                alias.name.split(".")[1]
                for alias in node.names
                if alias.name.startswith("posekit.")
            }
        elif isinstance(node, ast.ImportFrom) and node.level:
            rooms.add(".relative")
    return rooms - {"__version__"}


def out_of_order(path: Path, source: str) -> set[str]:
    """Rooms that a module imports though they do not stand before its own."""
    room = room_of(path)
    if room == "__init__":
        return set()
    rooms = rooms_imported(source) - {room}
    if room == "minidome" and path.stem not in MINIDOME_JOINTS:
        return rooms - GROUND_FLOOR
    return {r for r in rooms if r not in ORDER or ORDER.index(r) > ORDER.index(room)}


@pytest.mark.parametrize("path", MODULES, ids=[str(p.relative_to(PACKAGE)) for p in MODULES])
def test_a_room_imports_only_from_rooms_before_it(path):
    assert out_of_order(path, path.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("geometry.py", "from posekit import sources", {"sources"}),
        ("losses.py", "def f():\n    from posekit.inference.predictor import load", {"predict"}),
        ("minidome/body.py", "import posekit.records", {"records"}),
        ("minidome/dataset.py", "import posekit.records", set()),
        ("sources/coco.py", "from posekit.datasets import x\nfrom posekit.images import y", set()),
        ("viz.py", "from .predict import load", {".relative"}),
    ],
)
def test_the_order_of_rooms_can_be_broken(module, source, wrong):
    assert out_of_order(PACKAGE / module, source) == wrong


def code_lines(source: str) -> int:
    """Lines that hold code: no docstrings, comments or blank lines."""
    tree, documented = ast.parse(source), set()
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            documented.update(range(node.lineno, node.end_lineno + 1))
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    quiet = (
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    )
    spans = (range(t.start[0], t.end[0] + 1) for t in tokens if t.type not in quiet)
    return len({line for span in spans for line in span} - documented)


def test_modules_are_small():
    """400 lines a module, docstrings and all; 6,500 lines of code in the rooms that chapters teach from (CONTRIBUTING says why)."""
    sources = {path.relative_to(PACKAGE): path.read_text(encoding="utf-8") for path in MODULES}
    assert {path: n for path, text in sources.items() if (n := len(text.splitlines())) > 400} == {}
    assert (
        sum(code_lines(t) for path, t in sources.items() if path.parts[0] not in UNTAUGHT) <= 6500
    )


def test_import_is_cheap_and_loads_no_heavy_library():
    code = (
        "import sys, time; start = time.perf_counter(); import posekit; took = time.perf_counter() - start; "
        "heavy = {'tensorflow', 'keras', 'cv2', 'matplotlib', 'scipy', 'numpy'} & set(sys.modules); print(took, *sorted(heavy))"
    )
    times = []
    for _ in range(5):
        took, *heavy = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout.split()
        assert heavy == []
        times.append(float(took))
    assert statistics.median(times) <= 0.3


def test_light_rooms_do_not_load_tensorflow_or_opencv():
    rooms = "errors skeleton geometry images datasets records metrics viz notebook notebook.checks minidome".split()
    code = f"import sys, importlib\nfor r in {rooms!r}: importlib.import_module('posekit.' + r)\n"
    code += "print(*({'tensorflow', 'keras', 'cv2', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("path", MODULES, ids=[str(p.relative_to(PACKAGE)) for p in MODULES])
def test_public_things_have_docstrings(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree) or path.name == "__main__.py", (
        "the module does not say what room it is"
    )
    missing = []
    for owner in [
        tree,
        *(n for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")),
    ]:
        for node in owner.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                inherited = isinstance(owner, ast.ClassDef) and re.match(
                    r"on_|call$|build$|get_config$", node.name
                )
                if not ast.get_docstring(node) and not inherited:
                    missing.append(node.name)
    assert missing == []


def test_public_functions_have_type_hints():
    missing = []
    for path in MODULES:
        if room_of(path) in ("losses", "models") or (
            room_of(path) == "minidome" and path.stem not in MINIDOME_JOINTS
        ):
            continue  # tensors of three backends have no common type; MiniDome's inside is not for calling
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                bare = [
                    a.arg
                    for a in arguments
                    if a.annotation is None and a.arg not in ("ax", "fig", "args", "serialized")
                ]
                if bare:
                    missing.append(f"{path.relative_to(PACKAGE)}:{node.name}({', '.join(bare)})")
    assert missing == []


def test_every_room_that_is_announced_is_there():
    import posekit

    for room in posekit._ROOMS:
        assert (PACKAGE / f"{room}.py").is_file() or (PACKAGE / room / "__init__.py").is_file(), (
            room
        )


# ---- around the package -----------------------------------------------------------------------------------------------


def tracked() -> list[str]:
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip("not a git checkout: what belongs to the project cannot be told")
    return [line for line in done.stdout.splitlines() if (ROOT / line).is_file()]


def test_the_top_level_is_the_wanted_one():
    top = {name.split("/")[0] for name in tracked()}
    folders = {
        "book",
        "chapters",
        "posekit",
        "data_scripts",
        "tests",
        "benchmarks",
        ".ci",
        ".github",
    }
    files = {
        "_config.yml",
        "requirements.txt",
        "README.md",
        "Makefile",
        "pyproject.toml",
        "LICENSE",
        "CITATION.cff",
    }
    assert top <= folders | files | {
        "CONTRIBUTING.md",
        ".gitignore",
        ".pre-commit-config.yaml",
        ".gitattributes",
    }
    assert files <= top


def test_no_file_names_a_machine():
    here = re.compile(r"(?<![\w./~-])/(?:work|root|home/\w+|tmp/\w+)/")
    for name in tracked():
        if name.startswith("book/assets/vendor/") or Path(name).suffix not in {
            ".py",
            ".md",
            ".yml",
            ".toml",
            ".ipynb",
            ".json",
        }:
            continue
        if name in (
            "tests/book/test_notebooks.py",
            "tests/test_architecture.py",
            "book/tools/rules.py",
        ):
            continue  # they hold the patterns themselves
        assert not here.search((ROOT / name).read_text(encoding="utf-8")), name


def test_files_are_small():
    assert {name for name in tracked() if (ROOT / name).stat().st_size > 3_600_000} == set()


def test_pins_fulfil_the_lower_bounds():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *project["optional-dependencies"]["dev"],
        *project["optional-dependencies"]["teach"],
    ]
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = {
        canonicalize_name(r.name): r
        for r in map(Requirement, (x for x in lines if x and x[0] != "#"))
    }
    for pin in pins.values():
        assert re.fullmatch(r"==[^,*]+", str(pin.specifier)), f"{pin} is no exact pin"
    for need in map(Requirement, wanted):
        pin = pins[canonicalize_name(need.name)]
        assert need.specifier.contains(str(pin.specifier).removeprefix("==")), (
            f"{need} is pinned to {pin}"
        )
        assert str(need.marker) == str(pin.marker)


def test_exactly_one_opencv_a_system():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    opencv = [Requirement(line) for line in lines if line.startswith("opencv")]
    for platform in ("linux", "darwin", "win32"):
        assert sum(r.marker.evaluate({"sys_platform": platform}) for r in opencv) == 1


def make_targets() -> dict[str, str]:
    found = re.findall(
        r"^([a-z-]+):.*?## (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M
    )
    return dict(found)


def test_every_handle_is_there_and_explained():
    targets = make_targets()
    wanted = "book test setup html lab lint refresh assignments bench test-slow clean help"
    assert set(wanted.split()) <= set(targets)
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert [name for name in targets if f"make {name}" not in contributing] == []


def test_documents_name_only_handles_that_exist():
    targets = make_targets()
    for name in tracked():
        if name.endswith(".md"):
            text = (ROOT / name).read_text(encoding="utf-8")
            named = set(re.findall(r"(?:`|^)make ([a-z][a-z-]*)", text, re.M))
            assert named <= set(targets), f"{name}: {named - set(targets)}"


def test_continuous_integration_calls_the_same_handles():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
    assert (
        "set -euo pipefail" in script
        and "make lint" in script
        and "make test" in script
        and "../shared/data" in script
    )
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8"))
    steps = workflow["jobs"]["test"]["steps"]
    assert "make test" in [step.get("run") for step in steps]


def test_each_vendored_folder_has_its_licence():
    for folder in (*(ROOT / "book/assets/vendor").iterdir(), ROOT / "posekit/live/web/ort"):
        if folder.is_dir():
            assert any(p.name.upper().startswith("LICENSE") for p in folder.iterdir()), folder.name


def test_bibliography_is_well_formed():
    from pybtex.database import parse_file

    bibliography = parse_file(ROOT / "book" / "references.bib")
    for key, entry in bibliography.entries.items():
        assert entry.persons.get("author"), key
        assert {"title", "year"} <= set(entry.fields), key
        if "doi" in entry.fields:
            assert re.fullmatch(r"10\.\d{4,}/\S+", entry.fields["doi"]), key
        if "eprint" in entry.fields:
            assert re.fullmatch(r"\d{4}\.\d{4,5}", entry.fields["eprint"]), key
