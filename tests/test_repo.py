"""The repository: top level, pins, make targets, documents, continuous integration, code style."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
TEXT = {".cfg", ".css", ".ipynb", ".js", ".json", ".md", ".py", ".toml", ".txt", ".yaml", ".yml"}


def tracked() -> list[str]:
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip("not a git checkout: the project's files cannot be listed")
    return [line for line in done.stdout.splitlines() if (ROOT / line).is_file()]


def test_the_top_level_is_the_wanted_one():
    top = {name.split("/")[0] for name in tracked()}
    folders = set("book chapters posekit data_scripts tests benchmarks .ci .github".split())
    files = set(
        "_config.yml requirements.txt README.md Makefile pyproject.toml LICENSE CITATION.cff "
        "CONTRIBUTING.md .gitattributes".split()
    )
    optional = {
        ".devcontainer",
        ".dockerignore",
        "CHANGELOG.md",
        "CODE_OF_CONDUCT.md",
        "Dockerfile",
        "SECURITY.md",
        "binder",
        ".gitignore",
        ".pre-commit-config.yaml",
    }
    assert top <= folders | files | optional
    assert files <= top


def test_no_file_names_a_machine():
    here = re.compile(r"(?<![\w./~-])/(?:work|root|home/\w+|tmp/\w+)/|\.\./shared/")
    holds_the_pattern = {
        "tests/book/test_notebooks.py",
        "tests/test_repo.py",
        "book/tools/rules.py",
    }
    for name in tracked():
        vendored = name.startswith(("book/assets/vendor/", "posekit/live/web/ort/"))
        text = Path(name).suffix in TEXT or name == "Makefile"
        if text and not vendored and name not in holds_the_pattern:
            found = here.search((ROOT / name).read_text(encoding="utf-8"))
            assert not found, f"{name}: {found[0]}"


def test_files_are_small():
    """Weights, which come with a card or a README, may be larger."""
    weights = ("posekit/weights/",)
    for name in tracked():
        limit = 8_000_000 if name.startswith(weights) else 3_600_000
        assert (ROOT / name).stat().st_size <= limit, name


def test_the_notebooks_together_stay_below_nine_megabytes():
    size = sum(path.stat().st_size for path in (ROOT / "chapters").rglob("*_*.ipynb"))
    assert size < 9_000_000, "is a figure stored twice?"


def test_code_style_is_checked_and_kept():
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]
    assert ruff["line-length"] == 100
    assert "E" in ruff["lint"]["select"] and "E501" not in ruff["lint"]["ignore"]
    notebooks = tomllib.loads((ROOT / "chapters" / "ruff.toml").read_text(encoding="utf-8"))
    assert notebooks["line-length"] == 88
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", "."],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


# ---- requirements -------------------------------------------------------------------------------


def pins() -> dict[str, Requirement]:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(r.name): r for r in requirements}


def test_pins_fulfil_the_lower_bounds():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = list(project["dependencies"])
    for extra in ("train", "pretrained", "book", "dev", "teach"):
        wanted += extras.get(extra, [])
    found = pins()
    for pin in found.values():
        assert re.fullmatch(r"==[^,*]+", str(pin.specifier)), f"{pin} is no exact pin"
    for need in map(Requirement, wanted):
        if canonicalize_name(need.name) == "posekit":
            continue  # an extra that contains another
        pin = found[canonicalize_name(need.name)]
        version = str(pin.specifier).removeprefix("==")
        assert need.specifier.contains(version), f"{need} is pinned to {pin}"
        assert str(need.marker) == str(pin.marker)


def test_exactly_one_opencv_a_system():
    opencv = [pin for name, pin in pins().items() if name.startswith("opencv")]
    for platform in ("linux", "darwin", "win32"):
        assert sum(r.marker.evaluate({"sys_platform": platform}) for r in opencv) == 1


# ---- make targets and documents -----------------------------------------------------------------


def make_targets() -> dict[str, str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z-]+):.*?## (.+)$", makefile, re.M))


def test_every_make_target_is_there_and_explained():
    targets = make_targets()
    wanted = "book test setup html lab lint refresh assignments bench test-slow clean help"
    assert set(wanted.split()) <= set(targets)
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert [name for name in targets if f"make {name}" not in contributing] == []


def test_documents_name_only_make_targets_that_exist():
    targets = make_targets()
    for name in tracked():
        if name.endswith(".md"):
            text = (ROOT / name).read_text(encoding="utf-8")
            named = set(re.findall(r"(?:`|^)make ([a-z][a-z-]*)", text, re.M))
            assert named <= set(targets), f"{name}: {named - set(targets)}"


PATHS = re.compile(
    r"(?<![\w/.])((?:posekit|book|tests|benchmarks|data_scripts|chapters)/[\w./-]*\w)(?![\w*./-]*\*)"
)
NOT_COMMITTED = ("book/runs/NAME", "book/runs/RUN", "posekit/weights/NAME")


@pytest.mark.parametrize(
    "document",
    [
        *("README.md", "CONTRIBUTING.md", "SECURITY.md"),
        *sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("book/*.md")),
        *sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("book/teaching/*.md")),
    ],
)
def test_files_that_documents_name_exist(document):
    missing = []
    for name in PATHS.findall((ROOT / document).read_text(encoding="utf-8")):
        placeholder = name.startswith(NOT_COMMITTED) or re.search(r"NN|NAME", name)
        if not placeholder and not (ROOT / name).exists():
            missing.append(name)
    assert missing == []


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.md")), ids=lambda p: p.stem)
def test_links_of_documents_lead_somewhere(path):
    """Those outside of the book; inside, the built pages are tested."""
    text = re.sub(r"```.*?```|`[^`]*`", "", path.read_text(encoding="utf-8"), flags=re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:|_build/", link):  # what is built need not be there
            continue
        file = (path.parent / target).resolve() if target else path
        assert file.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.M)
            slugs = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
            assert anchor in slugs, link


def test_contributing_draws_the_layout_and_the_order_of_the_modules():
    from test_architecture import ORDER

    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert f"`{' → '.join(ORDER[:-1])}`" in " ".join(text.split())
    layout = text.split("```")[1]
    for folder in sorted((ROOT / "posekit").iterdir()):
        if (folder / "__init__.py").is_file():
            assert f"{folder.name}/" in layout, folder.name


def test_readme_shows_the_recorded_numbers():
    """The three measurements at the top of README.md; when a record changes, so does the table."""

    def record(name: str) -> dict:
        return json.loads((ROOT / "book" / "runs" / name / "record.json").read_text())

    run = record("stage1")["runs"]["stage1"]
    wrists = run["card"]["joints"]["webcam"]["wrists"]
    mean_pose = run["card"]["mean_pose"]["webcam"]["wrists"][0]
    low, high = run["val"]["intervals"]["pcp"]
    pcp, pcp_mean_pose = run["val"]["pcp"]["mean"], run["val"]["mean_pose"]["pcp"]["mean"]
    ms = record("deploy")["networks"]["stage1"]["ms"]["1"]
    onnx, keras = ms["onnxruntime"]["clock_median"], ms["tf.function"]["clock_median"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for cells in (
        f"| {wrists[0]:.2f} [{wrists[1]:.2f}, {wrists[2]:.2f}] | the mean pose: {mean_pose:.2f} |",
        f"| {pcp:.2f} [{low:.2f}, {high:.2f}] | the mean pose: {pcp_mean_pose:.2f}; ",
        f"| {onnx:.0f} ms | the same network in Keras (`tf.function`): {keras:.0f} ms |",
        f"{run['parameters'] / 1e6:.1f} million parameters",
    ):
        assert cells in readme


def test_the_version_is_the_same_everywhere():
    import posekit

    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(cited["version"]) == posekit.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[(.+?)\](?: - (\S+))?$", changelog, re.M)
    assert versions[0] == ("Unreleased", "")
    assert versions[1] == (posekit.__version__, cited["date-released"])


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda p: p.stem)
def test_forms_for_issues_are_well_formed(path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.parent.name != "ISSUE_TEMPLATE" or path.stem == "config":
        return
    assert {"name", "description", "body"} <= set(form)
    ids = [field["id"] for field in form["body"] if field["type"] != "markdown"]
    assert len(ids) == len(set(ids)) and any(
        field.get("validations", {}).get("required") for field in form["body"]
    )


# ---- continuous integration, licences, references -----------------------------------------------


def test_continuous_integration_calls_the_make_targets():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
    assert "set -euo pipefail" in script
    commands = [line.strip() for line in script.splitlines()]
    assert {"make lint", "make test", "make test-beam", "make backends"} <= set(commands)
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
