"""Wrong answers to the exercises of chapter 02, each with a piece of its hint."""

import numpy as np

from posekit.notebook.checks import ch02
from posekit.skeleton import COCO17, LSP14

# ---- exercise 1 ----------------------------------------------------------------------------------


def project(
    points,
    camera,
    *,
    turn=None,
    divide=True,
    lens=None,
    copied=False,
    pixels=None,
    behind=np.nan,
    late=False,
    given=None,
):
    """The right answer, with one handle for each mistake."""
    X, Y, Z = (points @ camera.R.T + camera.t if turn is None else turn(points, camera)).T
    Z = np.where(Z > 0, Z, behind * Z)
    x, y = (X / Z, Y / Z) if divide else (X, Y)
    k1, k2, p1, p2, k3 = camera.distCoef if lens is None else lens(camera.distCoef)
    if not divide:
        k1 = k2 = p1 = p2 = k3 = 0

    def bend(x, y):
        r2 = x**2 + y**2
        radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
        bent = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x**2)
        return bent, y * radial + 2 * p2 * (bent if copied else x) * y + p1 * (r2 + 2 * y**2)

    def sense(x, y):
        return (np.stack([x, y], axis=1) @ camera.K[:2, :2].T + camera.K[:2, 2]).T

    x, y = (
        bend(*sense(x, y)) if late else (sense if pixels is None else pixels(camera))(*bend(x, y))
    )
    return np.stack([x, y], axis=1)


def project_with(**mistake):
    return lambda points, camera: project(points, camera, **mistake)


def label_with(**mistake):
    return label(project_with(**mistake))


def project_and_drop(points, camera):
    answer = project(points, camera)
    return answer[np.isfinite(answer[:, 0])]


def project_all_or_nothing(points, camera):
    answer = project(points, camera)
    return answer if np.all(np.isfinite(answer)) else np.full_like(answer, np.nan)


def label(
    project,
    *,
    threshold=0.1,
    known=None,
    inside=None,
    flag=2,
    resolution=lambda camera: np.array(camera.resolution),
    low=-0.5,
    shift=-0.5,
):
    """A whole answer around a projection, with one handle for each mistake in the flags."""

    def label_joints(joints, camera):
        found = joints[:, 3] > threshold
        keypoints = project(joints[:, :3], camera)
        if len(keypoints) == len(joints):
            keypoints = np.where(found[:, None], keypoints, np.nan)
        frame = keypoints[:, :2]
        within = ((frame >= low) & (frame < resolution(camera) + shift)).all(axis=1)
        visible = flag * (within if inside is None else inside(keypoints))
        sure = found if known is None else known(joints, visible)
        return keypoints, visible, sure

    return label_joints


def label_in_place(joints, camera):
    joints[:, :3] -= camera.t
    return label(project)(joints, camera)


def homogeneous(points, camera):
    return np.concatenate([project(points, camera), np.ones((len(points), 1))], axis=1)


# ---- exercise 2 ----------------------------------------------------------------------------------

LSP_RULE, LSPET_RULE = (lambda flag: 2 - flag), (lambda flag: 2 * flag)


def leeds(
    joints,
    dataset,
    *,
    shift=-1,
    lsp=LSP_RULE,
    lspet=LSPET_RULE,
    names=LSP14.joints,
    known=None,
    face=(0, False),
):
    keypoints, visible, sure = np.zeros((17, 2)), np.full(17, face[0]), np.full(17, face[1])
    for name, (x, y, flag) in zip(names, joints):
        if name in COCO17.joints:
            k = COCO17.index(name)
            keypoints[k] = x + shift, y + shift
            visible[k] = (lsp if dataset == "lsp" else lspet)(flag)
            sure[k] = visible[k] > 0 if known is None else known(dataset, flag)
    return keypoints, visible, sure


def leeds_with(**mistake):
    return lambda joints, dataset: leeds(joints, dataset, **mistake)


def leeds_by_number(joints, dataset):
    keypoints, visible, known = leeds(joints, dataset)
    keypoints[:14] = joints[:, :2] - 1
    return keypoints, visible, known


def leeds_in_place(joints, dataset):
    joints[:, :2] -= 1
    return leeds(joints, dataset, shift=0)


SWAPPED = [
    n.replace("left", "*").replace("right", "left").replace("*", "right") for n in LSP14.joints
]


def leeds_swapped(joints, dataset):
    _, visible, known = leeds(joints, dataset)
    return leeds(joints, dataset, names=SWAPPED)[0], visible, known


# ---- exercise 3 ----------------------------------------------------------------------------------


def is_real(person):
    return not person["iscrowd"] and person["num_keypoints"] > 0


