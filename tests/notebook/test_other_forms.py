"""Right answers that look unlike the solutions: a check judges what a function does, not its form.

Loops in place of arrays, lists in place of arrays, other formulas, other layers, other names.
"""

import bisect
import collections
import itertools
import math
import re
import statistics

import cv2
import numpy as np
import pytest
from keras import layers, ops

from posekit import geometry
from posekit.notebook.checks import (
    ch01,
    ch02,
    ch03,
    ch04,
    ch05,
    ch06,
    ch07,
    ch08,
    ch09,
    ch10,
    ch11,
    ch12,
    ch13,
    ch14,
    ch15,
)
from posekit.skeleton import COCO17

OTHER = {"left": "right", "right": "left"}
MIRROR = [
    COCO17.index(re.sub("left|right", lambda side: OTHER[side[0]], name)) for name in COCO17.joints
]


def joints_one_by_one(keypoints, visible, known, size):
    inside, weight = [], []
    for (x, y), flag, is_known in zip(keypoints, visible, known, strict=True):
        inside.append(
            1 if flag > 0 and math.floor(x + 0.5) in range(size) and 0 <= y + 0.5 < size else 0
        )
        weight.append(1.0 if is_known else 0.0)
    return inside, weight


def mirrored_by_opencv(image, keypoints, visible, bbox):
    x, y, w, h = bbox.tolist()
    return [
        cv2.flip(image, 1),
        [[image.shape[1] - 1 - keypoints[k, 0], keypoints[k, 1]] for k in MIRROR],
        [int(visible[k]) for k in MIRROR],
        (image.shape[1] - (x + w), y, w, h),
    ]


def census_by_counter(annotations, sizes):
    found, cut = collections.Counter(), 0
    for person in annotations:
        if person["iscrowd"] or not person["num_keypoints"]:
            continue
        found.update(enumerate(person["keypoints"][2::3]))
        left, top, width, height = person["bbox"]
        right, bottom = (
            s - e for s, e in zip(sizes[person["image_id"]], (left + width, top + height))
        )
        cut += any(gap < 10 for gap in (left, top, right, bottom))
    return [[found[k, v] for v in range(3)] for k in range(17)], cut


def varint_from_bits(data, at=0):
    end = at
    while end < len(data) and data[end] & 0x80:
        end += 1
    if end >= len(data):
        raise ValueError("no end")
    bits = "".join(f"{byte & 0x7F:07b}" for byte in reversed(data[at : end + 1]))
    return int.from_bytes(int(bits, 2).to_bytes(10, "big")[2:], "big", signed=True), end + 1


def paths_by_polynomial(shortcut, slopes):
    return list(np.poly([-shortcut / w for w in slopes]) * np.prod(slopes))[::-1]


def layer_of_keras(x, k, bottleneck=4):
    """Keras' own layers, with another epsilon and with biases."""
    new = x
    if bottleneck is not None:
        new = layers.Activation("relu")(layers.BatchNormalization(momentum=0.9)(new))
        new = layers.Conv2D(bottleneck * k, 1)(new)
    new = layers.Activation("relu")(layers.BatchNormalization()(new))
    return layers.concatenate([x, layers.Conv2D(k, 3, padding="same")(new)])


def loss_by_selecting(y_true, y_pred):
    """Takes the labelled joints out, in place of a mask."""
    on = ops.nonzero(y_true[..., 2] > 0)
    if len(on[0]) == 0:
        return ops.sum(y_pred) * 0.0
    on = ops.stack(on, axis=-1)
    import tensorflow as tf

    off = tf.gather_nd(y_true[..., :2], on) - tf.gather_nd(y_pred, on)
    return 2 * ops.mean(off * off)


def pairs_by_combinations(recipes):
    missing = object()
    return frozenset(
        (a, b)
        for a, b in itertools.combinations(sorted(recipes), 2)
        if sum(
            recipes[a].get(key, missing) != recipes[b].get(key, missing)
            for key in recipes[a] | recipes[b]
        )
        == 1
    )


def match_by_sets(file, network):
    fits = {k for k in file.keys() & network.keys() if np.shape(file[k]) == np.shape(network[k])}
    return (
        fits,
        (file.keys() & network.keys()) - fits,
        set(network) - set(file),
        set(file) - set(network),
    )


def pckh_person_by_person(pred, true, labelled, heads, threshold=0.5):
    right, skipped = [], 0
    for a, b, on, (_, _, w, h) in zip(pred, true, labelled, heads, strict=True):
        if math.isnan(w):
            skipped += 1
            continue
        for k in range(17):
            if on[k]:
                right.append(math.dist(a[k], b[k]) / (0.6 * math.hypot(w, h)) <= threshold)
    return statistics.fmean(right), skipped


def ece_by_pairs(p, happened, bins):
    pairs = sorted(zip(p.tolist(), happened.tolist(), strict=True))
    n = len(pairs) // bins
    gaps = []
    for start in range(0, len(pairs), n):
        some = pairs[start : start + n]
        gaps.append(abs(sum(q - yes for q, yes in some)) / n)
    return sum(gaps) / bins


