"""MiniDome: a generator of people in a dome of 31 calibrated cameras, the data the book runs on (chapters 01, 02).

The way from chance to picture, one module a step:

    dome     the cameras                          pose, actions   joint angles, their ranges, motion
    body     proportions, joints                  clothes, palette  flesh, faces, clothes, colours
    bvh, motion  real motion from files           scene, desk, phone  who and what stands where
    things   furniture                            solids          the shapes, and rays that meet them
    room, backdrop  what is behind                render          a camera's picture
    annotate exact labels                         sequence        files on disk
"""

from posekit.minidome.dataset import Dataset, dataset
from posekit.minidome.sequence import make_sequence

__all__ = ["Dataset", "dataset", "make_sequence"]
