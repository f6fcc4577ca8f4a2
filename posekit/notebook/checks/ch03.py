"""Checks of the exercises of chapter 03, TFRecords and the input pipeline."""

import re
import struct
from collections.abc import Callable, Iterator

import numpy as np

from posekit.notebook.checks import (
    CheckFailed,
    call,
    expect,
    expect_array,
    expect_flag,
    expect_parts,
    expect_type,
    near,
    passed,
)
from posekit.records.tfrecord import frame_record, varint
from posekit.skeleton import COCO17

K = len(COCO17)
TWIN = list(COCO17.flip_indices)


# ---- exercise 1: a varint, back again ------------------------------------------------------------


def check_read_varint(read_varint: Callable) -> None:
    """`read_varint(data, at)` gives the signed number at a position and the position behind it, or
    a ValueError."""
    for number in (0, 1, 5, 127):
        got, _ = _number(read_varint, varint(number), 0)
        expect(
            got == number,
            f"The single byte {varint(number).hex()} is the number {number}, but you read {got}.",
        )
    got, _ = _number(read_varint, varint(300), 0)
    expect(
        got != 428,
        "The bytes ac 02 should give 300, and you read 428: the top bit of ac says that more "
        "follows. It is a flag, no digit.",
    )
    big = (0x2C << 7 | 2, 0xAC << 8 | 2)
    wide = (0x2C | 2 << 8, 0xAC | 2 << 8)
    expect(
        got not in big,
        f"The bytes ac 02 should give 300, and you read {got}: the *lowest* group comes first.",
    )
    expect(
        got not in wide,
        f"The bytes ac 02 should give 300, and you read {got}: each byte carries seven bits of it.",
    )
    expect(
        got != 0x2C,
        "You stopped after the first of the bytes ac 02, though its top bit says that more "
        "follows.",
    )
    for number in (300, 128, 2**14, 2**32 + 1, 2**63 - 1):
        got, _ = _number(read_varint, varint(number), 0)
        expect(
            got == number, f"The bytes {varint(number).hex(' ')} are {number}, but you read {got}."
        )
    for number in (-1, -2, -(2**63)):
        got, _ = _number(read_varint, varint(number), 0)
        expect(
            got != number + 2**64,
            f"For {number} you read {got}: that is {number} + 2^64. Numbers from 2^63 on stand "
            "for negative ones.",
        )
        expect(
            got == number, f"The bytes {varint(number).hex(' ')} are {number}, but you read {got}."
        )
    _positions(read_varint)
    _unfinished(read_varint)
    passed("small, large and negative numbers are read, and the next field is found")


def _number(read_varint: Callable, data: bytes, at: int) -> tuple[int, int]:
    answer = call(
        read_varint,
        "read_varint(data, at)",
        data,
        at,
        hint=f"The bytes {data[at : at + 10].hex(' ')} are sound: does it read on where the top "
        "bit is 0?",
    )
    number, behind = expect_parts(
        answer,
        "read_varint(data, at)",
        ("the number", "the position of the first byte after it"),
    )
    for value, name in ((number, "the number"), (behind, "the position")):
        expect_type(value, name, "an integer", (int, np.integer))
    return int(number), int(behind)


def _positions(read_varint: Callable) -> None:
    for data, at, number, behind in (
        (b"\7\7\xac\x02\t", 2, 300, 4),
        (b"\xff\x01\x05", 2, 5, 3),
        (b"\x05", 0, 5, 1),
    ):
        got, stop = _number(read_varint, data, at)
        expect(
            got == number,
            f"In the bytes {data.hex(' ')} the number at position {at} is {number}, but you read "
            f"{got}: begin at `at`.",
        )
        expect(
            stop != behind - at or at == 0,
            f"You returned {stop}, the number of bytes that you read. Wanted is the position in "
            f"`data` behind them: {behind}.",
        )
        expect(
            stop == behind,
            f"A number of {behind - at} bytes at position {at}: the next field begins at "
            f"{behind}, but you returned {stop}.",
        )


