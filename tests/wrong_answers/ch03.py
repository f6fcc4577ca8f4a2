"""Wrong answers to the exercises of chapter 03, each with a piece of its hint."""

import struct

import google_crc32c
import numpy as np

from posekit.notebook.checks import ch03
from posekit.records.tfrecord import masked_crc
from posekit.skeleton import COCO17

TWIN = list(COCO17.flip_indices)


# ---- exercise 1 ----------------------------------------------------------------------------------


def varint(
    data,
    at=0,
    *,
    mask=127,
    bits=7,
    big=False,
    signed=True,
    begin=None,
    position="behind",
    guard=ValueError,
):
    """The right answer, with one handle for each mistake."""
    first = at = at if begin is None else begin
    number = shift = 0
    more = True
    while more:
        if at >= len(data):
            if guard is None:
                break
            raise guard("the bytes end")
        group = data[at] & mask
        number = number << bits | group if big else number | group << shift
        more = data[at] >= 128
        at, shift = at + 1, shift + bits
    if mask == 255:
        number = data[first] + (data[first + 1] << bits) if at - first == 2 else number
    behind = {"behind": at, "count": at - first, "last": at - 1}[position]
    return (number - 2**64 if signed and number >= 2**63 else number), behind


def varint_with(**mistake):
    return lambda data, at=0: varint(data, at, **mistake)


def first_byte_only(data, at=0):
    return data[at] & 127, at + 1


def reads_on(data, at=0):
    number = shift = 0
    for byte in data[at:]:
        number |= (byte & 127) << shift
        shift += 7
    return number + (data[len(data)] if data[-1] < 128 else 0), len(data)


# ---- exercise 2 ----------------------------------------------------------------------------------


def frames(
    data,
    *,
    length_check=True,
    payload_check=True,
    end_check=True,
    skip=16,
    take=(12, 12),
    order="<",
    name="record",
    crc=masked_crc,
    empty=True,
    short=ValueError,
    covers=8,
):
    """The right answer, with one handle for each mistake."""
    payloads, at = [], 0
    while at < len(data):
        where = {"record": at, "payload": at + 12, "count": len(payloads), "nothing": ""}[name]
        head = data[at : at + 12]
        if len(head) < 12 and short is ValueError:
            raise ValueError(f"record at byte {where}: the file ends")
        length, check = struct.unpack(f"{order}QI", head)
        if length_check and crc(head[:covers]) != check:
            raise ValueError(f"record at byte {where}: damaged length")
        body, tail = data[at + 12 : at + 12 + length], data[at + 12 + length : at + 16 + length]
        if end_check and len(tail) < 4 and short is ValueError:
            raise ValueError(f"record at byte {where}: the file ends")
        if payload_check and crc(body) != struct.unpack(f"{order}I", tail)[0]:
            raise ValueError(f"record at byte {where}: damaged payload")
        payload = data[at + take[0] : at + take[1] + length]
        payloads += [payload] if empty or payload else []
        at += skip + length
    return payloads


def frames_with(**mistake):
    return lambda data: frames(data, **mistake)


# ---- exercise 3 ----------------------------------------------------------------------------------


def flip(
    images,
    keypoints,
    visibility,
    chosen,
    *,
    axis=2,
    names=TWIN,
    seen=TWIN,
    u=lambda u: -u,
    v=1,
    weight=1,
    keep_weight=False,
    those=lambda chosen: chosen,
):
    """The right answer, with one handle for each mistake."""
    flipped = np.array(keypoints)[:, names]
    flipped[..., 0] = u(flipped[..., 0])
    flipped *= np.array([1, v, weight])
    if keep_weight:
        flipped[..., 2] = keypoints[..., 2]
    those = those(chosen)
    after = np.flip(images, axis), flipped, visibility[:, seen]
    return tuple(
        np.where(those.reshape(-1, *[1] * (b.ndim - 1)), a, b)
        for a, b in zip(after, (images, keypoints, visibility))
    )


def flip_with(**mistake):
    return lambda images, keypoints, visibility, chosen: flip(
        images, keypoints, visibility, chosen, **mistake
    )


def flip_only_the_images_of_some(images, keypoints, visibility, chosen):
    some = flip(images, keypoints, visibility, chosen)
    every = flip(images, keypoints, visibility, np.ones_like(chosen))
    return some[0], *every[1:]


def flip_in_place(images, keypoints, visibility, chosen):
    keypoints[..., 0] *= -1
    return images[:, :, ::-1], keypoints[:, TWIN], visibility[:, TWIN]


SAME = list(range(17))


# ---- exercise 4 ----------------------------------------------------------------------------------


def crops(pictures, box_px):
    edge = (pictures.shape[1] - box_px) // 2
    return pictures[:, edge : edge + box_px, edge : edge + box_px]


