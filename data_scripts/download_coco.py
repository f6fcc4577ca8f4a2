"""Download COCO 2017 person keypoints: annotations, and all images or only those with people.

Chapter 02 describes the data set; `posekit.datasets.download` fetches, resumes and unpacks.
"""

import argparse
import contextlib
import hashlib
import json
import shlex
import signal
import sys
from collections.abc import Iterator
from multiprocessing.pool import ThreadPool
from pathlib import Path, PurePosixPath

try:
    from tqdm import tqdm

    from posekit.datasets import download, read_json
    from posekit.datasets.download import Manifest, RetryPolicy, archives
    from posekit.errors import DataError
    from posekit.files import atomic_write, local_path
    from posekit.images import read_image
except (ImportError, SyntaxError) as error:
    version = ".".join(map(str, sys.version_info[:2]))
    sys.stderr.write(
        f"error: {error}; this is Python {version}: posekit needs 3.11 to 3.13 and its packages "
        f"(make setup, then: .venv/bin/python {sys.argv[0]} ...)\n"
    )
    sys.exit(2)

SERVERS = ("http://images.cocodataset.org", "https://s3.amazonaws.com/images.cocodataset.org")
"""The official one, and the bucket behind it by its other name."""

ANNOTATIONS = "annotations_trainval2017.zip"
OFFICIAL = {
    ANNOTATIONS: {"size": 252907541, "md5": "f4bbac642086de4f52a3fdda2de5fa2c"},
    "train2017.zip": {"size": 19336861798, "md5": "cced6f7f71b7629ddf16f17bbcfab6b2"},
    "val2017.zip": {"size": 815585330, "md5": "442b8da7639aecaf257c1dceb8ba8c80"},
}
"""Bytes and MD5 of the archives as served since 2017; many projects list them, COCO does not."""

TERMS = """\
COCO 2017 (https://cocodataset.org/#termsofuse): annotations CC BY 4.0; the images belong to their
authors on Flickr, each under the licence that its entry in the annotations names. They show real
people."""

MAX_ERRORS_SHOWN = 20
"""At most so many images that could not be fetched are named one by one."""

MAX_FAILURES_IN_A_ROW = 50
"""Images that fail one after the other before the run is given up."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 2 for missing files, 130 when stopped."""
    options = _parser().parse_args(argv)
    failures = 0
    try:
        policy = download.retry_policy(options)
        options.out = local_path(options.out)
        print(TERMS)
        with download.open_folder(options.out, every=20) as manifest:
            for split in options.split:
                failures += _download_split(split, options, manifest, policy)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "stopped: finished files are kept, the same command continues from here",
            file=sys.stderr,
        )
        return 130
    for split in options.split:
        command = [
            "python",
            "data_scripts/build_tfrecords.py",
            "coco",
            str(options.out),
            f"records/coco-{split}",
        ]
        print(f"next: {shlex.join([*command, '--split', split])}")
    if failures:
        print(
            f"error: {failures} images could not be fetched; the same command tries again",
            file=sys.stderr,
        )
    return 2 if failures else 0


def _download_split(
    split: str, options: argparse.Namespace, manifest: Manifest, policy: RetryPolicy
) -> int:
    """Download annotations and images of one split; returns the number of images that failed."""
    out = options.out
    name = f"person_keypoints_{split}2017.json"
    target = out / "annotations" / name
    written = _sha256(target) if target.exists() else None
    if written not in (
        None,
        manifest.get(target).get("sha256"),
        manifest.get(target).get("before"),
    ):
        problem = "is there, but not as this script has written it; it would be overwritten"
        raise DataError(target, problem, "move it away, or take another --out")
    with _official(name, options, manifest, policy) as annotations:
        data = _read(annotations)
        image_folder = out / f"{split}2017"
        image_folder.mkdir(exist_ok=True)
        if options.people_only or options.limit:
            failures = _fetch_images(
                _chosen(data, options), image_folder, options, manifest, policy
            )
        else:
            failures = 0
            _fetch_split(split, data["images"], image_folder, options, manifest, policy)
        there = {path.name for path in image_folder.glob("*.jpg")}
        images = [image for image in data["images"] if image["file_name"] in there]
        if len(images) == len(data["images"]):
            content = annotations.read_bytes()
        else:
            content = json.dumps(_reduced(data, images)).encode()
    if not images:
        raise DataError(image_folder, "not one image could be fetched", "see the messages above")
    digest = hashlib.sha256(content).hexdigest()
    manifest.add(target, sha256=digest, before=written, bytes=len(content), photos=len(images))
    manifest.save()
    atomic_write(target, content)
    print(
        f"{image_folder}: {len(images):,} of the split's {len(data['images']):,} images; "
        f"{target} lists just these"
    )
    return failures


