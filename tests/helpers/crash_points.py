"""kill -9 of a writer before each of its steps on the file system, and in the middle of its bytes.

    python tests/helpers/crash_points.py WRITER FOLDER

Each kill is that of a process of its own, forked from this one, which has loaded everything. After
each kill every file under its final name is what it was or what it will be; then the writer runs
once more, and its folder equals that of a run without a fault, but for empty lock files. Prints
JSON.
"""

import json
import os
import random
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"}
BYTES = 8
"""Kills in the middle of the bytes, per writer."""


def contents(folder: Path) -> dict[str, bytes]:
    """Return path -> bytes of all files below a folder; {} if there is none."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def is_hidden(name: str) -> bool:
    """Return whether a file or one of its folders is hidden: it is no result."""
    return any(part.startswith(".") for part in name.split("/")) or ".part" in name


def killed(write: Callable[[], object], prepare: Callable[[], object]) -> bool:
    """Run `write` in a forked process, after `prepare`; return whether a signal killed it."""
    pid = os.fork()
    if pid == 0:
        try:
            prepare()
            write()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise AssertionError("the writer failed; see above")
    return os.WIFSIGNALED(status)


def before_step(step: int, folder: Path) -> None:
    """Arrange that this process kills itself before it changes anything in a folder for the
    `step`-th time: opens a file to write, renames, removes or makes something."""
    count = 0
    root = str(folder)

    def watch(event: str, arguments: tuple) -> None:
        nonlocal count
        if event == "open":
            path, mode, flags = arguments
            changes = set(mode or "") & set("wax+") or flags & (os.O_WRONLY | os.O_RDWR)
        elif event in CHANGES:
            path, changes = arguments[0], True
        else:
            return
        if changes and isinstance(path, str | os.PathLike) and str(path).startswith(root):
            count += 1
            if count > step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def at_byte(limit: int) -> None:
    """Arrange that the system kills this process when it writes beyond a byte of any file."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def kill_everywhere(write: Callable[[Path], object], folder: Path, seed: int) -> dict:
    """Kill a writer before each step, and at random bytes, each time from the same beginning.

    Args:
        write: writes into a folder, which it may find as a killed process left it.
        folder: for all copies; `folder/old` is what is there before, if anything.
        seed: of the bytes.

    Returns:
        `steps` and `bytes`: kills before a step on the file system, and at a byte.
    """
    old = folder / "old"
    old.mkdir(exist_ok=True)
    whole = folder / "whole"
    shutil.copytree(old, whole)
    write(whole)
    wanted = contents(whole)
    before = contents(old)
    count = {"steps": 0, "bytes": 0}

    def attempt(kind: str, prepare: Callable[[Path], object]) -> bool:
        out = folder / "killed"
        shutil.copytree(old, out)
        was_killed = killed(lambda: write(out), lambda: prepare(out))
        for name, data in contents(out).items():
            if not is_hidden(name):
                assert data in (before.get(name), wanted.get(name)), f"{kind}: {name} is partial"
        write(out)
        found = contents(out)
        assert found == wanted, f"{kind}: {found.keys() ^ wanted.keys()} or their bytes differ"
        shutil.rmtree(out)
        count[kind] += was_killed
        return was_killed

    while attempt("steps", lambda out: before_step(count["steps"], out)):
        pass
    rng = random.Random(seed)
    largest = max(map(len, wanted.values()))
    for _ in range(BYTES):
        limit = rng.randrange(largest)
        assert attempt("bytes", lambda out, limit=limit: at_byte(limit)), limit
    return count


# ---- writers ------------------------------------------------------------------------------------


def records(folder: Path) -> Callable[[Path], object]:
    """The writer of records, with --resume."""
    import tiny_data

    from posekit.datasets import coco
    from posekit.records import CropSettings, write_records

    path, _ = tiny_data.coco(folder / "coco", photos=3, people=2)
    people = list(coco.read(path, folder / "coco" / "train2017"))
    settings = CropSettings(box_px=64)

    def write(out: Path) -> None:
        write_records(people, out, "tiny", "train", settings, shards=3, resume=True, progress=False)

    return write


def download(folder: Path) -> Callable[[Path], object]:
    """`download.fetch`, from a server on 127.0.0.1."""
    from faulty_server import FaultyServer

    from posekit.datasets import download

    server = FaultyServer({"/file.bin": random.Random(1).randbytes(300_001)})
    server.__enter__()

    def write(out: Path) -> None:
        download._threads.__dict__.clear()  # a forked process has no connection of its parent's
        with download.open_folder(out) as manifest:
            url = f"{server.url}/file.bin"
            download.fetch(url, out / "file.bin", manifest, progress=False)

    return write


def archive(folder: Path) -> Callable[[Path], object]:
    """`archives.extract` of a zip file."""
    import zipfile

    from posekit.datasets.download import archives

    with zipfile.ZipFile(folder / "x.zip", "w") as file:
        for name in ("a/1.txt", "a/b/2.txt", "3.txt"):
            file.writestr(name, name * 5000)

    def write(out: Path) -> None:
        if not (out / "unpacked").exists():
            archives.extract(folder / "x.zip", out / "unpacked", progress=False)

    return write


def results(folder: Path) -> Callable[[Path], object]:
    """The writer of `evaluate --results` and `predict --draw`, over older files."""
    from posekit import cli

    (folder / "old").mkdir()
    for name in ("results.json", "a.pose.jpg"):
        (folder / "old" / name).write_bytes(b"old" * 1000)

    def write(out: Path) -> None:
        cli._write_files(
            out, {out / "results.json": b"[1]" * 2000, out / "a.pose.jpg": b"x" * 5000}
        )

    return write


def run_record(folder: Path) -> Callable[[Path], object]:
    """`notebook.runs.write`, over an older record."""
    from posekit import training
    from posekit.notebook import runs

    origin = training.provenance()
    training.provenance = lambda: origin  # asks git once, not in each fork

    def write(out: Path) -> None:
        (out / "book" / "runs").mkdir(parents=True, exist_ok=True)
        (out / "_config.yml").touch()
        os.chdir(out)
        rows = [[k, k**2] for k in range(200)]
        runs.write("speed", "a test", "none", {"values": rows}, ("run", "value"), rows)
        os.chdir(folder)

    write(folder / "old")
    record = folder / "old" / "book" / "runs" / "speed" / "record.json"
    record.write_text(record.read_text().replace("a test", "an older test"))
    return write


def atomic_folder(folder: Path) -> Callable[[Path], object]:
    """`files.atomic_folder`, with which MiniDome is made."""
    from posekit import files

    def write(out: Path) -> None:
        if (out / "set").exists():
            return
        with files.atomic_folder(out / "set") as part:
            for name in ("a", "b"):
                (part / name).write_bytes(name.encode() * 4000)

    return write


WRITERS = {
    function.__name__: function
    for function in (records, download, archive, results, run_record, atomic_folder)
}

if __name__ == "__main__":
    name, place, seed = sys.argv[1:]
    base = Path(place).resolve()
    print(json.dumps(kill_everywhere(WRITERS[name](base), base, int(seed))))
