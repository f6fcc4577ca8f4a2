"""The classroom bundle: which wheels it takes, what it holds, and its installer, with tiny wheels
and without a network."""

import ast
import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import bundle
import bundle_install
import pytest
from bundle_install import InstallError
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
WHEEL = "second-1.0-py3-none-any.whl"
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"

BACKEND = '''"""Builds an editable wheel of the folder, with nothing but Python."""
import os
import zipfile


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    name, info = "own-1-py3-none-any.whl", "own-1.dist-info"
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w") as out:
        out.writestr("own.pth", os.getcwd())
        out.writestr(info + "/METADATA", "Metadata-Version: 2.1\\nName: own\\nVersion: 1\\n")
        out.writestr(info + "/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\n")
        out.writestr(info + "/RECORD", "")
    return name
'''


def make_wheel(folder: Path, name: str, tag: str = "py3-none-any", needs: tuple = ()) -> Path:
    """A wheel of one module."""
    path = folder / f"{name}-1.0-{tag}.whl"
    info = f"{name}-1.0.dist-info"
    needs = "".join(f"Requires-Dist: {need}\n" for need in needs)
    with zipfile.ZipFile(path, "w") as out:
        out.writestr(f"{name}.py", f"VALUE = '{tag}'\n")
        out.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needs}"
        )
        out.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        out.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def tiny(tmp_path) -> Path:
    """An unpacked bundle with two wheels and a package of its own."""
    folder = tmp_path / "tiny book"  # a path with a space, as on many machines
    (folder / "wheels").mkdir(parents=True)
    make_wheel(folder / "wheels", "first", needs=("second>=1", "absent; sys_platform == 'none'"))
    make_wheel(folder / "wheels", "second")
    (folder / "requirements.txt").write_text("first==1.0\nsecond==1.0\n")
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "own"\nversion = "1"\n'
    )
    (folder / "backend.py").write_text(BACKEND)
    (folder / "own.py").write_text("import first, second\n")
    shutil.copyfile(ROOT / "book/tools/bundle_install.py", folder / "install.py")
    target = bundle.PLATFORMS[bundle.this_platform()]
    verify = [["-c", "import own, second; print(second.VALUE)"]]
    bundle.write_manifest(folder, "tiny", target, [HERE], verify)
    return folder