def _unfinished(read_varint: Callable) -> None:
    for data, at in ((b"\xac", 0), (b"\x01\xff\xff", 1), (b"", 0)):
        shown = data[at:].hex(" ") or "no bytes at all"
        try:
            answer = call(
                read_varint, "read_varint(data, at)", data, at, allow=(ValueError, IndexError)
            )
        except ValueError:
            continue
        except IndexError:
            raise CheckFailed(
                f"On {shown} Python stops you with an IndexError. That is an accident; notice it "
                "yourself, and raise a ValueError that says what is wrong."
            ) from None
        raise CheckFailed(
            f"On {shown}: no end, but you returned {answer}. Half a number is worse than an error."
        )


# ---- exercise 2: frames --------------------------------------------------------------------------


def check_read_frames(read_frames: Callable) -> None:
    """`read_frames(data)` gives the payloads of a TFRecord file, and a ValueError with the record's
    offset for damage."""
    payloads = [b"left wrist", b"", bytes(range(200)) * 2, b"right wrist"]
    whole = b"".join(map(frame_record, payloads))
    _expect_sound(read_frames, whole, payloads)
    expect(
        _payloads(read_frames, b"") == [],
        "A file of 0 bytes is sound, and holds no payload: return an empty list.",
    )

    starts = np.cumsum([0] + [len(frame_record(p)) for p in payloads])
    start = int(starts[2])
    end = int(starts[3])
    for at, what in (
        (start + 40, "a bit of a payload"),
        (end - 2, "the checksum behind a payload"),
        (start + 9, "the checksum of a length"),
        (start, "a bit of a length"),
        (start + 7, "the highest bit of a length"),
    ):
        damaged = bytearray(whole)
        damaged[at] ^= 0x80 if at == start + 7 else 0x01
        _expect_complaint(read_frames, bytes(damaged), start, f"We damaged {what}")
    for cut, what in (
        (start + 5, "its header"),
        (start + 100, "its payload"),
        (end - 3, "its last checksum"),
    ):
        _expect_complaint(
            read_frames, whole[:cut], start, f"We cut the file off inside of a record, in {what}"
        )
    passed(
        "your reader finds every payload, and any flipped bit or missing end, and names the record"
    )


def _payloads(read_frames: Callable, data: bytes) -> list:
    damage = (ValueError, IndexError, struct.error)
    answer = call(read_frames, "read_frames(data)", data, allow=damage)
    expect_type(answer, "read_frames(data)", "a list of payloads", (list, tuple))
    return list(answer)


def _expect_sound(read_frames: Callable, data: bytes, payloads: list[bytes]) -> None:
    try:
        answer = _payloads(read_frames, data)
    except struct.error as error:
        raise CheckFailed(
            f"On a sound file `struct` stops with: {error}. After the last record there is nothing "
            "left to unpack."
        ) from None
    except (ValueError, IndexError) as error:
        raise CheckFailed(
            f"Your reader complains about a sound file: {error}. Which bytes does each checksum "
            "cover, and is every number read as little-endian?"
        ) from None
    expect(
        answer != [p + frame_record(p)[-4:] for p in payloads],
        "Each of your payloads has four bytes too many at its end: those are its checksum.",
    )
    expect(
        answer != [frame_record(p)[8:-4] for p in payloads]
        and answer != [frame_record(p)[:-4] for p in payloads],
        "Your payloads begin too early: in front of them stand the length and *its* checksum, "
        "twelve bytes.",
    )
    expect(
        answer != [p for p in payloads if p],
        "A payload of length 0 is a payload, too: you left it out.",
    )
    expect(
        len(answer) == len(payloads),
        f"There are {len(payloads)} payloads in the file, and you found {len(answer)}: each "
        "record takes up its length and sixteen bytes more.",
    )
    expect(
        answer == payloads,
        "You found as many payloads as there are, but their bytes are not those that were written.",
    )


