"""Parse COCO keypoint JSON into a typed structure: the one parser for records and for evaluation.

It reads the official files (https://cocodataset.org/#format-data) and what annotation tools export
in their layout: joints in another order and spelling, other categories, boxes without keypoints,
numbers written as text. Chapter 02 lists the differences.
"""

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np

from posekit.datasets import read_json, skip_errors
from posekit.datasets.foreign_formats import refuse_content
from posekit.datasets.joint_names import joint_of
from posekit.errors import DataError
from posekit.skeleton import COCO17

__all__ = [
    "MAX_COORDINATE",
    "CocoCategory",
    "CocoFile",
    "CocoImage",
    "CocoPerson",
    "canonical_id",
    "numbers_of",
    "parse",
]

K = len(COCO17)

MAX_COORDINATE = 1e6
"""Pixels: no image reaches so far."""

LABELLED = "l"
OUTSIDE = "o"
UNSURE = "u"
"""Letters of an annotation's `state`, one per joint."""

OTHER_CATEGORY = "of another category"
NO_KEYPOINTS = "without keypoints"
"""Reasons for which annotations are filtered while a file is parsed."""

_FIX = "fix or remove the annotation"
_PERSON_NAMES = frozenset(
    "person persons people human humans humanbody humanpose personpose humanbeing pedestrian "
    "pedestrians man woman men women boy girl child adult".split()
)
_PERSON_WORDS = frozenset({"person", "people", "human", "pedestrian"})


@dataclass(frozen=True)
class CocoImage:
    """One entry of `images`.

    Args:
        id: as in the file.
        key: canonical id, see `canonical_id`.
        where: the file and this entry, for errors.
        file_name: with forward slashes, or None where the entry has none.
        size: (width, height) that the annotations were made for, or None where the file does not
            say it.
        path: path on the annotation server (COCO Annotator's `path`), or None.
    """

    id: Hashable
    key: Hashable
    where: str
    file_name: str | None
    size: tuple[int, int] | None
    path: str | None = None

    @property
    def name(self) -> str:
        """`file_name`; raises `DataError` where the entry has none."""
        if self.file_name is None:
            raise DataError(self.where, "has no file_name", "name the image's file")
        return self.file_name


