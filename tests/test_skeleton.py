"""The skeletons: the data sets' own orders, mirror twins, conversions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from posekit.skeleton import COCO17, LSP14, PANOPTIC19, Skeleton, convert, convert_flags

ALL = (COCO17, PANOPTIC19, LSP14)


@pytest.mark.parametrize("skeleton", ALL, ids=lambda s: s.name)
def test_each_skeleton_is_sound(skeleton):
    assert len(set(skeleton.joints)) == len(skeleton) == int(skeleton.name[-2:])
    assert all(a in skeleton.joints and b in skeleton.joints and a != b for a, b in skeleton.limbs)
    flip = np.array(skeleton.flip_indices)
    assert np.array_equal(flip[flip], np.arange(len(skeleton)))
    for joint, twin in zip(skeleton.joints, flip, strict=True):
        side, _, part = joint.partition("_")
        other = {"left": f"right_{part}", "right": f"left_{part}"}.get(side, joint)
        assert skeleton.joints[twin] == other
    mirrored = {frozenset((flip[a], flip[b])) for a, b in skeleton.limb_indices}
    assert mirrored == {frozenset(limb) for limb in skeleton.limb_indices}


def test_coco_is_in_the_official_order():
    official = (
        "nose,left_eye,right_eye,left_ear,right_ear,left_shoulder,right_shoulder,left_elbow,"
        "right_elbow,left_wrist,right_wrist,left_hip,right_hip,left_knee,right_knee,"
        "left_ankle,right_ankle"
    )
    assert ",".join(COCO17.joints) == official


def test_oks_sigmas_are_those_of_pycocotools():
    from pycocotools.cocoeval import Params

    assert np.allclose(COCO17.sigmas, Params("keypoints").kpt_oks_sigmas)


def test_every_coco_joint_is_in_panoptic_and_the_twelve_of_the_body_are_in_lsp():
    assert set(COCO17.joints) <= set(PANOPTIC19.joints)
    shared = set(COCO17.joints) & set(LSP14.joints)
    assert len(shared) == 12 and "nose" not in shared


@given(hnp.arrays(np.float64, (3, 17, 2), elements=st.floats(-1e4, 1e4)))
def test_there_and_back_is_the_identity(values):
    before = values.copy()
    assert np.array_equal(convert(convert(values, COCO17, PANOPTIC19), PANOPTIC19, COCO17), values)
    assert np.array_equal(values, before)


@pytest.mark.parametrize("source", ALL, ids=lambda s: s.name)
@pytest.mark.parametrize("target", ALL, ids=lambda s: s.name)
def test_convert_goes_by_name(source, target):
    values = np.arange(2 * len(source), dtype=np.float32).reshape(-1, 2)
    out = convert(values, source, target, fill=-7)
    assert out.shape == (len(target), 2) and out.dtype == values.dtype
    for k, joint in enumerate(target.joints):
        assert np.array_equal(
            out[k], values[source.index(joint)] if joint in source.joints else (-7, -7)
        )
    assert np.array_equal(convert_flags(values[:, 0], source, target, -7), out[:, 0])


@given(st.sampled_from(ALL), st.sampled_from(ALL))
def test_flipping_and_converting_commute(source, target):
    values = np.arange(len(source) * 2.0).reshape(-1, 2)
    first = convert(values[list(source.flip_indices)], source, target)
    assert np.array_equal(first, convert(values, source, target)[list(target.flip_indices)])


def test_wrong_shapes_and_names_say_what_is_expected():
    with pytest.raises(ValueError, match=r"expected \(\.\.\., 14, D\) for LSP14"):
        convert(np.zeros((17, 2)), LSP14, COCO17)
    with pytest.raises(KeyError, match="left_wrist"):
        COCO17.index("neck")
    assert Skeleton("two", ("left_a", "right_a"), ()).flip_indices == (1, 0)