def _expect_complaint(read_frames: Callable, data: bytes, start: int, what: str) -> None:
    try:
        _payloads(read_frames, data)
    except ValueError as error:
        message = str(error)
    except (struct.error, IndexError) as error:
        raise CheckFailed(
            f"{what}, and Python stopped you with {type(error).__name__}: {error}. Notice yourself "
            "that too few bytes are left, and raise a ValueError with the record's offset."
        ) from None
    else:
        raise CheckFailed(f"{what}, and your reader did not notice.")
    numbers = [int(n) for n in re.findall(r"\d+", message)]
    expect(
        start in numbers or start + 12 not in numbers,
        f"{what}. You named byte {start + 12}, where the payload begins; the record begins twelve "
        "bytes before that.",
    )
    expect(
        start in numbers or not set(numbers) & {2, 3},
        f"{what}, and you said {message!r}: that counts records. To find the place in a file one "
        "needs the byte.",
    )
    expect(
        start in numbers,
        f"{what}. The record begins at byte {start}; your message does not say so: {message!r}.",
    )


# ---- exercise 3: mirror a batch ------------------------------------------------------------------


def check_flip_batch(flip_batch: Callable) -> None:
    """`flip_batch(images, keypoints, visibility, chosen)` mirrors images and both targets of the
    chosen people, names and masks included."""
    expression = "flip_batch(images, keypoints, visibility, chosen)"
    everyone = np.ones(3, bool)
    for seed, size in ((303, 8), (304, 12)):
        given = _batch(seed, size)
        mirrored = _flip(flip_batch, expression, given, everyone)
        _expect_images(mirrored[0], given[0])
        _expect_keypoints(mirrored[1], given[1])
        _expect_seen(mirrored[2], given[2])
        twice = _flip(flip_batch, expression, mirrored, everyone)
        expect(
            all(near(a, b, 1e-5) for a, b in zip(twice, given, strict=True)),
            "Mirroring twice should give the batch back.",
        )
        for chosen in (np.array([True, False, True]), np.array([False, True, False])):
            _expect_chosen(flip_batch, expression, given, mirrored, chosen)
        nobody = _flip(flip_batch, expression, given, ~everyone)
        expect(
            all(np.array_equal(a, b) for a, b in zip(nobody, given, strict=True)),
            "Where no one is chosen, the batch should come back as it was.",
        )
    passed("the chosen people are mirrored with their names and masks, the others are untouched")


def _expect_chosen(
    flip_batch: Callable, expression: str, given: tuple, mirrored: tuple, chosen: np.ndarray
) -> None:
    answer = _flip(flip_batch, expression, given, chosen)
    names = ("images", "keypoint targets", "visibility targets")
    for name, mine, before, after in zip(names, answer, given, mirrored, strict=True):
        right = np.where(chosen.reshape(-1, *[1] * (before.ndim - 1)), after, before)
        wrong = np.where(chosen.reshape(-1, *[1] * (before.ndim - 1)), before, after)
        shown = f"With chosen = {chosen.tolist()}"
        expect(
            not near(mine, after),
            f"{shown} the {name} of all people are mirrored: leave those alone who are not chosen.",
        )
        expect(
            not near(mine, before),
            f"{shown} the {name} are still as they were.",
        )
        expect(
            not near(mine, wrong),
            f"{shown} the {name} of the others are mirrored: you have it the wrong way round.",
        )
        expect(near(mine, right), f"{shown} the {name} do not fit: look at them person by person.")


def _batch(seed: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (3, size, size, 3)).astype(np.float32)
    weight = (rng.random((3, K)) < 0.8).astype(np.float32)
    weight[0, COCO17.index("left_wrist")] = 1
    weight[0, COCO17.index("right_wrist")] = 0
    uv = rng.uniform(-0.5, 0.5, (3, K, 2)) * weight[..., None]
    keypoints = np.concatenate([uv, weight[..., None]], axis=2).astype(np.float32)
    visibility = np.stack([weight, rng.random((3, K)) < 0.7], axis=2).astype(np.float32)
    return images, keypoints, visibility


def _flip(
    flip_batch: Callable, expression: str, given: tuple, chosen: np.ndarray
) -> tuple[np.ndarray, ...]:
    try:
        answer = call(flip_batch, expression, *given, chosen, allow=(IndexError,))
    except IndexError as error:
        raise CheckFailed(
            f"Python says: {error}. `COCO17.flip_indices` counts joints, and in (B, 17, 3) those "
            "are on axis 1; axis 0 counts people."
        ) from None
    parts = expect_parts(
        answer,
        expression,
        ("the images", "the keypoint targets", "the visibility targets"),
    )
    names = ("images", "keypoints", "visibility")
    return tuple(
        expect_array(part, f"the mirrored {name}", before.shape)
        for part, name, before in zip(parts, names, given, strict=True)
    )