@dataclass(frozen=True)
class CocoCategory:
    """One category of people.

    Args:
        id: as in the file; None where the file has no categories.
        key: canonical id, see `canonical_id`.
        name: as in the file.
        joints: for each keypoint of an annotation, in its order, the joint of COCO-17, or None.
    """

    id: Hashable
    key: Hashable
    name: str
    joints: tuple[str | None, ...]

    @cached_property
    def _indices(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions of the joints that both have: in the file's order, and in COCO-17's."""
        ours = [k for k, joint in enumerate(self.joints) if joint]
        return np.array(ours, int), np.array([COCO17.index(self.joints[k]) for k in ours], int)

    def to_coco17(self, values: np.ndarray) -> np.ndarray:
        """Reorder (len(joints), ...) per-joint values into (17, ...); what is missing is 0."""
        ours, theirs = self._indices
        out = np.zeros((K, *values.shape[1:]), values.dtype)
        out[theirs] = values[ours]
        return out

    def from_coco17(self, values: np.ndarray) -> np.ndarray:
        """Reorder (17, ...) per-joint values into the file's order; what is missing is 0."""
        ours, theirs = self._indices
        out = np.zeros((len(self.joints), *values.shape[1:]), values.dtype)
        out[ours] = values[theirs]
        return out


@dataclass(frozen=True)
class CocoPerson:
    """One annotation of a person.

    Args:
        id: as in the file.
        where: the file, the annotation and its image, for errors.
        image: its image.
        category: its category.
        keypoints: (17, 2) float64 pixels in the order of COCO-17; 0 where v = 0.
        visible: (17,) int64, COCO's v: 0, 1 or 2.
        known: (17,) bool, see `PersonAnnotation.joint_known`.
        bbox: (4,) float64 x, y, w, h, or None where the file has none.
        area: pixels squared as in the file, or None.
        area_exact: the area is COCO's own, not an estimate (`area_source`).
        crowd: a group of people; its keypoints do not count.
    """

    id: Hashable
    where: str
    image: CocoImage
    category: CocoCategory
    keypoints: np.ndarray
    visible: np.ndarray
    known: np.ndarray
    bbox: np.ndarray | None
    area: float | None
    area_exact: bool
    crowd: bool

    @property
    def labelled(self) -> np.ndarray:
        """(17,) bool: joints with coordinates (v >= 1)."""
        return self.visible >= 1


@dataclass(frozen=True)
class CocoFile:
    """A parsed annotation file. Annotations are parsed one by one, in `people`.

    Args:
        path: the file.
        images: canonical id -> image, see `canonical_id`.
        categories: canonical id -> category of people.
        other_categories: canonical ids of all other categories.
        annotations: the entries as in the file.
        notes: what a reader should know: categories and joints that were left out.
    """

    path: Path
    images: dict[Hashable, CocoImage]
    categories: dict[Hashable, CocoCategory]
    other_categories: frozenset
    annotations: list
    notes: tuple[str, ...]

    def people(
        self, filtered: Counter | None = None, skipped: list[dict] | None = None
    ) -> Iterator[CocoPerson]:
        """Yield the people in the file's order: crowds and people without a labelled joint too.

        Args:
            filtered: gets the number of annotations left out, by reason: other categories, and
                annotations that have no keypoints (boxes, masks, empty tracks).
            skipped: see `posekit.datasets.read`.

        Raises:
            DataError: naming the annotation, when it cannot be used.
        """
        filtered = Counter() if filtered is None else filtered
        known_ids: set = set()
        for position, entry in enumerate(self.annotations):
            with skip_errors(f"annotation {position + 1} of {self.path.name}", skipped):
                if reason := self._reason_filtered(entry, position):
                    filtered[reason] += 1
                    continue
                yield self._person(entry, position, known_ids)

    def boxes(self) -> dict[Hashable, list[np.ndarray | None]]:
        """Boxes of all annotations of any category, by the canonical id of their image.

        Raises:
            DataError: naming the annotation whose image or box cannot be used.
        """
        boxes: dict[Hashable, list[np.ndarray | None]] = {}
        for position, entry in enumerate(self.annotations):
            where = f"{self.path}, annotation number {position + 1}"
            if not isinstance(entry, dict):
                raise DataError(where, f"is {_short(entry)}, expected an object", _FIX)
            image = self._image(entry, where)
            box = _bbox(entry.get("bbox"), where)
            boxes.setdefault(image.key, []).append(box)
        return boxes

    def _reason_filtered(self, entry: object, position: int) -> str | None:
        if not isinstance(entry, dict):
            where = f"{self.path}, annotation number {position + 1}"
            raise DataError(where, f"is {_short(entry)}, expected an object", _FIX)
        if _canonical_or_none(entry.get("category_id")) in self.other_categories:
            return OTHER_CATEGORY
        if not _is_crowd(entry) and not _has_keypoints(entry):
            return NO_KEYPOINTS
        return None

    def _person(self, entry: dict, position: int, known_ids: set) -> CocoPerson:
        where = f"{self.path}, annotation number {position + 1}"
        identity = canonical_id(entry.get("id"), "id", where)
        where = f"{self.path}, annotation {entry['id']}"
        image = self._image(entry, where)
        where += f" ({image.file_name or f'image {image.id}'})"
        if identity in known_ids:
            problem = f"a second annotation with id {entry['id']!r}"
            raise DataError(where, problem, "give each annotation its own id")
        known_ids.add(identity)
        category = self._category(entry, where)
        crowd = _is_crowd(entry)
        try:
            keypoints, visible, known = _keypoints(entry, category, where)
            bbox = _bbox(entry.get("bbox"), where)
            area = _area(entry.get("area"), where)
        except DataError:
            if not crowd:
                raise
            keypoints, visible, known = _no_keypoints()
            bbox = area = None
        return CocoPerson(
            id=entry["id"],
            where=where,
            image=image,
            category=category,
            keypoints=keypoints,
            visible=visible,
            known=known,
            bbox=bbox,
            area=area,
            area_exact=entry.get("area_source", "coco") == "coco",
            crowd=crowd,
        )

    def _image(self, entry: dict, where: str) -> CocoImage:
        if "image_id" not in entry:
            raise DataError(where, "has no image_id", "give it the id of an entry of images")
        image = self.images.get(_canonical_or_none(entry["image_id"]))
        if image is None:
            problem = f"unknown image_id {_short(entry['image_id'])}"
            raise DataError(where, problem, f"it must be the id of an image in {self.path.name}")
        return image

    def _category(self, entry: dict, where: str) -> CocoCategory:
        if None in self.categories:  # the file has no categories
            return self.categories[None]
        if "category_id" not in entry:
            raise DataError(where, "has no category_id", "give it the id of a category")
        category = self.categories.get(_canonical_or_none(entry["category_id"]))
        if category is None:
            problem = f"unknown category_id {_short(entry['category_id'])}"
            raise DataError(where, problem, f"it must be the id of a category in {self.path.name}")
        return category


def parse(path: str | Path) -> CocoFile:
    """Parse a COCO keypoint file.

    A person's joints go by the names in `categories[].keypoints`, in whatever order; see
    `joint_of` for the spellings. Without names they are COCO-17's. People are the annotations of
    the category that is called person (or human, pedestrian, ...), else of the only one that has a
    skeleton with joints of COCO-17.

    Args:
        path: the JSON.

    Returns:
        The images, the categories of people, and the annotations.

    Raises:
        DataError: when the file is not COCO JSON (with the way to convert it, where the format is
            known), when an image or category cannot be used, or when it is not clear which
            category is a person.
    """
    path = Path(path)
    data = read_json(path)
    refuse_content(path, data)
    for key in ("images", "annotations"):
        if not isinstance(data, dict) or not isinstance(data.get(key), list):
            problem = f"no list {key!r}: not a COCO annotation file"
            raise DataError(path, problem, "give COCO keypoint JSON (person_keypoints_*.json)")
    categories, others, notes = _categories(data, path)
    return CocoFile(
        path=path,
        images=_images(data["images"], path),
        categories=categories,
        other_categories=others,
        annotations=data["annotations"],
        notes=notes,
    )


# ---- ids and numbers -----------------------------------------------------------------------------


def canonical_id(value: object, name: str, where: str) -> Hashable:
    """An id by which entries find each other: 1, 1.0 and "1" are the same one.

    Raises:
        DataError: when it is neither a whole number nor a string.
    """
    if value is None:
        raise DataError(where, f"has no {name!r}", "give it a whole number")
    found = _canonical_or_none(value)
    if found is None:
        raise DataError(where, f"has the {name} {_short(value)}", "give it a whole number")
    return found


def _canonical_or_none(value: object) -> Hashable:
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, str):
        text = value.strip()
        digits = text.removeprefix("-")
        plain = digits.isascii() and digits.isdigit() and len(digits) < 19
        return int(text) if plain and str(int(text)) == text else text or None
    return value if isinstance(value, int) else None


