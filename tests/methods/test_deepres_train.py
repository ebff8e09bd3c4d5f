import json
from dataclasses import replace

import gemmi
import numpy as np
import pytest
import torch

from distres.errors import InputError, OutputExistsError, ResumeError, UsageError
from distres.io.deepres_weights import load_weights, model_card
from distres.kernels.deepres import DeepResConfig, seeded_network
from distres.kernels.deepres_synthesis import Augmentation
from distres.methods.deepres_data import (
    DataRecipe,
    PieceFile,
    make_piece,
    random_rotation,
    structure_files,
)
from distres.methods.deepres_recipe import Recipe, TrainingRecipe, read_recipe, shipped_recipe
from distres.methods.deepres_sampler import Sampler
from distres.methods.deepres_train import TrainOptions, plan, train
from distres.methods.deepres_training import Training, loss_of, rate


@pytest.fixture(scope="module")
def structures(tmp_path_factory):
    """Four globules of carbon atoms at random, one made of nucleotides."""
    folder = tmp_path_factory.mktemp("structures")
    for number in range(4):
        rng = np.random.default_rng(number)
        model, chain = gemmi.Model(1), gemmi.Chain("A")
        for place in range(150):
            residue = gemmi.Residue()
            residue.name = "G" if number == 3 else "ALA"
            residue.seqid = gemmi.SeqId(place + 1, " ")
            atom = gemmi.Atom()
            atom.name, atom.element = "C1'", gemmi.Element("C")
            atom.pos = gemmi.Position(*rng.normal(0, 5, 3))
            residue.add_atom(atom)
            chain.add_residue(residue)
        model.add_chain(chain)
        whole = gemmi.Structure()
        whole.add_model(model)
        whole.write_pdb(str(folder / f"s{number}.pdb"))
    return folder


RECIPE = Recipe(
    network=DeepResConfig(
        voxel_size_angstrom=1.0,
        range_angstrom=(2.5, 13.0),
        widths=(4, 6, 6, 8),
        kernels=(5, 5, 3, 3),
        dilations=(1, 1, 1, 1),
        head=8,
    ),
    data=DataRecipe(
        cube_angstrom=40.0,
        margin_angstrom=10.5,
        atoms_per_piece=150,
        most_pieces=2,
        validation=("s2",),
        held_out=("s1",),
    ),
    training=TrainingRecipe(
        steps=6, batch=4, crop_vox=15, pool=6, refresh=1, validate_every=3, validation_crops=8
    ),
    augmentation=Augmentation(),
)


def options(structures, output, **changes):
    return TrainOptions(structures=structures, recipe=RECIPE, output=output, **changes)


def training(**changes):
    return replace(RECIPE, training=replace(RECIPE.training, **changes))


@pytest.fixture(scope="module")
def trained(structures, tmp_path_factory):
    output = tmp_path_factory.mktemp("trained")
    train(options(structures, output, overwrite=True))
    return output


def test_training_writes_weights_that_say_what_they_are(trained):
    network = load_weights(trained / "weights.safetensors")
    assert network.config == RECIPE.network
    card = model_card(trained / "weights.safetensors")
    assert card["structures"] == {"training": 2, "held out": 1, "validation": 1}
    assert "BSD-3-Clause" in card["licence"]
    assert card["recipe"]["training"]["steps"] == 6
    curve = json.loads((trained / "curve.json").read_text())
    assert [entry["step"] for entry in curve] == [3, 6]


def test_held_out_structures_become_no_density(trained):
    pieces = json.loads((trained / "pieces" / "pieces.json").read_text())["pieces"]
    assert {piece["structure"]: piece["split"] for piece in pieces} == {
        "s0": "training",
        "s2": "validation",
        "s3": "training",
    }
    assert [piece["structure"] for piece in pieces if piece["nucleic"]] == ["s3"]
    lines = (trained / "manifest.tsv").read_text().splitlines()[1:]
    assert [line.split("\t")[3] for line in lines] == [
        "training",
        "held out",
        "validation",
        "training",
    ]