def one_pass(dataset):
    batches = list(dataset)
    if not batches:
        return np.zeros((0, 1)), np.zeros((0, 17, 3))
    return np.concatenate([x for x, _ in batches]), np.concatenate(
        [y["keypoints"] for _, y in batches]
    )


def passes_are_equal(dataset, pictures, keypoints, box_px):
    first, second = one_pass(dataset), one_pass(dataset)
    return all(np.array_equal(a, b) for a, b in zip(first, second))


def audit(
    dataset,
    pictures,
    keypoints,
    box_px,
    *,
    passes=2,
    look=True,
    joints=True,
    masked=False,
    short=False,
    sort=False,
):
    """The right answer, with one handle for each mistake."""
    edge = (pictures.shape[1] - box_px) // 2
    place = (keypoints - edge + 0.5) / box_px - 0.5
    truth = crops(pictures, box_px)
    for _ in range(passes):
        images, targets = one_pass(dataset)
        if not short and len(images) != len(truth):
            return False
        n = len(images)
        if sort and look:
            if sorted(i.astype(np.uint8).tobytes() for i in images) != sorted(
                i.tobytes() for i in truth
            ):
                return False
            continue
        if look and n and not np.array_equal(images, truth[:n]):
            return False
        weight = 1 if masked else targets[..., 2:]
        if joints and n and np.abs((targets[..., :2] - place[:n]) * weight).max() > 1e-4:
            return False
    return True


def audit_with(**mistake):
    return lambda dataset, pictures, keypoints, box_px: audit(
        dataset, pictures, keypoints, box_px, **mistake
    )


def breaks_on_a_short_one(dataset, pictures, keypoints, box_px):
    images, _ = one_pass(dataset)
    same = bool((images == crops(pictures, box_px)).all())
    return same and audit(dataset, pictures, keypoints, box_px)


def sorted_but_careful(dataset, pictures, keypoints, box_px):
    """Accepts any order of the people; everything else right."""
    edge = (pictures.shape[1] - box_px) // 2
    place = (keypoints - edge + 0.5) / box_px - 0.5
    truth = {crop.tobytes(): p for crop, p in zip(crops(pictures, box_px), place)}
    for _ in range(2):
        images, targets = one_pass(dataset)
        found = [image.astype(np.uint8).tobytes() for image in images]
        if sorted(found) != sorted(truth):
            return False
        for key, target in zip(found, targets):
            if np.abs((target[:, :2] - truth[key]) * target[:, 2:]).max() > 1e-4:
                return False
    return True


# ---- found by changing the solutions piece by piece ----------------------------------------------


def clean_with(columns=slice(0, 2), size=np.abs, box=None, most=1e-4):
    def is_clean(dataset, stored, keypoints, box_px):
        side = box or box_px
        edge = (stored.shape[1] - side) // 2
        inner = stored[:, edge : edge + side, edge : edge + side]
        uv = (keypoints - edge + 0.5) / side - 0.5
        for _ in range(2):
            batches = list(dataset)
            if sum(len(images) for images, _ in batches) != len(stored):
                return False
            targets = np.concatenate([t["keypoints"] for _, t in batches])
            off = size(targets[..., :2] - uv) * targets[..., 2:]
            if not np.array_equal(np.concatenate([i for i, _ in batches]), inner):
                return False
            if off[..., columns].max() > most:
                return False
        return True

    return is_clean


def frames_or_an_error(data):
    """Takes a file without records for a damaged one."""
    if not data:
        raise ValueError("record at byte 0: there is nothing")
    return frames(data)