@contextlib.contextmanager
def _official(
    name: str, options: argparse.Namespace, manifest: Manifest, policy: RetryPolicy
) -> Iterator[Path]:
    """Unpack the split's official annotation file for the duration of the block."""
    archive = _fetch_archive(f"annotations/{ANNOTATIONS}", ANNOTATIONS, options, manifest, policy)
    with archives.unpacked(
        archive, lambda member: PurePosixPath(member).name == name, progress=False
    ) as temporary:
        found = list(temporary.rglob(name))
        if len(found) != 1:
            raise DataError(
                archive,
                f"holds {len(found)} files {name}, expected one",
                "fetch the official archive",
            )
        yield found[0]


def _fetch_archive(
    remote: str, local: str, options: argparse.Namespace, manifest: Manifest, policy: RetryPolicy
) -> Path:
    """Download and verify an archive."""
    known = {} if options.unofficial else OFFICIAL[local]
    urls = [f"{server}/{remote}" for server in _servers(options)]
    download.fetch(urls, options.out / local, manifest, **known, policy=policy)
    return options.out / local


def _read(path: Path) -> dict:
    """Read COCO's JSON and check the fields that this script uses."""
    data = read_json(path)
    try:
        for image in data["images"]:
            if PurePosixPath(image["file_name"]).name != image["file_name"] or not image[
                "file_name"
            ].endswith(".jpg"):
                raise DataError(
                    path,
                    f"file_name {image['file_name']!r} is not a plain name of a JPEG",
                    "fetch it again",
                )
            for key in ("id", "width", "height"):
                int(image[key])
        for annotation in data["annotations"]:
            int(annotation["image_id"])
            for key in ("num_keypoints", "iscrowd"):
                int(annotation.get(key, 0))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            path, f"not COCO keypoint annotations: {type(error).__name__} {error}", "fetch it again"
        ) from None
    return data


def _chosen(data: dict, options: argparse.Namespace) -> list[dict]:
    """Choose the images to fetch.

    With --limit they are ordered by a hash of seed and id: a random choice, in which the first
    1,000 contain the first 100.
    """
    images = data["images"]
    if options.people_only:
        people = {
            annotation["image_id"]
            for annotation in data["annotations"]
            if annotation.get("num_keypoints", 0) > 0 and not annotation.get("iscrowd", 0)
        }
        images = [image for image in images if image["id"] in people]
    if options.limit:
        images = sorted(
            images,
            key=lambda image: hashlib.sha256(f"{options.seed}/{image['id']}".encode()).digest(),
        )
    return images[: options.limit]