def test_the_same_seed_gives_the_same_weights(structures, trained, tmp_path):
    again = load_weights(train(options(structures, tmp_path)))
    first = load_weights(trained / "weights.safetensors")
    for one, other in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_resuming_goes_on_from_the_step_reached(structures, tmp_path):
    short = replace(options(structures, tmp_path), recipe=training(steps=3))
    train(short)
    train(options(structures, tmp_path, resume=True))
    curve = json.loads((tmp_path / "curve.json").read_text())
    assert [entry["step"] for entry in curve] == [3, 6]


def test_a_training_that_goes_on_sees_other_batches(trained):
    pieces = [
        PieceFile(**entry)
        for entry in json.loads((trained / "pieces" / "pieces.json").read_text())["pieces"]
    ]
    batches = [Sampler(pieces, trained / "pieces", RECIPE, 0, part).batch(4) for part in (0, 0, 3)]
    assert np.array_equal(batches[0].density, batches[1].density)
    assert not np.array_equal(batches[0].label_angstrom, batches[2].label_angstrom)


def test_a_checkpoint_of_another_recipe_is_refused_by_the_value_that_differs(structures, trained):
    other = replace(options(structures, trained, resume=True), recipe=training(batch=5))
    with pytest.raises(ResumeError, match=r"other values of training\.batch"):
        train(other)


def test_a_finished_training_is_not_overwritten(structures, trained):
    with pytest.raises(OutputExistsError, match="--resume to go on"):
        plan(options(structures, trained))


def test_fine_tuning_begins_at_the_weights_given(structures, trained, tmp_path):
    slow = training(steps=1, learning_rate=1e-12, validate_every=1)
    start = str(trained / "weights.safetensors")
    tuned = train(replace(options(structures, tmp_path, start_from=start), recipe=slow))
    # One step of 1e-12 moves nothing; the last bias is the calibration's.
    pairs = zip(
        load_weights(trained / "weights.safetensors").named_parameters(),
        load_weights(tuned).parameters(),
        strict=True,
    )
    for (name, before), after in pairs:
        if name != "answer.bias":
            assert torch.allclose(before, after, atol=1e-9), name


def test_weights_begin_on_other_voxels_with_the_same_resolution_in_voxels(tmp_path):
    config = replace(RECIPE.network, voxel_size_angstrom=0.5, range_angstrom=(1.5, 6.0))
    coarse = seeded_network(RECIPE.network, 7)
    recipe = replace(RECIPE, network=config)
    fine = Training(recipe, None, None, tmp_path)
    fine.start_from(coarse)
    block = torch.randn(1, 1, 14, 14, 14, generator=torch.Generator().manual_seed(0))
    before, after = coarse.logarithms(block)[0], fine.network.logarithms(block)[0]
    # float32 logarithms of order 1.
    assert torch.allclose(after, before + np.log(0.5), atol=1e-5)


def test_weights_of_another_shape_cannot_be_tuned(structures, trained, tmp_path):
    wide = replace(RECIPE, network=replace(RECIPE.network, head=9))
    start = str(trained / "weights.safetensors")
    with pytest.raises(UsageError, match="have head 8, the recipe has 9"):
        plan(replace(options(structures, tmp_path, start_from=start), recipe=wide))


def test_a_split_without_validation_is_refused(structures, tmp_path):
    alone = replace(RECIPE, data=replace(RECIPE.data, validation=()))
    with pytest.raises(UsageError, match="3 structures for training and 0 for validation"):
        plan(replace(options(structures, tmp_path), recipe=alone))


def test_a_structure_cannot_be_held_out_and_validate():
    with pytest.raises(UsageError, match="s1 are both"):
        replace(RECIPE.data, validation=("s1",))