def _expect_images(flipped: np.ndarray, images: np.ndarray) -> None:
    for axis, hint in (
        (0, "You reversed the order of the people: axis 0 of (B, S, S, 3) counts images."),
        (
            1,
            "Your images stand on their heads: axis 1 of (B, S, S, 3) runs down, axis 2 runs "
            "across.",
        ),
        (3, "You reversed the colours: the last axis of (B, S, S, 3) is red, green, blue."),
    ):
        expect(not np.array_equal(flipped, np.flip(images, axis)), hint)
    expect(not np.array_equal(flipped, images), "The images are still as they were.")
    expect(
        np.array_equal(np.sort(flipped, axis=None), np.sort(images, axis=None)),
        "The pixels of your images have other values than before. A mirror moves pixels and "
        "changes none: the values stay from 0 to 255.",
    )
    expect(
        np.array_equal(flipped, images[:, :, ::-1]),
        "The images are not mirrored: reverse axis 2.",
    )


def _expect_keypoints(moved_keypoints: np.ndarray, keypoints: np.ndarray) -> None:
    truth = keypoints[:, TWIN] * (-1, 1, 1)
    for start in (1, 7, 223):
        for moved in (keypoints, keypoints[:, TWIN]):
            same = np.isclose(moved_keypoints[..., 0], start - moved[..., 0]) | (moved[..., 2] == 0)
            expect(
                not same.all(),
                "You mirrored u as 1 - u, but u is 0 in the *middle* of the crop: it runs from "
                "-0.5 to 0.5."
                if start == 1
                else "You mirrored u as W - 1 - u. That is for pixels; u is measured in shares of "
                "the crop, from its middle.",
            )
    expect(
        not np.allclose(moved_keypoints[..., 2], -keypoints[:, TWIN, 2])
        and not np.allclose(moved_keypoints[..., 2], -keypoints[..., 2]),
        "A weight turned negative: only u changes its sign, not the whole row.",
    )
    expect(
        not np.allclose(moved_keypoints, keypoints * (-1, 1, 1)),
        "The joints have moved, but kept their names: what was a left wrist is a right wrist in "
        "the mirror.",
    )
    expect(
        not np.allclose(moved_keypoints, keypoints[:, TWIN]),
        "The names are swapped, but the joints have not moved: mirror u, too.",
    )
    expect(
        not np.allclose(moved_keypoints[..., :2], truth[..., :2])
        or np.allclose(moved_keypoints[..., 2], truth[..., 2]),
        "The keypoints are swapped, but their weights stayed behind: a row goes as a whole, u, v "
        "and weight.",
    )
    expect(
        not np.allclose(moved_keypoints, keypoints[:, TWIN] * (-1, -1, 1)),
        "You mirrored v as well: that turns people upside down.",
    )
    expect(
        np.all(moved_keypoints[..., :2][truth[..., 2] == 0] == 0),
        "A masked joint has coordinates other than (0, 0) now. Its weight is 0, so it is never "
        "read, but keep it tidy.",
    )
    expect(
        np.allclose(moved_keypoints, truth, atol=1e-6),
        "The keypoints are not those of the mirrored joints.",
    )


def _expect_seen(seen: np.ndarray, visibility: np.ndarray) -> None:
    expect(
        not np.allclose(seen, visibility),
        "The visibility targets stayed with the old names: when the left wrist is cut off, in the "
        "mirror it is the right one.",
    )
    expect(
        np.all((seen == 0) | (seen == 1)),
        "Visibility targets and their weights are 0 or 1, also in the mirror; yours hold other "
        "values.",
    )
    expect(
        np.allclose(seen, visibility[:, TWIN]),
        "The visibility targets are not those of the mirrored joints.",
    )


# ---- exercise 4: was validation augmented? -------------------------------------------------------

_BOX = 16
_EDGE = 4
_PEOPLE = 5


