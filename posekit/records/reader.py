"""Reader of record folders: verifies every byte; `check` names all damage at once (chapter 03)."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from posekit.datasets import read_json
from posekit.errors import DataError
from posekit.files import local_path
from posekit.images import decode_image
from posekit.records.schema import SCHEMA_VERSION, PersonRecord, decode_person
from posekit.records.tfrecord import parse_example, read_payloads, scan

MANIFEST = "manifest.json"
_NAME_BYTES = 255
"""Longest name of a file, in the file systems in use."""


def read_manifest(directory: str | Path) -> dict:
    """Read the manifest of a record folder.

    Raises:
        DataError: when there is none, it is damaged, or its schema version is another.
    """
    path = local_path(directory) / MANIFEST
    if not path.is_file():
        raise DataError(
            directory, f"no records: no {MANIFEST} there", "build them with build_tfrecords.py"
        )
    manifest = read_json(path)
    if not isinstance(manifest, dict) or manifest.get("schema_version") != SCHEMA_VERSION:
        version = manifest.get("schema_version") if isinstance(manifest, dict) else None
        raise DataError(
            path,
            f"schema version {version!r}, expected {SCHEMA_VERSION}",
            "build the records again",
        )
    if missing := {"shards", "box_px", "people"} - manifest.keys():
        raise DataError(path, f"has no {min(missing)}", "build the records again")
    for key in {"box_px", "stored_px", "people"} & manifest.keys():
        if type(manifest[key]) is not int or manifest[key] < 0:
            problem = f"{key} is {manifest[key]!r}, expected a whole number"
            raise DataError(path, problem, "build the records again")
    shards = manifest["shards"]
    if not isinstance(shards, list) or not all(map(_is_shard, shards)):
        problem = "its list of shards cannot be read: each has file, people, bytes and sha256"
        raise DataError(path, problem, "build the records again")
    return manifest


def _is_shard(entry: object) -> bool:
    """Whether an entry of a manifest describes a shard: a file of this folder, and its sizes."""
    if not isinstance(entry, dict):
        return False
    name = entry.get("file")
    return (
        isinstance(name, str)
        and Path(name).name == name
        and name.isprintable()
        and len(name.encode()) <= _NAME_BYTES
        and type(entry.get("people")) is int
        and type(entry.get("bytes")) is int
        and isinstance(entry.get("sha256"), str)
    )


def shard_paths(directory: str | Path) -> list[Path]:
    """Return the paths of the shards that the manifest lists, in order.

    Raises:
        DataError: when one of them is missing or has another size than the manifest says.
    """
    paths = []
    for shard in sorted(read_manifest(directory)["shards"], key=lambda shard: shard["file"]):
        path = local_path(directory) / shard["file"]
        size = path.stat().st_size if path.is_file() else None
        if size != shard["bytes"]:
            problem = (
                "is missing"
                if size is None
                else f"has {size} bytes, the manifest says {shard['bytes']}"
            )
            raise DataError(path, problem, "copy or build the records again")
        paths.append(path)
    return paths


def read_records(directory: str | Path) -> Iterator[PersonRecord]:
    """Yield the people of a record folder, shard by shard, each record verified.

    Raises:
        DataError: naming the shard, and the byte or the record, when something is missing or
            damaged.
    """
    for path in shard_paths(directory):
        for number, payload in enumerate(read_payloads(path)):
            yield decode_person(payload, f"{path}, record {number}")


def find_image(directories: Iterable[str | Path], encoded: bytes) -> str | None:
    """Name the record that holds an image: shard, record number, person and source image.

    Args:
        directories: record folders to search.
        encoded: bytes of the image.

    Returns:
        The text for an error, or None if no record holds it.
    """
    for directory in directories:
        for path in shard_paths(directory):
            for number, payload in enumerate(read_payloads(path)):
                person = decode_person(payload, f"{path}, record {number}")
                if person.encoded == encoded:
                    return (
                        f"{path}, record {number}, person {person.person_id} "
                        f"of image {person.source_id}"
                    )
    return None


def check(directory: str | Path) -> dict:
    """Verify every byte of a record folder, and collect all damage.

    Each record: its length and both checksums, its schema, the size and SHA-256 of its JPEG. Each
    shard: size, number of people and SHA-256 as in the manifest. The folder: no person twice, no
    shard too many.

    Args:
        directory: a record folder.

    Returns:
        `people`, `shards` and `bytes` that were read, and `damage`: a list of sentences, each
        naming shard and byte, empty when there is none. After a damaged length the rest of a shard
        cannot be read: the sentence says so.

    Raises:
        DataError: when there is no manifest, or it cannot be read.
    """
    directory = local_path(directory)
    manifest = read_manifest(directory)
    seen: set[str] = set()
    damage: list[str] = []
    people = 0
    size = 0
    listed = {s["file"]: (s["people"], s["bytes"], s["sha256"]) for s in manifest["shards"]}
    for name, (expected_people, expected_bytes, sha256) in sorted(listed.items()):
        path = directory / name
        before = len(damage)
        found = 0
        if not path.is_file():
            damage.append(f"{path}: is missing")
            continue
        actual = path.stat().st_size
        if actual != expected_bytes:
            damage.append(f"{path}: has {actual} bytes, the manifest says {expected_bytes}")
        for offset, payload in scan(path):
            where = f"{path}, record at byte {offset}"
            problem = (
                payload.problem
                if isinstance(payload, DataError)
                else _problem(payload, where, seen)
            )
            found += 1
            if problem:
                damage.append(f"{where}: {problem}")
        if found != expected_people:
            damage.append(f"{path}: holds {found} records, the manifest says {expected_people}")
        if len(damage) == before and _sha256(path) != sha256:
            damage.append(
                f"{path}: has another SHA-256 than the manifest says, though each record is intact"
            )
        people += found
        size += actual
    for path in sorted(directory.glob("*.tfrecord-*")):
        if path.name not in listed:
            damage.append(f"{path}: is not in the manifest")
    return {"people": people, "shards": len(listed), "bytes": size, "damage": damage}


def _problem(payload: bytes, where: str, seen: set[str]) -> str | None:
    """Return what is wrong with a payload whose checksums match, or None."""
    try:
        person = decode_person(payload, where)
        image = decode_image(person.encoded, where)
    except DataError as error:
        return error.problem
    if image.shape[:2] != (person.height, person.width):
        return (
            f"the image is {image.shape[1]}x{image.shape[0]}, "
            f"the record says {person.width}x{person.height}"
        )
    stated = parse_example(payload).get("image/key/sha256")
    if (
        not stated
        or stated[0].decode(errors="replace") != hashlib.sha256(person.encoded).hexdigest()
    ):
        return "the image has another SHA-256 than the record says"
    if person.person_id in seen:
        return f"the person {person.person_id!r} occurs twice"
    seen.add(person.person_id)
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