def crop_test_by_points(input_affine):
    for box in ((7, 300, 33, 120), (250.5, 12, 140, 21)):
        for size in (64, 224):
            matrix = np.vstack([input_affine(np.array(box), size), [0, 0, 1]])
            x, y, w, h = box

            def to(px, py, matrix=matrix):
                return matrix @ [px - 0.5, py - 0.5, 1]

            middle = to(x + w / 2, y + h / 2)[:2]
            assert np.abs(middle - (size / 2 - 0.5)).max() < 1e-6
            right, down = to(x + w, y) - to(x, y), to(x, y + h) - to(x, y)
            assert right[0] > 0 and abs(right[1]) < 1e-6 and down[1] > 0 and abs(down[0]) < 1e-6
            assert abs(right[0] / w - down[1] / h) < 1e-9
            assert size / 2 <= max(right[0], down[1]) <= size


def factor_by_search(error, sigma, weight, density):
    """The minimum of the likelihood's negative logarithm, by golden section."""
    on = weight > 0
    ratio = np.abs(error[on] / sigma[on])

    def cost(log_c):
        scaled = ratio / math.exp(log_c)
        return log_c + np.mean(scaled if density == "laplace" else scaled**2 / 2)

    low, high = -3.0, 5.0
    for _ in range(90):
        a, b = low + 0.382 * (high - low), low + 0.618 * (high - low)
        low, high = (low, b) if cost(a) < cost(b) else (a, high)
    return math.exp(low)


def back_by_posekit(uv, joint, side, angle, mirrored, fraction):
    affine = geometry.crop_affine(joint, side, 64, rotation=angle, flip=bool(mirrored))
    inside = geometry.decode_keypoints(np.asarray(uv)[None], (64, 64))
    there = geometry.apply_affine(geometry.invert(affine), inside)[0]
    return tuple(np.asarray(joint) * (1 - fraction) + there * fraction)


def invented_by_numpy(pose, mean, covariance, swapped, rng):
    torso = 0.5 * (math.dist(pose[5], pose[12]) + math.dist(pose[6], pose[11]))
    twin = dict(enumerate(COCO17.flip_indices))
    out = []
    for k in range(17):
        meant = pose[twin[k]] if rng.uniform() < swapped[k] else pose[k]
        out.append(meant - torso * rng.multivariate_normal(mean[k], covariance[k]))
    return out


def quantised_by_bisection(x, low, high):
    grid_low, grid_high = sorted([0, low, high])[0], sorted([0, low, high])[-1]
    step = (grid_high - grid_low) / 255
    zero = int(np.rint(-grid_low / step))
    edges = [(q - zero + 0.5) * step for q in range(255)]
    q = [bisect.bisect_left(edges, value) for value in np.ravel(x)]
    return np.array(q, "uint8").reshape(np.shape(x)), np.float64(step), np.int64(zero)


def filter_by_closure(f_min, beta):
    """A function that keeps its state in a dictionary, in place of a class."""
    kept = {}

    def blend(cutoff, dt, new, old):
        alpha = 2 * math.pi * cutoff * dt / (2 * math.pi * cutoff * dt + 1)
        return alpha * new + (1 - alpha) * old

    def step(value, dt):
        if not kept:
            kept.update(value=value, speed=0 * value)
        else:
            kept["speed"] = blend(1, dt, (value - kept["value"]) / dt, kept["speed"])
            kept["value"] = blend(f_min + beta * abs(kept["speed"]), dt, value, kept["value"])
        return kept["value"]

    return step


FORMS = [
    (ch01.check_count_joints, joints_one_by_one),
    (ch01.check_flip_person, mirrored_by_opencv),
    (ch02.check_census, census_by_counter),
    (ch03.check_read_varint, varint_from_bits),
    (ch04.check_paths, paths_by_polynomial),
    (ch05.check_dense_layer, layer_of_keras),
    (ch06.check_masked_l2, loss_by_selecting),
    (ch07.check_fair_pairs, pairs_by_combinations),
    (ch08.check_match, match_by_sets),
    (ch09.check_pckh, pckh_person_by_person),
    (ch10.check_equal_count_ece, ece_by_pairs),
    (ch11.check_test_crop, crop_test_by_points),
    (ch12.check_sigma_factor, factor_by_search),
    (ch13.check_put_back, back_by_posekit),
    (ch13.check_invent, invented_by_numpy),
    (ch14.check_quantise, quantised_by_bisection),
    (ch15.check_one_euro, filter_by_closure),
]


@pytest.mark.parametrize(("check", "answer"), FORMS, ids=lambda f: f.__name__)
def test_a_right_answer_of_another_form_passes(check, answer, capsys):
    check(answer)
    assert capsys.readouterr().out.startswith("✓ ")