def install(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run install.py; pip's settings point to an index that does not exist."""
    return subprocess.run(
        [sys.executable, "install.py", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PIP_INDEX_URL": "http://127.0.0.1:9/", "PYTHONPATH": str(ROOT)},
    )


# ---- the archive --------------------------------------------------------------------------------


def test_each_system_gets_its_own_packages():
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    names = {
        system: {need.name for need in bundle.pins(text, bundle.environment(target, "3.12"))}
        for system, target in bundle.PLATFORMS.items()
    }
    linux, windows, macos = (
        names[f"{n}"] for n in ("linux-x86_64", "windows-x86_64", "macos-arm64")
    )
    assert windows - linux == {"colorama", "pywinpty", "opencv-python"}
    assert macos - linux == {"appnope", "opencv-python"}
    assert linux - windows == {"opencv-python-headless"}


def test_pins_are_complete_for_the_packages_installed_here():
    """For each system; what only another system installs cannot be seen here."""
    from importlib import metadata

    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    for target in bundle.PLATFORMS.values():
        markers = bundle.environment(target, HERE)
        found = []
        for need in bundle.pins(text, markers):
            version = str(need.specifier).removeprefix("==")
            try:
                needs = metadata.requires(need.name) or []
            except metadata.PackageNotFoundError:
                needs = []
            found.append((bundle.canonicalize_name(need.name), version, needs))
        assert bundle.lacking(found, markers) == []


def test_setuptools_can_build_posekit():
    pin = next(
        Requirement(line)
        for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
        if line.startswith("setuptools==")
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (wanted,) = map(Requirement, project["build-system"]["requires"])
    assert wanted.specifier.contains(str(pin.specifier).removeprefix("=="))


@pytest.mark.parametrize(
    ("needs", "complaint"),
    [
        (["b>=1"], None),
        (["b[x]"], "b needs c; it is not there"),
        (["b>=2"], "a needs b>=2; 1.5 is there"),
        (["d"], "a needs d; it is not there"),
        (["d; sys_platform == 'win32'"], None),
        (["d; python_version < '3.13'"], 'a needs d; python_version < "3.13"; it is not there'),
        (["d; extra == 'test'"], None),
    ],
)
def test_a_lacking_requirement_is_named(needs, complaint):
    found = [("a", "1", needs), ("b", "1.5", ["c; extra == 'x'"])]
    markers = bundle.environment(bundle.PLATFORMS["linux-x86_64"], "3.12")
    complaints = bundle.lacking(found, markers)
    if complaint is None:
        assert complaints == []
    else:
        assert len(complaints) == 1 and complaints[0].startswith(complaint.partition(";")[0])


def test_the_wheel_for_the_system_and_the_python_is_taken(tmp_path):
    tags = ("cp312-cp312-manylinux_2_27_x86_64.manylinux_2_28_x86_64", "cp313-cp313-win_amd64")
    tags += ("cp311-abi3-macosx_11_0_arm64", "cp312-cp312-win_amd64", "cp312-cp312-win32")
    for tag in tags:
        make_wheel(tmp_path, "first", tag)

    def taken(system, python):
        return bundle.wheels_for(tmp_path, bundle.PLATFORMS[system], python, "first==1.0\n")[0].name

    assert taken("linux-x86_64", "3.12") == f"first-1.0-{tags[0]}.whl"
    assert taken("windows-x86_64", "3.12") == f"first-1.0-{tags[3]}.whl"
    assert taken("windows-x86_64", "3.13") == f"first-1.0-{tags[1]}.whl"
    assert taken("macos-arm64", "3.13") == f"first-1.0-{tags[2]}.whl"
    with pytest.raises(bundle.BundleError, match=r"no wheel of first==1.0 for Python 3.13"):
        taken("linux-x86_64", "3.13")


def test_the_bundle_holds_the_students_copies_and_no_solution(tmp_path, monkeypatch):
    home = tmp_path / "minidome-v0"
    (home / "train").mkdir(parents=True)
    (home / "train" / "a.jpg").write_bytes(b"a")
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "index.html").write_text("the book")
    data = bundle.dataset.__globals__["Dataset"](*(home / n for n in ("train", "val", "t", "v")))
    monkeypatch.setattr(bundle, "dataset", lambda: data)
    folder = tmp_path / "out"
    bundle.lay_out(folder, tmp_path / "html")
    exercises = sorted((folder / "chapters" / "exercises").glob("*.ipynb"))
    assert len(exercises) == len(list((ROOT / "chapters" / "exercises").glob("*.ipynb"))) == 15
    for path in exercises:
        text = path.read_text(encoding="utf-8")
        assert "BEGIN SOLUTION" not in text and "# Your code here." in text, path.name
    for name in ("install.py", "_build/html/index.html", "_data/minidome-v0/train/a.jpg"):
        assert (folder / name).is_file(), name
    for name in ("posekit/weights/manifest.json", "book/runs/stage1/record.json", "_config.yml"):
        assert (folder / name).is_file(), name
    for name in ("tests", "book/tools", "book/quiz", "Makefile", ".ci"):
        assert not (folder / name).exists(), name


# ---- the installer ------------------------------------------------------------------------------


def test_the_installer_can_be_read_by_an_old_python():
    source = (ROOT / "book/tools/bundle_install.py").read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 6))
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module.split(".")[0])
    assert modules <= set(sys.stdlib_module_names)


