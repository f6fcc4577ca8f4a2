"""Functions of posekit that are the answer to an exercise, or most of it.

`judge.py` switches them off while a student's answer to that exercise runs, so that an answer
which only calls one of them is recognised. Functions that an answer may use as a tool are not in
the list, nor are NumPy's and Keras' own. All private functions of `posekit.notebook.checks` are
switched off for every exercise.
"""

OWN_ANSWERS: dict[str, tuple[str, ...]] = {
    "ch01.check_flip_person": ("geometry.flip_keypoints",),
    "ch01.check_crop_to_photo": ("geometry.crop_affine", "geometry.invert"),
    "ch01.check_codec_is_sound": ("geometry.encode_keypoints", "geometry.decode_keypoints"),
    "ch01.check_count_joints": ("geometry.inside",),
    "ch02.check_label_joints": (
        "cameras.project",
        "cameras.distort",
        "cameras.to_camera",
        "cameras.in_view",
    ),
    "ch02.check_read_leeds": (
        "skeleton.convert",
        "skeleton.convert_flags",
        "datasets.lsp.read",
        "datasets.lsp.read_lspet",
    ),
    "ch02.check_census": ("datasets.coco.read",),
    "ch03.check_read_varint": ("records.tfrecord._read_varint", "records.tfrecord.parse_example"),
    "ch03.check_read_frames": (
        "records.tfrecord.scan",
        "records.tfrecord.read_payloads",
        "records.tfrecord._read_record",
    ),
    "ch03.check_flip_batch": ("geometry.flip_keypoints",),
    "ch04.check_preact_bottleneck": ("models.resnet.preact_bottleneck_unit",),
    "ch04.check_unit_parameters": ("models.resnet.bottleneck_unit",),
    "ch05.check_dense_layer": ("models.densenet.dense_layer", "models.densenet.dense_block"),
    "ch05.check_channels": ("models.densenet.densenet",),
    "ch05.check_fixed_block": ("models.densenet.dense_layer", "models.densenet.dense_block"),
    "ch06.check_masked_l2": ("losses.masked_l2",),
    "ch06.check_training_targets": ("inputs.targets.encode_targets",),
    "ch07.check_collapse_ratio": ("metrics.collapse_ratio",),
    "ch08.check_match": ("models.pretrained.copy_weights",),
    "ch09.check_pckh": ("metrics.pck_hits", "metrics.pck", "metrics.pckh"),
    "ch09.check_average_precision": ("metrics.coco_scores", "metrics.average_precision"),
    "ch10.check_equal_count_ece": (
        "metrics.expected_calibration_error",
        "metrics.reliability",
    ),
    "ch10.check_difference": ("metrics.paired_bootstrap", "metrics.bootstrap_ci"),
    "ch11.check_mirror": ("geometry.flip_keypoints",),
    "ch12.check_laplace_log": ("losses.masked_laplace", "losses.laplace_nll"),
    "ch12.check_soft_argmax": ("models.heads.integral_head",),
    "ch13.check_put_back": ("geometry.crop_affine", "inference.cascade.sub_image_affines"),
    "ch13.check_invent": (
        "inference.cascade.Displacements.draw",
        "inference.cascade.simulate_person",
    ),
    "ch13.check_refiners_cost": ("inference.cascade.refiner", "inference.cascade.multiply_adds"),
    "ch15.check_next_square": (
        "live.tracking.next_crop",
        "inference.body_square.square_around",
    ),
    "ch15.check_one_euro": ("live.one_euro.smooth",),
    "ch15.check_follow_one": ("live.tracking.update",),
    "ch15.check_count_raises": ("live.repetitions.count", "live.repetitions.exercise_angle"),
}
"""Check -> names below `posekit`."""