def numbers_of(values: object) -> np.ndarray | None:
    """A list of numbers, or of their spellings ("2", "2.0"), as float64; None becomes NaN.

    Returns:
        An array of whatever shape the list has, or None where it is not made of numbers.
    """
    if not isinstance(values, list) or any(isinstance(value, bool) for value in values):
        return None
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        return None


def _whole_number(value: object) -> int | None:
    """A positive whole number of pixels; None for what tools write when they do not know it."""
    if value in (None, "", 0):
        return None
    number = numbers_of([value])
    if (
        number is None
        or number.shape != (1,)
        or not np.isfinite(number[0])
        or number[0] < 0
        or number[0] % 1
    ):
        raise ValueError(value)
    return int(number[0]) or None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


# ---- images --------------------------------------------------------------------------------------


def _images(entries: list, path: Path) -> dict[Hashable, CocoImage]:
    images: dict[Hashable, CocoImage] = {}
    for position, entry in enumerate(entries):
        where = f"{path}, image number {position + 1}"
        if not isinstance(entry, dict):
            raise DataError(where, f"is {_short(entry)}, expected an object", "fix the entry")
        identity = canonical_id(entry.get("id"), "id", where)
        if identity in images:
            problem = f"a second image with id {entry['id']!r}"
            raise DataError(where, problem, "give each image its own id")
        try:
            size = _whole_number(entry.get("width")), _whole_number(entry.get("height"))
        except ValueError as error:
            problem = f"width or height is {error}"
            raise DataError(where, problem, "expected a whole number of pixels") from None
        server_path = entry.get("path")
        images[identity] = CocoImage(
            id=entry["id"],
            key=identity,
            where=where,
            file_name=_file_name(entry.get("file_name"), where),
            size=None if None in size else size,
            path=server_path if isinstance(server_path, str) else None,
        )
    return images


