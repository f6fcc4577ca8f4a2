"""Checks of the exercises of chapter 03, TFRecords and the input pipeline."""

import re
import struct
from collections.abc import Callable, Iterator

import numpy as np

from posekit.notebook.checks import (
    CheckFailed,
    call,
    exercise,
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


@exercise
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
        "The bytes ac 02 should give 300, and you read 428: the top bit of ac tells that more "
        "follows. It is a flag, not part of the number.",
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
        "You stopped after the first of the bytes ac 02, although its top bit is set, so another "
        "byte follows.",
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
            f"For {number} you read {got}: that is {number} + 2^64. Values from 2^63 on represent "
            "negative numbers.",
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
        hint=f"The bytes {data[at : at + 10].hex(' ')} are valid: does your function read on after "
        "a byte whose top bit is 0?",
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
            f"{got}: start at `at`.",
        )
        expect(
            stop != behind - at or at == 0,
            f"You returned {stop}, the number of bytes that you read. Return the position in "
            f"`data` after them: {behind}.",
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
                f"On {shown} Python raises an IndexError. Detect the end yourself, and raise a "
                "ValueError that describes the problem."
            ) from None
        raise CheckFailed(
            f"On {shown} the number has no end, but you returned {answer}. Half a number is worse "
            "than an error."
        )


# ---- exercise 2: frames --------------------------------------------------------------------------


@exercise
def check_read_frames(read_frames: Callable) -> None:
    """`read_frames(data)` gives the payloads of a TFRecord file, and a ValueError with the record's
    offset for damage."""
    payloads = [b"left wrist", b"", bytes(range(200)) * 2, b"right wrist"]
    whole = b"".join(map(frame_record, payloads))
    _expect_sound(read_frames, whole, payloads)
    try:
        nothing = _payloads(read_frames, b"")
    except (ValueError, IndexError, struct.error):
        nothing = None
    expect(
        nothing == [],
        "A file of 0 bytes is valid and holds no payload: return an empty list, and raise nothing.",
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
        (start + 11, "its header"),
        (start + 12, "its payload"),
        (start + 100, "its payload"),
        (end - 3, "its last checksum"),
        (end - 1, "its last checksum"),
    ):
        _expect_complaint(
            read_frames, whole[:cut], start, f"We cut the file off inside a record, in {what}"
        )
    passed(
        "your reader finds every payload, detects any flipped bit or missing end, and names the "
        "record"
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
            f"On an undamaged file `struct` stops with: {error}. After the last record there is "
            "nothing left to unpack."
        ) from None
    except (ValueError, IndexError) as error:
        raise CheckFailed(
            f"Your reader reports damage in an undamaged file: {error}. Which bytes does each "
            "checksum cover, and is every number read as little-endian?"
        ) from None
    expect(
        answer != [p + frame_record(p)[-4:] for p in payloads],
        "Each of your payloads has four bytes too many at its end: those are its checksum.",
    )
    expect(
        answer != [frame_record(p)[8:-4] for p in payloads]
        and answer != [frame_record(p)[:-4] for p in payloads],
        "Your payloads begin too early: the length and *its* checksum, twelve bytes, come first.",
    )
    expect(
        answer != [p for p in payloads if p],
        "You left out a payload of length 0, which is valid.",
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
            f"{what}, and Python raised {type(error).__name__}: {error}. Detect yourself that too "
            "few bytes are left, and raise a ValueError with the record's offset."
        ) from None
    else:
        raise CheckFailed(f"{what}, and your reader did not detect it.")
    numbers = [int(n) for n in re.findall(r"\d+", message)]
    expect(
        start in numbers or start + 12 not in numbers,
        f"{what}. Your message names byte {start + 12}, where the payload begins. The record "
        "begins twelve bytes earlier.",
    )
    expect(
        start in numbers or not set(numbers) & {2, 3},
        f"{what}, and your message is {message!r}: that counts records. Give the offset in bytes, "
        "with which the damage can be found in the file.",
    )
    expect(
        start in numbers,
        f"{what}. The record begins at byte {start}, and your message does not contain that "
        f"offset: {message!r}.",
    )


# ---- exercise 3: mirror a batch ------------------------------------------------------------------


@exercise
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
            "Mirroring twice should return the original batch.",
        )
        for chosen in (np.array([True, False, True]), np.array([False, True, False])):
            _expect_chosen(flip_batch, expression, given, mirrored, chosen)
        none = _flip(flip_batch, expression, given, ~everyone)
        expect(
            all(np.array_equal(a, b) for a, b in zip(none, given, strict=True)),
            "If no person is chosen, the batch should be returned unchanged.",
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
            f"{shown} the {name} of all people are mirrored: leave the people who are not chosen "
            "unchanged.",
        )
        expect(
            not near(mine, before),
            f"{shown} the {name} are unchanged.",
        )
        expect(
            not near(mine, wrong),
            f"{shown} the {name} of the other people are mirrored: `chosen` is used the wrong way "
            "round.",
        )
        expect(
            near(mine, right), f"{shown} the {name} are not correct: look at them person by person."
        )


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
            "Your images are upside down: axis 1 of (B, S, S, 3) runs down, axis 2 runs across.",
        ),
        (3, "You reversed the colours: the last axis of (B, S, S, 3) is red, green, blue."),
    ):
        expect(not np.array_equal(flipped, np.flip(images, axis)), hint)
    expect(not np.array_equal(flipped, images), "The images are unchanged.")
    expect(
        np.array_equal(np.sort(flipped, axis=None), np.sort(images, axis=None)),
        "The pixels of your images have other values than before. Mirroring moves pixels and does "
        "not change their values, which stay between 0 and 255.",
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
                else "You mirrored u as W - 1 - u. That is for pixels; u is a share of the crop, "
                "measured from its middle.",
            )
    expect(
        not np.allclose(moved_keypoints[..., 2], -keypoints[:, TWIN, 2])
        and not np.allclose(moved_keypoints[..., 2], -keypoints[..., 2]),
        "A weight is negative: only u changes its sign, not the whole row.",
    )
    expect(
        not np.allclose(moved_keypoints, keypoints * (-1, 1, 1)),
        "The joints have moved, but kept their names: a left wrist is a right wrist in the "
        "mirrored image.",
    )
    expect(
        not np.allclose(moved_keypoints, keypoints[:, TWIN]),
        "The names are swapped, but the joints have not moved: mirror u, too.",
    )
    expect(
        not np.allclose(moved_keypoints[..., :2], truth[..., :2])
        or np.allclose(moved_keypoints[..., 2], truth[..., 2]),
        "The keypoints are swapped, but their weights are not: swap whole rows, with u, v and "
        "weight.",
    )
    expect(
        not np.allclose(moved_keypoints, keypoints[:, TWIN] * (-1, -1, 1)),
        "You mirrored v as well: that turns people upside down.",
    )
    expect(
        np.all(moved_keypoints[..., :2][truth[..., 2] == 0] == 0),
        "A masked joint now has coordinates other than (0, 0). Its weight is 0, so they have no "
        "effect, but the exercise asks for (0, 0).",
    )
    expect(
        np.allclose(moved_keypoints, truth, atol=1e-6),
        "The keypoints are not those of the mirrored joints.",
    )


