"""The experiments of chapters 04 to 07: what they measure is what they say, and an interrupted one
goes on."""

import json
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np
import pytest
from experiments import (
    EXPERIMENTS,
    ablation,
    backbone_comparison,
    common,
    depth,
    loss_comparison,
    mark_failures,
    transfer,
)

from posekit import geometry, losses, models, records, training
from posekit.errors import DataError
from posekit.inference import predictor
from posekit.models import densenet


def silence_branches(model: keras.Model) -> keras.Model:
    """All convolutions of the units at 0: only the shortcuts are left."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D) and layer.name.startswith("block"):
            layer.set_weights([np.zeros_like(w) for w in layer.get_weights()])
    return model


@pytest.mark.parametrize(("variant", "factor"), [("v2", 1.0), ("v2_half", 0.5)])
def test_where_only_the_shortcuts_are_left_the_gradient_is_their_product(variant, factor):
    model = silence_branches(depth.stack(depth.UNITS[variant], 6, width=4, side=8))
    np.testing.assert_allclose(
        depth.gradient_norms(model, 0, batch=2), factor ** np.arange(6, -1, -1.0), rtol=1e-5
    )


def test_the_relu_after_the_addition_lets_no_gradient_through_where_the_sum_is_negative():
    model = silence_branches(depth.stack(depth.UNITS["v1"], 4, width=4, side=8))
    norms = depth.gradient_norms(model, 0, batch=2)
    assert 0 < norms[0] < 1, "the first units' input holds zeros, behind which the gradient stops"
    np.testing.assert_allclose(norms[:-1], norms[0], rtol=1e-5)


def test_a_plain_stack_loses_its_gradient_with_its_convolutions():
    model = depth.stack(depth.UNITS["plain"], 3, width=4, side=8)
    assert np.all(depth.gradient_norms(model, 0, batch=2) > 0)
    assert not any(layer.name.endswith("_add") for layer in model.layers)


def test_kernel_gradients_are_as_long_as_a_step_at_rate_one():
    keras.utils.set_random_seed(2)
    model = models.build("plain10", base_channels=2, input_size=64, input_downsample=1)
    rng = np.random.default_rng(1)
    images = rng.uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    keypoints = np.concatenate(
        [rng.uniform(-0.4, 0.4, (2, 17, 2)), np.ones((2, 17, 1))], axis=-1
    ).astype(np.float32)
    found = depth.kernel_gradients(model, images, {"keypoints": keypoints})
    assert [name for name, _ in found] == [
        x.name for x in model.layers if isinstance(x, keras.layers.Conv2D)
    ]
    before = {name: model.get_layer(name).kernel.numpy() for name, _ in found}
    model.compile(keras.optimizers.SGD(1.0), loss={"keypoints": losses.masked_l1})
    model.train_on_batch(images, {"keypoints": keypoints})
    for name, norm in found:
        moved = before[name] - model.get_layer(name).kernel.numpy()
        assert np.linalg.norm(moved) == pytest.approx(norm, rel=1e-3), name


def test_feature_reuse_reads_the_kernels_source_by_source():
    image = keras.Input((64, 64, 3))
    model = keras.Model(image, densenet.densenet(image, (2, 1, 1, 1), 4))
    reader = model.get_layer("block1_layer2_conv1")
    kernel = np.zeros((1, 1, 12, 16), np.float32)
    kernel[:, :, :8], kernel[:, :, 8:] = (
        0.5,
        -2,
    )  # the block's input has 8 channels, the first layer adds 4
    reader.set_weights([kernel])
    found = densenet.feature_reuse(model)
    assert sorted(found) == ["block1", "block2", "block3", "block4"]
    assert [len(row) for row in found["block1"]] == [1, 2, 3] and [
        len(row) for row in found["block4"]
    ] == [1]
    assert found["block1"][1] == [0.25, 1.0]
    start = keras.models.clone_model(model)
    start.set_weights(model.get_weights())
    kernel[:, :, :8] += 3
    kernel[:, :, 8:] -= 6
    reader.set_weights([kernel])
    changed = densenet.feature_reuse(model, start)
    assert changed["block1"][1] == [0.5, 1.0], "only what has changed counts"


def test_a_cut_connection_costs_what_it_carried_and_is_mended_afterwards():
    keras.utils.set_random_seed(3)
    image = keras.Input((64, 64, 3))
    features = densenet.densenet(image, (2, 1, 1, 1), 4)
    joints = keras.layers.Dense(34)(keras.layers.GlobalAveragePooling2D()(features))
    model = keras.Model(image, {"keypoints": keras.layers.Reshape((17, 2))(joints)})
    reader = model.get_layer("block1_layer2_conv1")
    kernel = reader.get_weights()[0]
    kernel[:, :, 8:] = 0  # it does not listen to the first layer
    reader.set_weights([kernel])
    before = [w.copy() for w in model.get_weights()]
    images = np.random.default_rng(0).uniform(-1, 1, (6, 64, 64, 3)).astype(np.float32)
    target = np.ones((6, 17, 3), np.float32)
    target[..., :2] = model.predict(images, verbose=0)["keypoints"] + 0.01
    cuts = backbone_comparison.feature_cuts(model, images, target)
    assert [len(row) for row in cuts["block1"]] == [1, 2, 3] and [
        len(row) for row in cuts["block4"]
    ] == [1]
    assert cuts["block1"][1][1] == 0 and all(row[0] != 0 for row in cuts["block1"])
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_the_networks_of_the_race_do_equal_work():
    work_of = {
        name: sum(
            models.multiply_adds(
                models.build(
                    name, head="votes", base_channels=w, input_size=128, input_downsample=1
                )
            ).values()
        )
        for name, w in backbone_comparison.NETWORKS.items()
    }
    assert max(work_of.values()) <= 1.03 * min(work_of.values()), work_of


def test_a_run_that_is_there_is_not_trained_again_and_another_recipe_is_refused(tmp_path, capsys):
    recipe = {"epochs": 1, "base_channels": 2}
    (tmp_path / "mine").mkdir()
    record = {
        "recipe": {
            **asdict(training.Recipe(**recipe)),
            "dtype": "mixed_bfloat16",
            "start_from": None,
        }
    }
    del (
        record["recipe"]["augment"]["camera"],
        record["recipe"]["num_joints"],
    )  # of a time before they were there
    (tmp_path / "mine" / "record.json").write_text(json.dumps(record))
    assert common.train(tmp_path, "mine", [], tmp_path, **recipe) == tmp_path / "mine"
    assert "there already" in capsys.readouterr().out
    with pytest.raises(DataError, match="another recipe"):
        common.train(tmp_path, "mine", [], tmp_path, epochs=2, base_channels=2)


def test_a_note_that_is_interrupted_loses_nothing(tmp_path, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    (tmp_path / "record.json").write_text('{"epochs": 3}')
    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        common.note(tmp_path, name="mine")
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]
    assert json.loads((tmp_path / "record.json").read_text()) == {"epochs": 3}
    monkeypatch.undo()
    common.note(tmp_path, name="mine")
    assert json.loads((tmp_path / "record.json").read_text()) == {"epochs": 3, "name": "mine"}


@pytest.mark.parametrize(
    ("pck", "base", "ratio", "reason"),
    [
        (0.39, 0.23, 0.7, None),
        (0.39, 0.23, 1.1, None),
        (0.37, 0.23, 0.9, "PCK@0.2 0.370 is +0.140 above the mean pose's 0.230, expected"),
        (0.20, 0.23, 0.9, "is -0.030 above"),
        (0.60, 0.23, 0.69, "collapse ratio 0.69, expected 0.7 to 1.1"),
        (0.60, 0.23, 9.27, "collapse ratio 9.27, expected 0.7 to 1.1"),
        (0.30, 0.23, 0.2, "at least +0.15; collapse ratio 0.20"),
        (0.60, 0.23, None, "not known"),
        (None, 0.23, 0.9, "not known"),
        (float("nan"), 0.23, float("nan"), "expected at least +0.15; collapse ratio nan"),
    ],
)
def test_a_failed_run_carries_its_reason(pck, base, ratio, reason):
    val = {"pck@0.2": pck, "collapse_ratio": ratio, "mean_pose": {"pck@0.2": base}}
    records = {"mine": {"val": dict(val)}, "unscored": {"images": 3}}
    mark_failures(records, draws_reasons=True)
    assert records["unscored"] == {"images": 3}
    if reason is None:
        assert records["mine"] == {"val": val}
    else:
        assert reason in records["mine"]["failure"]


def test_where_no_reasons_are_drawn_the_gain_over_the_mean_pose_is_the_only_bar():
    val = {"pck@0.2": 0.331, "collapse_ratio": 0.2, "mean_pose": {"pck@0.2": 0.23}}
    assert common.failure(val, draws_reasons=False) is None
    val["pck@0.2"] = 0.329
    assert "expected at least +0.10" in common.failure(val, draws_reasons=False)


def test_the_pilot_chooses_the_lowest_finite_training_loss(tmp_path):
    nan = float("nan")
    assert loss_comparison.best_rate({"0.0003": -2.0, "0.001": -2.5, "0.003": nan}) == 0.001
    assert loss_comparison.best_rate({"0.0003": nan, "0.001": nan, "0.003": 9.0}) == 0.003
    assert loss_comparison.best_rate({"0.0003": float("-inf"), "0.001": 1.0}) == 0.001
    (tmp_path / "log.csv").write_text("epoch,keypoints_loss\n1,0.5\n2,0.25\n")
    assert loss_comparison.training_loss(tmp_path) == 0.25


def test_a_run_starts_from_the_trained_backbone_and_a_head_of_its_seed(tmp_path):
    trained = predictor.load(loss_comparison.BACKBONE).model
    networks = {}
    for seed in (3, 4):
        recipe = training.Recipe(epochs=1, head="regression", loss="rle", seed=seed)
        start = common.backbone_weights(tmp_path, f"mine-{seed}", loss_comparison.BACKBONE, recipe)
        networks[seed] = training.build_network(recipe, 17)
        training.load_weights(networks[seed], start)
    for layer in networks[3].layers:
        mine, other = (n.get_layer(layer.name).get_weights() for n in networks.values())
        if layer.name.startswith("stage"):
            theirs = trained.get_layer(layer.name).get_weights()
            for a, b, c in zip(mine, other, theirs, strict=True):
                np.testing.assert_array_equal(a, b)
                np.testing.assert_allclose(a, c, rtol=2**-11, atol=6e-8)
        elif layer.name == "head_hidden":
            assert not np.allclose(mine[0], other[0])


@pytest.mark.slow
def test_the_loss_comparison_notes_pilot_and_variant(tmp_path, monkeypatch):
    monkeypatch.setattr(loss_comparison, "FRAMES", 8)
    monkeypatch.setattr(loss_comparison, "VAL_FRAMES", 4)
    monkeypatch.setattr(loss_comparison, "IMAGES", 32)
    monkeypatch.setattr(loss_comparison, "PILOT_IMAGES", 32)
    monkeypatch.setattr(loss_comparison, "SEEDS", (0,))
    monkeypatch.setattr(loss_comparison, "RATES", (1e-3, 1e-2))
    variants = {name: loss_comparison.VARIANTS[name] for name in ("l1", "rle")}
    monkeypatch.setattr(loss_comparison, "VARIANTS", variants)
    runs = loss_comparison.compare_losses(tmp_path)
    assert list(runs) == ["l1-0", "rle-0"]
    for name, run in runs.items():
        record = json.loads((run / "record.json").read_text())
        assert record["variant"] == name[:-2] and set(record["pilot"]) == {"0.001", "0.01"}
        assert record["recipe"]["learning_rate"] == loss_comparison.best_rate(record["pilot"])
        assert record["recipe"]["clip_norm"] == 1.0 and record["recipe"]["visibility_weight"] == 0
        assert record["val"]["mean_pose"]["pck@0.2"] is not None
        assert common.failure(record["val"]), "a network of one step cannot pass"
    assert "confidence_oks" in json.loads((runs["rle-0"] / "record.json").read_text())


def test_photos_say_what_they_need(monkeypatch):
    monkeypatch.delenv("POSEKIT_DATA", raising=False)
    with pytest.raises(DataError, match="lsp/ and lspet/"):
        common.photos("lsp", "lspet")


def test_every_experiment_says_what_it_shows():
    assert all(len(entry.about) > 20 and entry.function.__doc__ for entry in EXPERIMENTS.values())


# ---- the ablations of chapter 07 -----------------------------------------------------------------


def test_an_ablation_differs_from_its_reference_in_one_thing():
    assert set(ablation.REFERENCES) == set(ablation.RECIPES) - {"base"}
    elsewhere = {"stretched", "masked", "unmasked", "random"}  # in data, or in the first weights
    assert {"random"} == {
        row
        for row, reference in ablation.REFERENCES.items()
        if (row in ablation.FROM_RANDOM) != (reference in ablation.FROM_RANDOM)
    }
    for row, reference in ablation.REFERENCES.items():
        recipes = [
            asdict(training.Recipe(**{**ablation.COMMON, **ablation.RECIPES[name]}))
            for name in (row, reference)
        ]
        changed = {key for key in recipes[0] if recipes[0][key] != recipes[1][key]}
        if row == "cnn_no_norm":  # batch norm is a part of both
            assert changed == {"backbone", "head"}
        else:
            assert len(changed) == (0 if row in elsewhere else 1), (row, changed)
        assert recipes[0]["epochs"] == ablation.EPOCHS


@pytest.fixture(scope="module")
def two_records(tmp_path_factory):
    """Eight frames as records, and the same people stretched, and with labels taken away."""
    folder = tmp_path_factory.mktemp("ablation")
    source = common.minidome_records(folder, 8, 1, box_px=96)
    stretched = ablation.rewritten(source, folder / "stretched", ablation.stretch)
    gaps = ablation.rewritten(source, folder / "gaps", ablation.take_labels)
    return source, stretched, gaps


def test_records_made_with_other_arguments_are_not_taken_for_those_asked(two_records):
    source = two_records[0]
    assert common.minidome_records(source.parent, 8, 1, box_px=96) == source
    for frames, options in (
        (9, {"box_px": 96}),
        (8, {"box_px": 128}),
        (8, {}),
        (8, {"box_px": 96, "context": 2.0}),
    ):
        with pytest.raises(DataError, match="made with other arguments"):
            common.minidome_records(source.parent, frames, 1, **options)


def test_stretching_moves_nobody_in_the_photo_and_fills_the_crop_with_the_box(two_records):
    source, stretched, _ = two_records
    assert records.check(stretched)["people"] == records.check(source)["people"] > 8
    for before, after in zip(
        records.read_records(source), records.read_records(stretched), strict=True
    ):
        seen = before.labelled
        where = [geometry.apply_affine(p.crop_to_image, p.keypoints)[seen] for p in (before, after)]
        np.testing.assert_allclose(where[1], where[0], atol=0.05)
        x, y, w, h = after.bbox
        corners = geometry.apply_affine(
            geometry.invert(after.crop_to_image), np.array([[x, y], [x + w, y + h]])
        )
        sides = corners[1] - corners[0]
        assert sides[0] == pytest.approx(sides[1], rel=1e-3)
        assert sides[0] == pytest.approx(96 / geometry.PADDING, rel=0.02)
        assert after.encoded != before.encoded


def test_labels_are_taken_from_the_same_joints_every_time(two_records):
    source, _, gaps = two_records
    share = []
    for before, after in zip(records.read_records(source), records.read_records(gaps), strict=True):
        gone = (before.labelled) & (after.keypoints_visible == 0)
        left = after.labelled
        share.append(gone.sum() / max(1, (before.labelled).sum()))
        np.testing.assert_array_equal(after.keypoints[left], before.keypoints[left])
        assert not after.joint_known[gone].any() and not after.keypoints[gone].any()
        features = {
            "person/keypoints_visible": before.keypoints_visible,
            "person/keypoints": before.keypoints,
        }
        again = ablation.take_labels(
            features | {"person/joint_known": before.joint_known}, before.person_id
        )
        np.testing.assert_array_equal(again["person/keypoints_visible"] > 0, left)
    assert np.mean(share) == pytest.approx(ablation.MISSING, abs=0.08)


def test_without_a_mask_a_missing_joint_lies_in_the_corner():
    place = np.array([[[0.1, -0.2, 1], [0, 0, 0]]], np.float32)
    seen = np.array([[[1, 1], [0, 0]]], np.float32)
    images, targets = ablation.without_mask("images", {"keypoints": place, "visibility": seen})
    assert images == "images"
    expected = np.array([[[0.1, -0.2, 1], [-0.5, -0.5, 1]]], np.float32)
    np.testing.assert_array_equal(np.asarray(targets["keypoints"]), expected)
    np.testing.assert_array_equal(np.asarray(targets["visibility"]), [[[1, 1], [0, 1]]])


@pytest.mark.parametrize("variant", transfer.VARIANTS)
def test_every_start_fits_the_network_that_its_recipe_builds(variant):
    """All starts have the same time, and weights other than random ones differ from them."""
    start_from, recipe = transfer.make_recipe(variant, seed=1)
    assert (recipe.minutes, recipe.seed) == (transfer.MINUTES, 1)
    keras.utils.set_random_seed(1)
    network = training.build_network(recipe)
    before = [np.array(weight) for weight in network.get_weights()]
    if start_from is None:
        assert variant == "random"
        return
    training.load_weights(network, start_from)
    assert any(not np.array_equal(a, b) for a, b in zip(before, network.get_weights(), strict=True))


def test_the_frozen_backbone_leaves_only_the_head():
    _, recipe = transfer.make_recipe("imagenet-frozen", seed=0)
    network = training.build_network(recipe)
    training.freeze(network, recipe.frozen_stages)
    trained = {layer.name for layer in network.layers if layer.trainable_weights}
    assert trained
    assert all(name.startswith("head") for name in trained)