def _file_name(value: object, where: str) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(where, f"file_name is {_short(value)}", "name the image's file")
    name = str(value).replace("\\", "/")
    if not PurePosixPath(name).name or "\0" in name:
        raise DataError(where, f"file_name is {_short(value)}", "name the image's file")
    return name


# ---- categories ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Candidate:
    """A category, and its keypoints as the file names them."""

    category: CocoCategory
    where: str
    given: tuple[str, ...]

    @property
    def matched(self) -> int:
        """Number of its keypoints that are joints of COCO-17."""
        return sum(joint is not None for joint in self.category.joints)

    @property
    def exactly_person(self) -> bool:
        return "".join(_words(self.category.name)) in _PERSON_NAMES

    @property
    def mentions_person(self) -> bool:
        return bool(_PERSON_WORDS & set(_words(self.category.name)))


def _words(name: str) -> list[str]:
    letters = "".join(c if c.isalnum() else " " for c in name.casefold())
    return letters.split()


def _categories(
    data: dict, path: Path
) -> tuple[dict[Hashable, CocoCategory], frozenset, tuple[str, ...]]:
    """The categories of people, the canonical ids of all others, and notes."""
    entries = data.get("categories")
    if entries is None or entries == []:
        return {None: CocoCategory(None, None, "person", COCO17.joints)}, frozenset(), ()
    if not isinstance(entries, list):
        raise DataError(path, "categories is not a list", "give COCO keypoint JSON")
    used = {
        _canonical_or_none(entry.get("category_id"))
        for entry in data["annotations"]
        if isinstance(entry, dict) and _has_keypoints(entry)
    }
    candidates: dict[Hashable, _Candidate] = {}
    for position, entry in enumerate(entries):
        candidate = _candidate(entry, position, path)
        if candidate.category.key in candidates:
            problem = f"a second category with id {entry['id']!r}"
            raise DataError(candidate.where, problem, "give each category its own id")
        candidates[candidate.category.key] = candidate
    pool = [candidate for candidate in candidates.values() if candidate.category.key in used]
    chosen = _people_among(pool, path) if pool else _unused_people(list(candidates.values()))
    for candidate in chosen:
        _refuse_twins(candidate)
    others = frozenset(candidates) - {candidate.category.key for candidate in chosen}
    notes = [
        note for candidate in chosen if candidate.category.key in used for note in _notes(candidate)
    ]
    return {c.category.key: c.category for c in chosen}, others, tuple(notes)


def _candidate(entry: object, position: int, path: Path) -> _Candidate:
    where = f"{path}, category number {position + 1}"
    if not isinstance(entry, dict):
        raise DataError(where, f"is {_short(entry)}, expected an object", "fix the entry")
    key = canonical_id(entry.get("id"), "id", where)
    name = entry.get("name")
    name = name if isinstance(name, str) and name else f"number {position + 1}"
    names = entry.get("keypoints") or []
    if not isinstance(names, list):
        names = [f"not a list: {_short(names)}"]  # refused, if the category is used
    given = tuple(str(joint) for joint in names)
    joints = tuple(joint_of(joint) for joint in given) if given else COCO17.joints
    return _Candidate(
        category=CocoCategory(entry["id"], key, name, joints),
        where=f"{path}, category {name!r}",
        given=given,
    )


