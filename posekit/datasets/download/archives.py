"""Unpacking archives that others made: nothing leaves the folder, nothing fills the disk, nothing is half there."""

import contextlib
import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from tqdm import tqdm

from posekit.datasets.download.manifest import check_space
from posekit.errors import DataError
from posekit.files import full_disk

RATIO, ALLOWANCE = 100, 10 << 20
"""An archive may grow to RATIO times its own size and ALLOWANCE bytes; one that grows further is a bomb."""
MOST_FILES = 1_000_000

_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
)


def extract(
    archive: Path, out: Path, keep: Callable[[str], bool] = lambda name: True, progress: bool = True
) -> int:
    """Unpack a tar (also compressed) or zip archive into a new folder.

    Members are streamed one by one, so that an archive of many GB needs no memory. Only files and folders are made, with
    the permissions of new files. Everything is written aside first: `out` appears whole or not at all.

    Args:
        archive: the file.
        out: the folder to make; it must not exist.
        keep: says of a file's name in the archive whether it is wanted.
        progress: show a bar.

    Returns:
        the number of files.

    Raises:
        DataError: when the archive is missing, damaged or none, when a member has an absolute path, a `..`, a drive or a name
            that came before, is a link or a device, when it all grows too large, or when the disk is full.
    """
    archive, out = Path(archive), Path(out)
    if not archive.is_file():
        raise DataError(archive, "is no file", "give the path of a tar or zip archive")
    if out.exists():
        raise DataError(out, "exists already", "give a new folder")
    aside = out.with_name(f".{out.name}.aside")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    most = archive.stat().st_size * RATIO + ALLOWANCE
    files = written = 0
    try:
        with tqdm(desc=f"unpacking {archive.name}", unit=" files", disable=not progress) as bar:
            for name, size, stream in _members(archive, aside):
                where = f"{archive}, member {name!r}"
                target = aside / _safe(name, where)
                if not keep(name):
                    continue
                files, written = files + 1, written + size
                if written > most or files > MOST_FILES:
                    problem = (
                        f"the archive grows beyond {most:,} bytes or {MOST_FILES:,} files: a bomb"
                    )
                    raise DataError(
                        where, problem, "delete it, and fetch it from a server that you trust"
                    )
                check_space(out, size)
                target.parent.mkdir(parents=True, exist_ok=True)
                with full_disk(out, written), target.open("xb") as file:
                    shutil.copyfileobj(stream, file, 1 << 20)
                if target.stat().st_size != size:
                    raise EOFError(f"{name} ends early")
                bar.update()
        aside.rename(out)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise DataError(
            where, "another member has the same name", "fetch the archive again"
        ) from None
    except _DAMAGE as error:
        raise DataError(
            archive, f"cannot be unpacked: {error}", "delete it and fetch it again"
        ) from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return files


@contextlib.contextmanager
def unpacked(
    archive: Path, keep: Callable[[str], bool] = lambda name: True, progress: bool = True
) -> Iterator[Path]:
    """The folder of an archive's files, beside the archive, for as long as the block lasts; see `extract`."""
    aside = archive.with_name(f".{archive.name}.unpacked")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        extract(archive, aside, keep, progress)
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _members(archive: Path, aside: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """(name, bytes, content) of each file, in the archive's order; folders are left out, anything else is refused."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise _special(archive, info.filename)
                if not info.is_dir():
                    with opened.open(info) as stream:
                        yield info.filename, info.file_size, stream
        return
    with tarfile.open(archive) as opened:
        while info := opened.next():
            if not (info.isfile() or info.isdir()):
                raise _special(archive, info.name)
            if info.isfile():
                _safe(info.name, f"{archive}, member {info.name!r}")
                tarfile.data_filter(info, str(aside))
                yield info.name, info.size, opened.extractfile(info)
            opened.members = []  # it would remember every member
        opened.fileobj.seek(opened.offset)
        if opened.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise EOFError("it ends in the middle")  # tarfile takes a broken header for the end
        while opened.fileobj.read(1 << 20):
            pass  # a compressed file's checksum is verified at its very end


def _special(archive: Path, name: str) -> DataError:
    problem = "is a link or a device, which a data set does not need"
    return DataError(
        f"{archive}, member {name!r}", problem, "fetch the archive from a server that you trust"
    )


def _safe(name: str, where: str) -> PurePosixPath:
    """A member's name as a path below the folder; raises `DataError` when it would leave it, on any system."""
    path, windows = PurePosixPath(name), PureWindowsPath(name)
    outside = path.is_absolute() or windows.drive or windows.root or ".." in windows.parts
    if outside or "\\" in name or "\0" in name or not path.parts:
        raise DataError(
            where, "its path leaves the folder", "fetch the archive from a server that you trust"
        )
    return path