def _fetch_images(
    images: list[dict],
    folder: Path,
    options: argparse.Namespace,
    manifest: Manifest,
    policy: RetryPolicy,
) -> int:
    """Fetch images one by one, several in parallel; returns how many failed."""

    def fetch_one(image: dict) -> DataError | None:
        def check(path: Path) -> None:
            height, width = read_image(path).shape[:2]
            if (width, height) != (image["width"], image["height"]):
                problem = (
                    f"is {width}x{height}, the annotations say {image['width']}x{image['height']}"
                )
                raise DataError(path, problem, "fetch it again")

        urls = [f"{server}/{folder.name}/{image['file_name']}" for server in _servers(options)]
        if image.get("coco_url") and not options.base_url:
            urls.insert(0, image["coco_url"])
        try:
            path = folder / image["file_name"]
            download.fetch(urls, path, manifest, check=check, policy=policy, progress=False)
        except DataError as error:
            return error
        return None

    failed = []
    in_a_row = 0
    with ThreadPool(options.workers) as pool:  # its threads do not hold up Ctrl-C
        bar = tqdm(
            pool.imap_unordered(fetch_one, images),
            total=len(images),
            desc=f"{folder.name}",
            unit=" images",
        )
        for error in bar:
            in_a_row = in_a_row + 1 if error else 0
            failed += [error] if error else []
            if in_a_row >= MAX_FAILURES_IN_A_ROW:
                raise DataError(
                    folder,
                    f"{in_a_row} images in a row could not be fetched; the last: {error}",
                )
    for error in failed[:MAX_ERRORS_SHOWN]:
        print(f"error: {error}", file=sys.stderr)
    if failed[MAX_ERRORS_SHOWN:]:
        print(f"error: and {len(failed) - MAX_ERRORS_SHOWN} more", file=sys.stderr)
    return len(failed)


def _fetch_split(
    split: str,
    images: list[dict],
    folder: Path,
    options: argparse.Namespace,
    manifest: Manifest,
    policy: RetryPolicy,
) -> None:
    """Fetch all images of a split from its archive, unless all are there; delete the archive."""
    if all((folder / image["file_name"]).is_file() for image in images):
        return
    archive = _fetch_archive(f"zips/{split}2017.zip", f"{split}2017.zip", options, manifest, policy)
    with archives.unpacked(archive, lambda member: member.endswith(".jpg")) as temporary:
        for image in temporary.rglob("*.jpg"):
            image.replace(folder / image.name)
    missing = [
        image["file_name"] for image in images if not (folder / image["file_name"]).is_file()
    ]
    if missing:
        problem = f"{len(missing)} of the split's images are not in it, among them {missing[0]}"
        raise DataError(archive, problem, "fetch the official archive")
    archive.unlink()


def _reduced(data: dict, images: list[dict]) -> dict:
    """The annotations of some images, everything else unchanged."""
    ids = {image["id"] for image in images}
    return data | {
        "images": images,
        "annotations": [a for a in data["annotations"] if a["image_id"] in ids],
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _servers(options: argparse.Namespace) -> list[str]:
    """The servers in the order in which they are tried."""
    own = [options.base_url] if options.base_url else list(SERVERS)
    return [server.rstrip("/") for server in (own[0], *options.mirror, *own[1:])]


def _splits(text: str) -> list[str]:
    splits = list(dict.fromkeys(text.split(",")))
    if not set(splits) <= {"train", "val"}:
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected train, val or train,val (test has no public annotations)"
        )
    return splits


def _positive(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 1 on")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="example: download_coco.py --split val --people-only --limit 500 --out coco. Run "
        "again, it fetches only missing files. The annotation file always lists just the images "
        "that exist.",
    )
    parser.add_argument(
        "--split",
        metavar="NAMES",
        type=_splits,
        required=True,
        help="train (19 GB), val (0.8 GB) or train,val",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=Path("coco"), help="the folder (default: coco)"
    )
    parser.add_argument(
        "--people-only",
        action="store_true",
        help="only images with a person that has labelled joints, one by one",
    )
    parser.add_argument(
        "--limit",
        metavar="N",
        type=_positive,
        help="only N images per split, one by one: the first by a hash of their ids, so that a "
        "larger N contains a smaller one",
    )
    parser.add_argument(
        "--seed", metavar="S", type=int, default=0, help="another choice for --limit (default: 0)"
    )
    parser.add_argument(
        "--workers",
        metavar="N",
        type=_positive,
        default=16,
        help="images fetched in parallel (default: 16)",
    )
    parser.add_argument(
        "--mirror",
        metavar="URL",
        action="append",
        default=[],
        help="another server to try; may be given again",
    )
    parser.add_argument("--base-url", metavar="URL", help=f"instead of {' and '.join(SERVERS)}")
    parser.add_argument(
        "--unofficial",
        action="store_true",
        help="accept archives other than the official ones, such as your own server's part of COCO",
    )
    download.add_options(parser)
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM: as on Ctrl-C
    sys.exit(main())