def _people_among(pool: list[_Candidate], path: Path) -> list[_Candidate]:
    """Return the categories with keypoints that are people; raise `DataError` if unclear."""
    exact = [candidate for candidate in pool if candidate.exactly_person]
    possible = [c for c in pool if c.given or c.mentions_person or len(pool) == 1]
    usable = [candidate for candidate in exact or possible if candidate.matched]
    if not usable:
        raise _unusable(exact or possible or pool, path)
    return usable if exact else [_clearest(usable, path)]


def _clearest(usable: list[_Candidate], path: Path) -> _Candidate:
    """The category that has by far the most joints of COCO-17, or mentions a person in its name."""
    most = max(candidate.matched for candidate in usable)
    rivals = [candidate for candidate in usable if 2 * candidate.matched > most]
    rivals = [candidate for candidate in rivals if candidate.mentions_person] or rivals
    if len(rivals) > 1:
        names = ", ".join(repr(candidate.category.name) for candidate in rivals)
        problem = f"categories {names} have a skeleton each, and none is called person"
        raise DataError(path, problem, "rename the one to be read to person, or remove the others")
    return rivals[0]


def _unusable(candidates: list[_Candidate], path: Path) -> DataError:
    """The error that says why none of these categories can be read."""
    first = candidates[0]
    if not first.given:
        names = ", ".join(repr(candidate.category.name) for candidate in candidates)
        problem = f"categories {names} have keypoints, but no names for them"
        return DataError(path, problem, "call one of them person, or name its keypoints")
    given = ", ".join(first.given[:5]) + (", ..." if len(first.given) > 5 else "")
    problem = f"none of its keypoints ({given}) is a joint of COCO-17"
    return DataError(first.where, problem, f"rename them: {', '.join(COCO17.joints)}")


def _unused_people(candidates: list[_Candidate]) -> list[_Candidate]:
    """The categories of people of a file in which no annotation has keypoints."""
    exact = [candidate for candidate in candidates if candidate.exactly_person]
    named = [candidate for candidate in candidates if candidate.given]
    return [c for c in exact or named or candidates if c.matched]


def _refuse_twins(candidate: _Candidate) -> None:
    counts = Counter(joint for joint in candidate.category.joints if joint)
    for joint, count in counts.items():
        if count > 1:
            twins = [
                name
                for name, found in zip(candidate.given, candidate.category.joints, strict=True)
                if found == joint
            ]
            problem = f"{count} of its keypoints are the {joint}: {', '.join(twins)}"
            raise DataError(candidate.where, problem, "name each joint once")


def _notes(candidate: _Candidate) -> Iterator[str]:
    name = candidate.category.name
    if not candidate.exactly_person:
        yield f"category {name!r} is read as people: no other one has such a skeleton"
    joints = candidate.category.joints
    unknown = [given for given, joint in zip(candidate.given, joints, strict=False) if not joint]
    if unknown:
        yield f"category {name!r}: keypoints that are no joints of COCO-17: {', '.join(unknown)}"
    missing = [joint for joint in COCO17.joints if joint not in joints]
    if missing:
        yield f"category {name!r}: joints of COCO-17 that it does not name: {', '.join(missing)}"


# ---- annotations ---------------------------------------------------------------------------------


def _has_keypoints(entry: dict) -> bool:
    return entry.get("keypoints") not in (None, [], "")


def _is_crowd(entry: dict) -> bool:
    """`iscrowd`, absent, null, a number, a boolean or the spelling of one."""
    value = entry.get("iscrowd")
    return str(value).strip().lower() not in ("none", "", "0", "0.0", "false")


def _no_keypoints() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.zeros((K, 2)), np.zeros(K, np.int64), np.zeros(K, bool)