def test_a_bundle_installs_without_a_network_and_a_second_time(tiny, tmp_path):
    archive = tmp_path / "tiny.zip"
    bundle.pack(tiny, archive)
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(tmp_path / "else where")
    folder = tmp_path / "else where" / "tiny book"
    done = install(folder)
    assert done.returncode == 0, done.stdout + done.stderr + (folder / "install.log").read_text()
    assert "ready." in done.stdout and "jupyter lab chapters" in done.stdout
    assert "py3-none-any" in (folder / "install.log").read_text()  # the check ran
    python = bundle_install.make_environment(folder, folder / "install.log")
    out = subprocess.run([python, "-c", "import own; print(own.__file__)"], stdout=subprocess.PIPE)
    assert str(folder / "own.py") in out.stdout.decode()
    assert install(folder).returncode == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda f: (f / "wheels/second-1.0-py3-none-any.whl").write_bytes(b"x"),
            "damaged: wheels/second",
        ),
        (lambda f: (f / "backend.py").unlink(), "missing: backend.py"),
        (lambda f: (f / "manifest.json").write_text("{"), "manifest.json is damaged"),
        (lambda f: (f / "manifest.json").unlink(), "unpack the whole archive"),
        (lambda f: edit(f, pythons=["3.99"]), "this bundle is for Python 3.99"),
        (lambda f: edit(f, installed_bytes=10**18), "1000000000.0 GB of disk are needed"),
        (
            lambda f: edit(f, platform={"system": "darwin", "machine": "alpha", "release": ""}),
            "the bundle is for macOS on alpha",
        ),
    ],
    ids=["damaged", "missing", "manifest", "no manifest", "python", "disk", "system"],
)
def test_what_is_wrong_is_said_in_one_line_before_anything_is_made(tiny, change, message):
    change(tiny)
    done = install(tiny)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert message in done.stderr
    assert not (tiny / ".venv").exists()


def edit(folder: Path, **changes) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_failing_check_at_the_end_is_an_error(tiny, monkeypatch, capsys):
    edit(tiny, verify=[["-c", "raise SystemExit('error: the model does not load')"]])
    monkeypatch.setattr(bundle_install, "make_environment", lambda *_: Path(sys.executable))
    monkeypatch.setattr(bundle_install, "steps", lambda python: [])
    with pytest.raises(InstallError, match="a check fails: error: the model does not load"):
        bundle_install.install(tiny)


WANTED = {"pythons": ["3.11", "3.12"]}


@pytest.mark.parametrize(
    ("version", "bits", "message"),
    [
        ((3, 10, 2), 64, "Python 3.10.2 is running, this bundle is for Python 3.11 or 3.12"),
        ((3, 11, 3), 64, "3.11.5 or later is needed"),
        ((3, 12, 1), 32, "32-bit"),
        ((3, 12, 1), 64, None),
    ],
)
def test_python_is_checked(version, bits, message):
    if message is None:
        bundle_install.check_python(WANTED, version, bits)
        return
    with pytest.raises(InstallError, match=message):
        bundle_install.check_python(WANTED, version, bits)


@pytest.mark.parametrize(
    ("bundle_for", "system", "machine", "release", "message"),
    [
        ("linux-x86_64", "linux", "x86_64", ("glibc", "2.36"), None),
        ("linux-x86_64", "linux", "x86_64", ("glibc", "2.17"), r"glibc 2\.17, glibc 2\.28"),
        ("linux-x86_64", "linux", "x86_64", ("", ""), "none with musl"),
        ("linux-x86_64", "linux", "aarch64", ("glibc", "2.36"), "this is Linux on arm64"),
        ("linux-x86_64", "win32", "AMD64", None, "the bundle is for Linux on x86_64"),
        ("windows-x86_64", "win32", "AMD64", None, None),
        ("macos-arm64", "darwin", "arm64", "14.5", None),
        ("macos-arm64", "darwin", "arm64", "13.6.1", "this is macOS 13.6.1, 14.0 or later"),
        ("macos-arm64", "darwin", "x86_64", "14.5", "this is macOS on x86_64"),
    ],
)
def test_the_system_is_checked(bundle_for, system, machine, release, message):
    target = bundle.PLATFORMS[bundle_for]
    wanted = {
        "platform": {"system": target.system, "machine": target.machine, "release": target.release}
    }
    if message is None:
        bundle_install.check_platform(wanted, system, machine, release)
        return
    with pytest.raises(InstallError, match=message):
        bundle_install.check_platform(wanted, system, machine, release)


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("x\nERROR: Could not install: [Errno 28] No space left on device\n", "the disk is full"),
        (
            "ERROR: one\nERROR: No matching distribution found\nhint\n",
            "ERROR: No matching",
        ),
        ("Traceback\nImportError: no\n", "ImportError: no"),
        ("", "no message"),
    ],
)
def test_a_failed_command_is_explained(output, line):
    assert bundle_install.explain(output).startswith(line)