def census(
    annotations,
    sizes,
    *,
    keep=is_real,
    keep_cut=None,
    flags=None,
    columns=None,
    near=10,
    end=lambda a, b: a + b,
    edges=range(4),
):
    def fold(person):
        return (
            np.reshape(person["keypoints"], (17, 3))[:, 2]
            if flags is None
            else flags(person["keypoints"])
        )

    every = np.array([fold(person) for person in annotations if keep(person)])
    counts = np.stack([(every == v).sum(axis=0) for v in (0, 1, 2)], axis=1)
    cut = 0
    for person in filter(keep_cut or keep, annotations):
        (x, y, w, h), (width, height) = person["bbox"], sizes[person["image_id"]]
        gaps = x, y, width - end(x, w), height - end(y, h)
        cut += min(gaps[k] for k in edges) < near
    return counts if columns is None else columns(counts), cut


def census_with(**mistake):
    return lambda annotations, sizes: census(annotations, sizes, **mistake)


# ---- exercise 4 ----------------------------------------------------------------------------------


def rows(
    rows,
    sizes,
    *,
    names=COCO17.joints,
    flags="012",
    low=-0.5,
    high=-0.5,
    side=None,
    always=False,
    whose=("image", "person", "joint"),
    empty=True,
    photos=True,
    first=0,
    both=False,
):
    bad, seen = [], {}
    for i, row in enumerate(rows):
        wrong = (
            (photos and row["image"] not in sizes)
            or row["joint"] not in names
            or row["v"] not in flags
        )
        if not wrong and row["image"] in sizes and (always or row["v"] != "0"):
            for value, length in zip((row["x"], row["y"]), side or sizes[row["image"]]):
                if not value:
                    wrong = wrong or empty
                elif not low <= float(value) < length + high:
                    wrong = True
        key = tuple(row[k] for k in whose)
        if wrong or (key in seen and "joint" in whose):
            bad.append(i + first)
        if both and key in seen:
            bad.append(seen[key])
        seen.setdefault(key, i)
    return bad


def rows_with(**mistake):
    return lambda given, sizes: rows(given, sizes, **mistake)


# ---- found by changing the solutions piece by piece ----------------------------------------------


def census_by(near=lambda gap: gap < 10, labelled=lambda flags: flags > 0):
    def census(annotations, sizes):
        counts, cut = np.zeros((17, 3), int), 0
        for person in annotations:
            flags = np.array(person["keypoints"][2::3])
            if person["iscrowd"] or not np.any(labelled(flags)):
                continue
            counts += flags[:, None] == np.arange(3)
            x, y, w, h = person["bbox"]
            width, height = sizes[person["image_id"]]
            cut += bool(near(min(x, y, width - x - w, height - y - h)))
        return counts, cut

    return census


def impossible_with(low, high):
    """Rows outside of low ... length + high, or not in COCO's terms, or twice."""

    def impossible_rows(rows, sizes):
        bad, seen = [], set()
        for i, row in enumerate(rows):
            wrong = row["image"] not in sizes or row["joint"] not in COCO17.joints
            wrong = wrong or row["v"] not in ("0", "1", "2")
            if not wrong and row["v"] != "0":
                for value, length in zip((row["x"], row["y"]), sizes[row["image"]], strict=True):
                    wrong = wrong or value == "" or not low <= float(value) < length + high
            whose = row["image"], row["person"], row["joint"]
            if wrong or whose in seen:
                bad.append(i)
            seen.add(whose)
        return bad

    return impossible_rows


def as_text(impossible_rows):
    return lambda rows, sizes: [str(i) for i in impossible_rows(rows, sizes)]