def _keypoints(
    entry: dict, category: CocoCategory, where: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates (17, 2), v (17,) and which joints are known (17,), in the order of COCO-17."""
    if not _has_keypoints(entry):
        return _no_keypoints()
    joints = _triples(entry["keypoints"], category, where)
    unknown = np.isnan(joints).all(axis=1)  # null, null, null: a gap in a table
    v = np.where(unknown, 0, joints[:, 2])
    if not np.all(np.isin(v, (0, 1, 2))):
        raise DataError(where, f"v is {sorted(set(v.tolist()))}, expected 0, 1 or 2", _FIX)
    labelled = v > 0
    if not np.all(np.abs(joints[labelled, :2]) < MAX_COORDINATE):  # NaN is not less
        problem = "keypoints hold NaN, infinity, null or numbers beyond any image"
        raise DataError(where, problem, _FIX)
    if entry.get("state") is not None:
        unsure = _unsure(entry["state"], v, where)
        labelled &= ~unsure
        unknown |= unsure
    xy = np.where(labelled[:, None], joints[:, :2], 0)
    return (
        category.to_coco17(xy),
        category.to_coco17(np.where(labelled, v, 0).astype(np.int64)),
        category.to_coco17(~unknown),
    )


def _triples(values: object, category: CocoCategory, where: str) -> np.ndarray:
    """(N, 3) float64 x, y, v of the category's N keypoints, flat or nested in the file."""
    count = len(category.joints)
    if not isinstance(values, list):
        problem = f"keypoints are {_short(values)}, not a list of numbers"
        raise DataError(where, problem, _FIX)
    numbers = numbers_of(values)
    if numbers is None:
        raise DataError(where, "keypoints hold something that is not a number", _FIX)
    if numbers.shape not in ((3 * count,), (count, 3)):
        shape = numbers.size if numbers.ndim == 1 else f"{numbers.shape} nested"
        problem = (
            f"keypoints hold {shape} numbers, expected {3 * count} "
            f"(x, y, v of the {count} joints of category {category.name!r})"
        )
        raise DataError(where, problem, _FIX)
    return numbers.reshape(count, 3)


def _unsure(state: object, v: np.ndarray, where: str) -> np.ndarray:
    """(N,) bool: joints of which nothing is known, by `state`: one letter l, o or u per joint."""
    letters = f"{LABELLED} labelled, {OUTSIDE} outside the image, {UNSURE} unsure"
    if not isinstance(state, str) or len(state) != len(v):
        problem = f"state {_short(state)} is not a string of {len(v)} letters"
        raise DataError(where, problem, f"give one letter per joint: {letters}")
    if wrong := sorted(set(state) - {LABELLED, OUTSIDE, UNSURE}):
        raise DataError(where, f"state holds {', '.join(wrong)}", f"expected {letters}")
    for number, (letter, flag) in enumerate(zip(state, v, strict=True)):
        if letter != UNSURE and (letter == LABELLED) != (flag > 0):
            problem = f"state {letter!r} of joint {number} does not fit its v = {flag:g}"
            hint = f"{LABELLED} needs v = 1 or 2, {OUTSIDE} needs v = 0"
            raise DataError(where, problem, hint)
    return np.array([letter == UNSURE for letter in state])


def _bbox(value: object, where: str) -> np.ndarray | None:
    """(4,) float64 x, y, w, h; None where there is none, or one of no size, as tools write it."""
    hint = "it is x, y, width and height in pixels; fix or remove it"
    if value is None or value == []:
        return None
    bbox = numbers_of(value)
    if bbox is None:
        raise DataError(where, f"bbox {_short(value)} is not made of numbers", hint)
    if bbox.shape != (4,):
        raise DataError(where, f"bbox has shape {bbox.shape}, expected 4 numbers", hint)
    if np.all(np.isnan(bbox)):  # four times null
        return None
    if not np.all(np.abs(bbox) < MAX_COORDINATE):
        problem = "bbox holds NaN, infinity, null or numbers beyond any image"
        raise DataError(where, problem, hint)
    if np.all(bbox[2:] == 0):
        return None
    if not np.all(bbox[2:] > 0):
        raise DataError(where, f"empty box {bbox.tolist()}", _FIX)
    return bbox


def _area(value: object, where: str) -> float | None:
    if value is None:
        return None
    area = numbers_of([value])
    if area is None:
        raise DataError(where, f"area {_short(value)} is not a number", _FIX)
    if not (area.shape == (1,) and np.isfinite(area[0]) and area[0] >= 0):
        raise DataError(where, f"area is {_short(value)}, expected a number >= 0", _FIX)
    return float(area[0])
