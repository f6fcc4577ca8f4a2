"""Unpack archives from untrusted sources: inside one folder, within limits, all or nothing."""

import contextlib
import errno
import gzip
import lzma
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from tqdm import tqdm

from posekit.datasets.download.manifest import check_space
from posekit.errors import DataError
from posekit.files import full_disk, hidden_path

__all__ = ["extract", "unpacked"]

MAX_RATIO = 100
MAX_EXTRA_BYTES = 10 << 20
"""An archive may grow to MAX_RATIO times its size plus MAX_EXTRA_BYTES; a larger one is a bomb."""
MAX_FILES = 1_000_000

_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    ValueError,
    LookupError,
    OverflowError,
    struct.error,
)
_IMPOSSIBLE = {errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ}
"""System errors of a position before the file's start, and of a name that no file can have."""


def extract(
    archive: Path, out: Path, keep: Callable[[str], bool] = lambda name: True, progress: bool = True
) -> int:
    """Unpack a tar (also compressed) or zip archive into a new folder.

    Members are streamed one by one, so that an archive of many GB needs no memory. Only files and
    folders are created, with the permissions of new files. Everything is written to a temporary
    folder first: `out` appears complete or not at all.

    Args:
        archive: the file.
        out: the folder to create; it must not exist.
        keep: tells by a file's name in the archive whether it is wanted.
        progress: show a bar.

    Returns:
        The number of files.

    Raises:
        DataError: when the archive is missing, damaged or not an archive, when a member has an
            absolute path, a `..`, a drive or a name that came before, is a link or a device, when
            the content grows too large, or when the disk is full.
    """
    archive = Path(archive)
    out = Path(out)
    if not archive.is_file():
        raise DataError(archive, "is not a file", "give the path of a tar or zip archive")
    if out.exists():
        raise DataError(out, "exists already", "give a new folder")
    temporary = hidden_path(out, "temporary")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    max_bytes = archive.stat().st_size * MAX_RATIO + MAX_EXTRA_BYTES
    files = written = 0
    try:
        with tqdm(desc=f"unpacking {archive.name}", unit=" files", disable=not progress) as bar:
            for name, size, stream in _members(archive, temporary):
                where = f"{archive}, member {name!r}"
                target = temporary / _safe(name, where)
                if not keep(name):
                    continue
                files += 1
                written += size
                if written > max_bytes or files > MAX_FILES:
                    limits = f"{max_bytes:,} bytes or {MAX_FILES:,} files"
                    problem = f"the archive grows beyond {limits}: a bomb"
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
        temporary.rename(out)
    except DataError:
        raise
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise DataError(
            where, "another member has the same name", "fetch the archive again"
        ) from None
    except _DAMAGE as error:
        raise DataError(
            archive, f"cannot be unpacked: {error}", "delete it and fetch it again"
        ) from None
    except OSError as error:
        if error.errno not in _IMPOSSIBLE:
            raise
        problem = f"cannot be unpacked: {error.strerror}"
        raise DataError(archive, problem, "delete it and fetch it again") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return files


@contextlib.contextmanager
def unpacked(
    archive: Path, keep: Callable[[str], bool] = lambda name: True, progress: bool = True
) -> Iterator[Path]:
    """Extract an archive into a folder next to it for the duration of the block; see `extract`."""
    temporary = hidden_path(archive, "unpacked")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        extract(archive, temporary, keep, progress)
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _members(archive: Path, temporary: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Yield (name, bytes, content) of each file; skip folders, refuse links and devices."""
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
                tarfile.data_filter(info, str(temporary))
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
    """A member's name as a relative path; raises `DataError` when it leaves the folder."""
    path = PurePosixPath(name)
    windows = PureWindowsPath(name)
    outside = path.is_absolute() or windows.drive or windows.root or ".." in windows.parts
    if outside or "\\" in name or "\0" in name or not path.parts:
        raise DataError(
            where, "its path leaves the folder", "fetch the archive from a server that you trust"
        )
    return path