WRONG = [
    (ch02.check_label_joints, label_with(turn=lambda p, c: p @ c.R + c.t), "rotated the other way"),
    (ch02.check_label_joints, label_with(turn=lambda p, c: p @ c.R.T), "t is missing"),
    (
        ch02.check_label_joints,
        label_with(turn=lambda p, c: (p - c.t) @ c.R.T),
        "position of the camera",
    ),
    (ch02.check_label_joints, label_with(lens=lambda d: np.zeros(5)), "has no distortion"),
    (
        ch02.check_label_joints,
        label_with(lens=lambda d: d[[0, 1, 3, 4, 2]]),
        "k3 is not the third number",
    ),
    (
        ch02.check_label_joints,
        label_with(lens=lambda d: d[[0, 1, 3, 2, 4]]),
        "p1 and p2 are swapped",
    ),
    (ch02.check_label_joints, label_with(copied=True), "the toolbox's bug"),
    (
        ch02.check_label_joints,
        label_with(pixels=lambda c: lambda x, y: (x * c.K[0, 0], y * c.K[1, 1])),
        "add cx and cy",
    ),
    (
        ch02.check_label_joints,
        label_with(
            pixels=lambda c: lambda x, y: (x * c.K[0, 0] + c.K[0, 2], y * c.K[0, 0] + c.K[1, 2])
        ),
        "fx for both axes",
    ),
    (
        ch02.check_label_joints,
        label(lambda points, camera: project(points, camera)[:, ::-1]),
        "x and y are swapped",
    ),
    (ch02.check_label_joints, label_with(divide=False), "Divide X and Y by Z"),
    (ch02.check_label_joints, label_with(late=True), "You distorted the pixels"),
    (ch02.check_label_joints, label_with(behind=1), "behind the camera get a pixel"),
    (ch02.check_label_joints, label_with(behind=-1), "behind the camera get a pixel"),
    (ch02.check_label_joints, label_in_place, "changed the `joints`"),
    (ch02.check_label_joints, label(project_and_drop), "Keep one row per joint"),
    (ch02.check_label_joints, label(project_all_or_nothing), "the joints in front of the camera"),
    (ch02.check_label_joints, label(homogeneous), "should have shape (12, 2)"),
    (
        ch02.check_label_joints,
        label(lambda points, camera: project(points, camera).round()),
        "each of the four steps",
    ),
    (ch02.check_label_joints, lambda joints, camera: None, "has no value yet"),
    (ch02.check_label_joints, label(project, threshold=-2), "middle of the floor"),
    (ch02.check_label_joints, label(project, threshold=0), "the threshold is 0.1"),
    (ch02.check_label_joints, label(project, known=lambda j, v: v > 0), "an exact label"),
    (
        ch02.check_label_joints,
        label(project, known=lambda j, v: (v > 0) | (j[:, 3] < 0)),
        "may be anywhere",
    ),
    (ch02.check_label_joints, label(project, flag=1), "other values than 0 and 2"),
    (
        ch02.check_label_joints,
        label(project, inside=lambda k: np.isfinite(k[:, 0])),
        "labelled as visible",
    ),
    (ch02.check_label_joints, label(project, low=0), "The left edge"),
    (ch02.check_label_joints, label(project, shift=0), "The right and the lower edge"),
    (
        ch02.check_label_joints,
        label(project, resolution=lambda c: np.array(c.resolution)[::-1]),
        "The right and the lower edge",
    ),
    (ch02.check_label_joints, lambda j, c: label(project)(j, c)[:2], "three things"),
    (ch02.check_read_leeds, leeds_by_number, "your nose is a right ankle"),
    (ch02.check_read_leeds, leeds_swapped, "Left and right are swapped"),
    (ch02.check_read_leeds, leeds_with(shift=0), "one pixel too far"),
    (ch02.check_read_leeds, leeds_with(shift=1), "shifted in the wrong direction"),
    (ch02.check_read_leeds, leeds_with(shift=-2), "compare name by name"),
    (
        ch02.check_read_leeds,
        leeds_with(lsp=LSPET_RULE, known=lambda d, f: True),
        "LSP by LSPET's rule",
    ),
    (ch02.check_read_leeds, leeds_with(lsp=lambda f: f), "copied LSP's flags"),
    (ch02.check_read_leeds, leeds_with(lsp=lambda f: 1 - f), "no v may be 0"),
    (ch02.check_read_leeds, leeds_with(lsp=lambda f: 1 + f), "Reversed"),
    (ch02.check_read_leeds, leeds_with(lsp=lambda f: 2), "come out as visible"),
    (
        ch02.check_read_leeds,
        leeds_with(lsp=lambda f: 2 * (1 - f)),
        "discarded LSP's hidden joints",
    ),
    (ch02.check_read_leeds, leeds_with(lspet=LSP_RULE), "LSPET by LSP's rule"),
    (ch02.check_read_leeds, leeds_with(lspet=lambda f: f), "marks each labelled joint as hidden"),
    (ch02.check_read_leeds, leeds_with(lspet=lambda f: 2), "flag 0 are not labelled: v = 0"),
    (ch02.check_read_leeds, leeds_with(lspet=lambda f: 1 + f), "not labelled, not hidden"),
    (ch02.check_read_leeds, leeds_with(face=(2, False)), "have no nose"),
    (ch02.check_read_leeds, leeds_with(face=(0, True)), "unlearn faces"),
    (ch02.check_read_leeds, leeds_with(known=lambda d, f: True), "may be anywhere"),
    (
        ch02.check_read_leeds,
        leeds_with(known=lambda d, f: f == 0 if d == "lsp" else f == 1),
        "hidden or not: all are known",
    ),
    (
        ch02.check_read_leeds,
        leeds_with(known=lambda d, f: d == "lsp"),
        "A joint that LSPET labelled is known",
    ),
    (ch02.check_read_leeds, leeds_in_place, "changed the `joints`"),
    (
        ch02.check_read_leeds,
        lambda joints, dataset: leeds(joints, dataset)[:2],
        "return three things",
    ),
    (ch02.check_read_leeds, lambda joints, dataset: None, "has no value yet"),
    (ch02.check_census, census_with(keep=lambda p: True), "counted every annotation"),
    (ch02.check_census, census_with(keep=lambda p: not p["iscrowd"]), "no labelled joint at all"),
    (ch02.check_census, census_with(keep=lambda p: p["num_keypoints"] > 0), "You counted a crowd"),
    (
        ch02.check_census,
        census_with(columns=lambda c: c[:, ::-1]),
        "columns are in the wrong order",
    ),
    (ch02.check_census, census_with(columns=lambda c: c.T), "should have shape (17, 3)"),
    (ch02.check_census, census_with(flags=lambda k: np.reshape(k, (3, 17))[2]), "not to (3, 17)"),
    (
        ch02.check_census,
        census_with(columns=lambda c: c + c @ [[0, 0, 0], [0, 0, 1], [0, 0, 0]]),
        "counted twice",
    ),
    (
        ch02.check_census,
        census_with(columns=lambda c: c @ [[1, 0, 0], [1, 0, 0], [0, 0, 1]]),
        "as missing",
    ),
    (ch02.check_census, census_with(columns=lambda c: c / c[0].sum()), "These are shares"),
    (ch02.check_census, census_with(columns=lambda c: c + 1), "Count by hand"),
    (ch02.check_census, census_with(keep_cut=lambda p: True), "left out here, too"),
    (ch02.check_census, census_with(near=1), "stop a little short"),
    (ch02.check_census, census_with(edges=[3]), "lower edge only"),
    (ch02.check_census, census_with(edges=[0, 1]), "find them at the left"),
    (ch02.check_census, census_with(edges=[2, 3]), "may also begin"),
    (ch02.check_census, census_with(end=lambda a, b: b), "box ends at x + w"),
    (ch02.check_census, census_with(near=40), "people are cut off, but you count"),
    (
        ch02.check_census,
        lambda annotations, sizes: census(annotations, sizes)[0],
        "return two things",
    ),
    (ch02.check_census, lambda annotations, sizes: None, "has no value yet"),
    (
        ch02.check_impossible_rows,
        rows_with(names=(*COCO17.joints, "left_hand")),
        "no joint called 'left_hand'",
    ),
    (ch02.check_impossible_rows, rows_with(flags="0123"), "v = 3 does not exist"),
    (ch02.check_impossible_rows, rows_with(low=0), "reaches from -0.5 to 0.5"),
    (ch02.check_impossible_rows, rows_with(high=-1), "still on the last pixel"),
    (ch02.check_impossible_rows, rows_with(low=-np.inf), "lies left of the photo"),
    (ch02.check_impossible_rows, rows_with(high=np.inf), "300 pixels high"),
    (ch02.check_impossible_rows, rows_with(high=3), "400 pixels wide"),
    (ch02.check_impossible_rows, rows_with(side=(400, 300)), "look up each photo's own size"),
    (ch02.check_impossible_rows, rows_with(always=True), "v = 0 needs no coordinates"),
    (ch02.check_impossible_rows, rows_with(always=True, empty=False), "so they cannot be wrong"),
    (ch02.check_impossible_rows, rows_with(whose=("image", "joint")), "another person's nose"),
    (ch02.check_impossible_rows, rows_with(whose=("person", "joint")), "another photo's person 1"),
    (ch02.check_impossible_rows, rows_with(whose=("image",)), "already has a row"),
    (ch02.check_impossible_rows, rows_with(photos=False), "no photo of that name"),
    (ch02.check_impossible_rows, rows_with(empty=False), "without an x"),
    (ch02.check_impossible_rows, rows_with(first=1), "count from 1"),
    (ch02.check_impossible_rows, rows_with(both=True), "name both rows"),
    (ch02.check_impossible_rows, lambda given, sizes: rows(given, sizes) * 2, "named twice"),
    (
        ch02.check_impossible_rows,
        lambda given, sizes: len(rows(given, sizes)),
        "list of row numbers",
    ),
    (ch02.check_impossible_rows, lambda given, sizes: None, "has no value yet"),
    (ch02.check_census, census_by(near=lambda gap: gap <= 10), "rule is *less than* 10"),
    (ch02.check_census, census_by(near=lambda gap: gap < 9), "people are cut off, but"),
    (ch02.check_census, census_by(labelled=lambda flags: flags == 2), "is left out"),
    (ch02.check_impossible_rows, impossible_with(-0.5, 0), "reaches from -0.5 to 119.5"),
    (ch02.check_impossible_rows, impossible_with(-0.5, 0.5), "reaches from -0.5 to 119.5"),
    (ch02.check_impossible_rows, impossible_with(-1, -0.5), "reaches from -0.5 to 119.5"),
    (ch02.check_impossible_rows, as_text(impossible_with(-0.5, -0.5)), "should be numbers"),
]