def _expect_seen(seen: np.ndarray, visibility: np.ndarray) -> None:
    expect(
        not np.allclose(seen, visibility),
        "The visibility targets stayed with the old names: if the left wrist is cut off, it is the "
        "right one in the mirrored image.",
    )
    expect(
        np.all((seen == 0) | (seen == 1)),
        "Visibility targets and their weights are 0 or 1, also after mirroring. Yours hold other "
        "values.",
    )
    expect(
        np.allclose(seen, visibility[:, TWIN]),
        "The visibility targets are not those of the mirrored joints.",
    )


# ---- exercise 4: was validation augmented? -------------------------------------------------------

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


def _stored(box: int, edge: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Stored images and keypoints of some people, and what the pipeline should make of them."""
    rng = np.random.default_rng(304)
    size = box + 2 * edge
    stored = rng.integers(20, 236, (_PEOPLE, size, size, 3), dtype=np.uint8)
    keypoints = rng.uniform(0, size - 1, (_PEOPLE, K, 2)).astype(np.float32)
    labelled = rng.random((_PEOPLE, K)) < 0.85
    keypoints[~labelled] = 0
    inner = stored[:, edge:-edge, edge:-edge].astype(np.float32)
    u = (keypoints - edge + 0.5) / box - 0.5
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


@exercise
def check_is_clean(is_clean: Callable) -> None:
    """`is_clean(dataset, stored, keypoints, box_px)` distinguishes a clean validation set
    from one that was changed."""
    for box, edge in ((16, 4), (12, 3)):
        _expect_verdicts(is_clean, box, edge)
    passed("clean sets pass, and eight kinds of changes are found")


def _expect_verdicts(is_clean: Callable, box: int, edge: int) -> None:
    expression = "is_clean(dataset, stored, keypoints, box_px)"
    stored, keypoints, images, targets = _stored(box, edge)

    def says(make: Callable, batch: int = 2) -> bool:
        answer = call(
            is_clean,
            expression,
            _Passes(make, batch),
            stored,
            keypoints,
            box,
            hint="Return an answer for any output of the dataset, also if it has too few or too "
            "many people.",
        )
        return expect_flag(answer, expression)

    for batch in (2, 5, 1):
        expect(
            says(lambda number: (images, targets), batch),
            "You rejected a clean set. Images must be the centre squares. Of the joints, compare "
            "only those of weight 1: the others are at (0, 0).",
        )

    def coloured(number):
        return np.clip(images * 1.05, 0, 255).round(), targets

    def shifted_targets(*pixels):
        shift = np.array([*pixels, 0], np.float32) / box
        return lambda number: (images, targets + shift * targets[..., 2:])

    for make, hint in (
        (
            lambda number: _mirrored(
                images, targets, np.random.default_rng(number).random(_PEOPLE) < 0.5
            ),
            "This set was mirrored at random, differently in each pass, and you accepted it as "
            "clean.",
        ),
        (
            lambda number: _mirrored(images, targets, np.array([True, False, True, True, False])),
            "This set is mirrored with a fixed seed, so two passes are equal, and yet it is "
            "augmented. Compare with what is stored, not one pass with another.",
        ),
        (
            coloured,
            "Here only the colours were varied: all joints are correct, but the images are not the "
            "stored ones.",
        ),
        (
            shifted_targets(2, 0),
            "Here the images are correct, but each joint is two pixels off. You did not compare "
            "the joints with the stored ones.",
        ),
        (
            shifted_targets(0, -2),
            "Here each joint is two pixels too high, and you did not detect it. Compare u *and* v, "
            "and the size of the difference, whatever its sign.",
        ),
        (
            shifted_targets(-0.5, 0),
            "Here each joint is half a pixel too far left, and you did not detect it. Compare to "
            "a small part of a pixel.",
        ),
        (
            lambda number: (images[:-1], targets[:-1]),
            "The last batch was dropped, so one person is missing, and you did not detect it. "
            "Count the people.",
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
            "The second pass was empty, and you accepted that as clean.",
        ),
        (
            lambda number: (images[::-1], targets[::-1]),
            "The people came in another order than they are stored in, and you did not detect it: "
            "results and names would not match.",
        ),
    ):
        expect(not says(make), hint)
