"""Find the image files that an annotation file names, in the layouts of the annotation tools.

CVAT writes `p1.jpg` for `images/default/p1.jpg`, Label Studio `images\\0a1b2c3d-p1.jpg`,
COCO Annotator `/datasets/mine/p1.jpg`, and Roboflow puts JSON and images into one folder.
"""

import os
import re
import unicodedata
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from posekit.datasets.coco_json import CocoImage
from posekit.errors import DataError

__all__ = ["ImageFinder", "folder_named"]

#: Names of folders that say nothing about which image is meant.
_LAYOUT = frozenset(
    "images image imgs img photos data default train training train2017 val valid validation "
    "val2017 test testing dev".split()
)
_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-(?=.)")


def folder_named(root: Path, name: str) -> Path | None:
    """The folder `name` in `root`, whatever its case; None where there is none."""
    exact = root / name
    if exact.is_dir():
        return exact
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    return next((path for path in folders if _fold(path.name) == _fold(name)), None)


class ImageFinder:
    """Find images by the names in an annotation file.

    Args:
        folder: the folder that file names start from. Where a name does not exist there exactly,
            the folders below are searched, without regard to case.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self._index: dict[str, list[tuple[str, ...]]] | None = None
        self._given: dict[Path, str] = {}

    def find(self, image: CocoImage) -> Path:
        """The file of an image.

        Returns:
            Its path. Where nothing fits: the path at which it was expected.

        Raises:
            DataError: when the entry has no file name, or when several files fit.
        """
        exact = self.folder / image.name
        if os.path.isfile(exact):  # noqa: PTH113 (False for names that no file can have)
            return exact
        for name in self._spellings(image):
            if found := self._search(name, image):
                if self._given.setdefault(found, image.name) != image.name:
                    problem = f"{image.name!r} and {self._given[found]!r} are both {found}"
                    raise DataError(image.where, problem, "give each image its own file")
                return found
        return exact

    def _spellings(self, image: CocoImage) -> list[str]:
        """The names to search for, the likeliest first."""
        names = []
        for name in (image.path, image.name):
            if name:
                local = name.replace("\\", "/")
                plain = unquote(local).split("?d=")[-1].split("?")[0]
                names += [local, re.sub(r"^[a-z0-9]+://[^/]*/|^[A-Za-z]:/", "/", plain)]
        names += [
            str(PurePosixPath(name).with_name(_UPLOAD_PREFIX.sub("", PurePosixPath(name).name)))
            for name in names
            if _UPLOAD_PREFIX.match(PurePosixPath(name).name)
        ]
        return list(dict.fromkeys(names))

    def _search(self, name: str, image: CocoImage) -> Path | None:
        wanted = [_fold(part) for part in PurePosixPath(name).parts if part not in ("/", ".", "..")]
        if not wanted:
            return None
        fits: dict[tuple[str, ...], int] = {}
        for parts in self._files().get(wanted[-1], ()):
            folded = [_fold(part) for part in parts]
            common = _common_suffix(wanted, folded)
            own = len([part for part in folded[:-1] if part not in _LAYOUT]) + 1
            if common == len(wanted) or common >= own:
                fits[parts] = common
        best = [parts for parts, common in fits.items() if common == max(fits.values())]
        same_case = [parts for parts in best if parts[-1] == PurePosixPath(name).name]
        best = same_case or best
        if len(best) > 1:
            files = ", ".join("/".join(parts) for parts in sorted(best)[:3])
            problem = f"several files in {self.folder} fit {image.name!r}: {files}"
            raise DataError(image.where, problem, "name the folder in file_name")
        return self.folder.joinpath(*best[0]) if best else None

    def _files(self) -> dict[str, list[tuple[str, ...]]]:
        """Folded file name -> the paths of such files below the folder, as parts."""
        if self._index is None:
            self._index = {}
            for folder, subfolders, files in os.walk(self.folder):
                subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
                parts = Path(folder).relative_to(self.folder).parts
                for name in files:
                    self._index.setdefault(_fold(name), []).append((*parts, name))
        return self._index


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _common_suffix(a: list[str], b: list[str]) -> int:
    count = 0
    while count < min(len(a), len(b)) and a[-1 - count] == b[-1 - count]:
        count += 1
    return count
