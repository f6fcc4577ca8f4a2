"""MiniDome: a generator of people in a dome of 31 calibrated cameras, the data the book runs on
(chapters 01, 02).

From random numbers to images, one module per step:

    dome     the cameras                          pose, actions   joint angles, their ranges, motion
    body     proportions, joints                  clothes, palette  body shape, faces, clothes,
    colours motion   motion capture from files            scene, desk, phone  people and furniture,
    one module per mode furniture  tables, boxes, seats               solids          shapes and ray
    intersection room, backdrop  background                    render          one camera's image
    annotate exact labels                         sequence        files on disk
"""

import sys

try:
    from posekit.minidome.dataset import Dataset, dataset
    from posekit.minidome.sequence import make_sequence
except ImportError as error:
    if sys.argv[:1] != ["-m"]:
        raise
    # `python -m posekit.minidome` imports this package before its __main__
    sys.stderr.write(
        f"error: {error}: this Python lacks posekit's packages "
        "(make setup, then: .venv/bin/python -m posekit.minidome)\n"
    )
    sys.exit(2)

__all__ = ["Dataset", "dataset", "make_sequence"]