def test_folders_without_structures_are_refused(tmp_path):
    with pytest.raises(InputError, match="holds no structures"):
        structure_files(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        structure_files(tmp_path / "absent")


@pytest.mark.parametrize("model", ["A", "B"])
def test_shipped_recipes_hold_out_thirty_structures_and_fit_their_crops(model):
    recipe = read_recipe(shipped_recipe(model))
    assert len(recipe.data.held_out) >= 30
    assert recipe.network.voxel_size_angstrom == {"A": 1.0, "B": 0.5}[model]


@pytest.mark.parametrize("model", ["A", "B"])
def test_the_shipped_manifest_splits_as_the_shipped_recipes_do(model):
    recipe = read_recipe(shipped_recipe(model))
    lines = shipped_recipe(model).with_name("deepres_manifest.tsv").read_text().splitlines()[1:]
    rows = [line.split("\t") for line in lines]
    assert len(rows) == 410
    for name, _, digest, split in rows:
        assert split == recipe.data.split_of(name)
        assert len(digest) == 64


def test_a_recipe_with_an_unknown_value_is_refused_by_name(tmp_path):
    text = shipped_recipe("A").read_text().replace("\nsteps", "\nstepps = 3\nsteps")
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(UsageError, match="unknown values in \\[training\\]: stepps"):
        read_recipe(tmp_path / "mine.toml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("steps = ", "# steps = ", r"\[training\] of .* lacks steps"),
        ("cube_angstrom = ", 'cube_angstrom = "wide" # ', "must be numbers, not 'wide'"),
        ("range_angstrom = ", "range_angstrom = [2.5] # ", "must be numbers, not \\[2.5\\]"),
        ("batch = ", "batch = 3.5 # ", "batch in .* must be whole numbers, not 3.5"),
        ("seed = ", "seed = true # ", "must be whole numbers, not True"),
    ],
)
def test_a_recipe_with_a_wrong_value_is_refused_by_name(tmp_path, old, new, message):
    text = shipped_recipe("A").read_text().replace("\n" + old, "\n" + new)
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_recipe(tmp_path / "mine.toml")


def test_resuming_nothing_is_refused(structures, tmp_path):
    with pytest.raises(ResumeError, match=r"holds no checkpoint\.pt to go on from"):
        plan(options(structures, tmp_path, resume=True))


def test_margins_too_narrow_for_the_crops_are_refused():
    with pytest.raises(UsageError, match=r"margin_angstrom of at least 10\.5, not 9"):
        replace(RECIPE, data=replace(RECIPE.data, margin_angstrom=9.0))


def test_the_learning_rate_rises_stays_and_falls_to_zero():
    schedule = TrainingRecipe(steps=1000, learning_rate=1.0, warm_up=100, decay_share=0.5)
    assert rate(schedule, 0) == pytest.approx(0.01)
    assert rate(schedule, 300) == 1.0
    assert rate(schedule, 750) == pytest.approx(0.5)
    assert rate(schedule, 999) < 1e-5


def test_the_likelihood_of_the_uncertainty_leaves_the_mean_alone():
    mean = torch.zeros(2, 1, 1, 1, requires_grad=True)
    label, weight = torch.tensor([0.01, -0.02]), torch.ones(2, 1, 1, 1)
    gradients = []
    for log_sigma in (-4.0, -1.0):
        loss = loss_of(mean, torch.full((2, 1, 1, 1), log_sigma), label, weight)
        gradients.append(torch.autograd.grad(loss, mean)[0])
    assert torch.equal(*gradients)


def test_voxels_without_weight_count_nothing():
    mean, log_sigma = torch.tensor([[[[1.0]]], [[[50.0]]]]), torch.zeros(2, 1, 1, 1)
    weight = torch.tensor([1.0, 0.0]).reshape(2, 1, 1, 1)
    alone = loss_of(mean[:1], log_sigma[:1], torch.zeros(1), weight[:1])
    assert torch.equal(loss_of(mean, log_sigma, torch.zeros(2), weight), alone)


def test_rotations_are_rotations():
    rng = np.random.default_rng(0)
    for _ in range(20):
        matrix = random_rotation(rng)
        # Orthogonal to rounding, and no reflection: the hand of a molecule is kept.
        assert np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(matrix) == pytest.approx(1)


def test_a_piece_has_its_atoms_in_the_middle_and_its_margin_empty(structures):
    from distres.io.structures import read_structure

    atoms = read_structure(structures / "s0.pdb").atoms
    piece = make_piece(atoms, 1.0, 12.0)
    inside = np.argwhere(piece.distance == 0)
    assert inside.min() >= 9  # 12 angstrom less the 2 that count as inside, less a half voxel
    assert len(piece.density) - 1 - inside.max() >= 9
    centre = np.argwhere(piece.distance == 0).mean(axis=0)
    weighted = np.average(
        np.indices(piece.density.shape).reshape(3, -1),
        axis=1,
        weights=np.maximum(piece.density, 0).ravel().astype(np.float64),
    )
    assert np.allclose(centre, weighted, atol=2)