class _Passes:
    """A dataset: each loop over it makes the batches of the next pass."""

    def __init__(self, make: Callable[[int], tuple[np.ndarray, np.ndarray]], batch: int = 2):
        self.make = make
        self.batch = batch
        self.number = -1

    def __iter__(self) -> Iterator:
        self.number += 1
        images, targets = self.make(self.number)
        for i in range(0, len(images), self.batch):
            part = slice(i, i + self.batch)
            yield (
                images[part].copy(),
                {
                    "keypoints": targets[part].copy(),
                    "visibility": np.ones((len(images[part]), K, 2)),
                },
            )


def _stored() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Stored images and keypoints of some people, and what the pipeline should make of them."""
    rng = np.random.default_rng(304)
    size = _BOX + 2 * _EDGE
    stored = rng.integers(20, 236, (_PEOPLE, size, size, 3), dtype=np.uint8)
    keypoints = rng.uniform(0, size - 1, (_PEOPLE, K, 2)).astype(np.float32)
    labelled = rng.random((_PEOPLE, K)) < 0.85
    keypoints[~labelled] = 0
    inner = stored[:, _EDGE:-_EDGE, _EDGE:-_EDGE].astype(np.float32)
    u = (keypoints - _EDGE + 0.5) / _BOX - 0.5
    weight = labelled & np.all((u >= -0.5) & (u < 0.5), axis=2)
    targets = np.concatenate([u * weight[..., None], weight[..., None]], axis=2).astype(np.float32)
    return stored, keypoints, inner, targets


def _mirrored(
    images: np.ndarray, targets: np.ndarray, which: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    which = which.reshape(-1, 1, 1)
    return np.where(which[..., None], images[:, :, ::-1], images), np.where(
        which, targets[:, TWIN] * (-1, 1, 1), targets
    )


def check_is_clean(is_clean: Callable) -> None:
    """`is_clean(dataset, stored, keypoints, box_px)` tells a clean validation set from one that was
    tampered with."""
    expression = "is_clean(dataset, stored, keypoints, box_px)"
    stored, keypoints, images, targets = _stored()

    def says(make: Callable, batch: int = 2) -> bool:
        answer = call(
            is_clean,
            expression,
            _Passes(make, batch),
            stored,
            keypoints,
            _BOX,
            hint="Whatever comes out of the dataset, also too much or too little: answer, do not "
            "break.",
        )
        return expect_flag(answer, expression)

    for batch in (2, 5, 1):
        expect(
            says(lambda number: (images, targets), batch),
            "You called a clean set dirty. Images must be the centre squares; and of the joints, "
            "compare only those of weight 1: the others are at (0, 0).",
        )

    def coloured(number):
        return np.clip(images * 1.05, 0, 255).round(), targets

    def shifted_targets(number):
        return images, targets + (np.array([2 / _BOX, 0, 0], np.float32) * targets[..., 2:])

    for make, hint in (
        (
            lambda number: _mirrored(
                images, targets, np.random.default_rng(number).random(_PEOPLE) < 0.5
            ),
            "This set was mirrored at random, differently on each pass, and you called it clean.",
        ),
        (
            lambda number: _mirrored(images, targets, np.array([True, False, True, True, False])),
            "This set is mirrored with a fixed seed, so two passes are equal, and yet it is "
            "augmented. Compare with what is stored, not one pass with another.",
        ),
        (
            coloured,
            "Here only the colours were varied: all joints are right, but the images are not "
            "those that are stored.",
        ),
        (
            shifted_targets,
            "Here the images are right, but each joint is two pixels off. You did not compare the "
            "joints with the stored ones.",
        ),
        (
            lambda number: (images[:-1], targets[:-1]),
            "The last batch was dropped, so one person is missing, and you did not notice. Count "
            "the people.",
        ),
        (
            lambda number: (images, targets) if number == 0 else coloured(number),
            "The first pass was clean and the second was not. Loop over the dataset more than "
            "once.",
        ),
        (
            lambda number: (
                images[: _PEOPLE if number == 0 else 0],
                targets[: _PEOPLE if number == 0 else 0],
            ),
            "The second pass was empty, and you called that clean.",
        ),
        (
            lambda number: (images[::-1], targets[::-1]),
            "The people came in another order than they are stored in, and you did not notice: "
            "scores and names would not match.",
        ),
    ):
        expect(not says(make), hint)
    passed("clean sets pass, and eight kinds of tampering are found")