WRONG = [
    (ch03.check_read_varint, varint_with(mask=255), "It is a flag"),
    (ch03.check_read_varint, varint_with(big=True), "*lowest* group comes first"),
    (ch03.check_read_varint, varint_with(bits=8), "seven bits"),
    (ch03.check_read_varint, first_byte_only, "stopped after the first"),
    (ch03.check_read_varint, varint_with(signed=False), "2^64"),
    (ch03.check_read_varint, varint_with(begin=0), "start at `at`"),
    (ch03.check_read_varint, varint_with(position="count"), "the number of bytes that you read"),
    (ch03.check_read_varint, varint_with(position="last"), "the next field begins at"),
    (ch03.check_read_varint, varint_with(guard=IndexError), "IndexError"),
    (ch03.check_read_varint, varint_with(guard=None), "worse than an error"),
    (ch03.check_read_varint, reads_on, "The bytes 00 are valid"),
    (ch03.check_read_varint, lambda data, at=0: varint(data, at)[0], "two things"),
    (
        ch03.check_read_varint,
        lambda data, at=0: (float(varint(data, at)[0]), at),
        "should be an integer",
    ),
    (ch03.check_read_frames, frames_with(length_check=False), "the checksum of a length"),
    (ch03.check_read_frames, frames_with(payload_check=False), "a bit of a payload"),
    (ch03.check_read_frames, frames_with(order=">"), "little-endian"),
    (ch03.check_read_frames, frames_with(covers=12), "undamaged file"),
    (ch03.check_read_frames, frames_with(crc=google_crc32c.value), "undamaged file"),
    (ch03.check_read_frames, frames_with(take=(12, 16)), "four bytes too many"),
    (ch03.check_read_frames, frames_with(take=(8, 12)), "too early"),
    (ch03.check_read_frames, frames_with(take=(0, 12)), "too early"),
    (ch03.check_read_frames, frames_with(empty=False), "length 0"),
    (ch03.check_read_frames, lambda data: frames(data)[:1], "sixteen bytes more"),
    (
        ch03.check_read_frames,
        lambda data: [p[::-1] for p in frames(data)],
        "not those that were written",
    ),
    (ch03.check_read_frames, lambda data: frames(data + b"\0"), "undamaged file"),
    (ch03.check_read_frames, frames_with(name="payload"), "where the payload begins"),
    (ch03.check_read_frames, frames_with(name="count"), "counts records"),
    (ch03.check_read_frames, frames_with(name="nothing"), "does not contain that offset"),
    (ch03.check_read_frames, frames_with(short=None), "too few bytes are left"),
    (ch03.check_flip_batch, flip_with(axis=1), "upside down: axis 1"),
    (ch03.check_flip_batch, flip_with(axis=0), "order of the people"),
    (ch03.check_flip_batch, flip_with(axis=3), "reversed the colours"),
    (ch03.check_flip_batch, flip_with(axis=()), "images are unchanged"),
    (ch03.check_flip_batch, flip_with(names=SAME), "kept their names"),
    (ch03.check_flip_batch, flip_with(names=SAME, seen=SAME), "kept their names"),
    (ch03.check_flip_batch, flip_with(seen=SAME), "stayed with the old names"),
    (ch03.check_flip_batch, flip_with(u=lambda u: 1 - u), "*middle* of the crop"),
    (ch03.check_flip_batch, flip_with(u=lambda u: 7 - u, names=SAME), "That is for pixels"),
    (ch03.check_flip_batch, flip_with(u=lambda u: 223 - u), "That is for pixels"),
    (ch03.check_flip_batch, flip_with(u=lambda u: u), "have not moved"),
    (ch03.check_flip_batch, flip_with(v=-1), "upside down"),
    (ch03.check_flip_batch, flip_with(weight=-1), "weight is negative"),
    (ch03.check_flip_batch, flip_with(keep_weight=True), "their weights are not"),
    (ch03.check_flip_batch, flip_in_place, "changed the `keypoints`"),
    (ch03.check_flip_batch, lambda i, p, s, c: (i[:, :, ::-1], p[TWIN], s[TWIN]), "axis 0"),
    (ch03.check_flip_batch, lambda i, p, s, c: (*flip(i, p, s, c)[:2], -s[:, TWIN]), "0 or 1"),
    (ch03.check_flip_batch, lambda i, p, s, c: flip(i, p, s, c)[:2], "three things"),
    (ch03.check_flip_batch, flip_with(those=np.ones_like), "of all people are mirrored"),
    (
        ch03.check_flip_batch,
        flip_with(those=lambda c: c if c.all() else ~c),
        "the wrong way round",
    ),
    (
        ch03.check_flip_batch,
        flip_with(those=lambda c: c & c.all()),
        "images are unchanged",
    ),
    (
        ch03.check_flip_batch,
        flip_with(those=lambda c: c | (not c.any())),
        "no person is chosen",
    ),
    (ch03.check_flip_batch, flip_only_the_images_of_some, "keypoint targets of all people"),
    (ch03.check_is_clean, passes_are_equal, "Compare with what is stored"),
    (ch03.check_is_clean, lambda *args: True, "mirrored at random"),
    (ch03.check_is_clean, lambda *args: False, "rejected a clean set"),
    (ch03.check_is_clean, audit_with(masked=True), "only those of weight 1"),
    (ch03.check_is_clean, audit_with(look=False), "only the colours"),
    (ch03.check_is_clean, audit_with(joints=False), "two pixels off"),
    (ch03.check_is_clean, audit_with(passes=1), "more than once"),
    (ch03.check_is_clean, audit_with(short=True), "Count the people"),
    (ch03.check_is_clean, sorted_but_careful, "another order"),
    (ch03.check_is_clean, breaks_on_a_short_one, "stops with"),
    (ch03.check_is_clean, lambda *args: "clean", "True or False"),
    (ch03.check_is_clean, clean_with(columns=slice(0, 1)), "Compare u *and* v"),
    (ch03.check_is_clean, clean_with(size=lambda off: off), "whatever its sign"),
    (ch03.check_is_clean, clean_with(most=0.05), "half a pixel too far left"),
    (ch03.check_is_clean, clean_with(box=16), "You rejected a clean set"),
    (ch03.check_read_frames, frames_or_an_error, "raise nothing"),
]
