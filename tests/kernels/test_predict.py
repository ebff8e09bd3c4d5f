"""Running a network over a block: pieces, windows, precision and what is not computed."""

import numpy as np
import pytest
import torch

from distres.errors import UsageError
from distres.kernels.deepres import DeepResConfig, seeded_network
from distres.kernels.predict import (
    Workload,
    choose_precision,
    pieces,
    predict_nodes,
    window_rms,
)

SMALL = DeepResConfig(
    voxel_size_angstrom=1.0, range_angstrom=(2.5, 13.0), widths=(4, 4, 6, 6, 8, 8), head=8
)
PLAIN = DeepResConfig(voxel_size_angstrom=1.0, range_angstrom=(2.5, 13.0))


@pytest.fixture(scope="module")
def network():
    return seeded_network(SMALL, 3).eval()


@pytest.fixture(scope="module")
def block():
    return torch.randn(30, 27, 28, generator=torch.Generator().manual_seed(0))


def test_pieces_of_any_size_give_what_one_pass_gives(network, block):
    with torch.inference_mode():
        whole = network(block[None, None])[0]
    needed = np.ones(whole.shape[1:], bool)
    for budget in (1e6, 2e6, 1e9):
        found = predict_nodes(
            network, block, needed, workload=Workload.of(SMALL), budget_bytes=budget
        )
        # Sums of the same products, perhaps in another order: float32 on values up to 14.
        assert (found - whole).abs().max() < 1e-5


def test_windows_alone_give_what_the_dense_pass_gives_at_their_nodes(network, block):
    every = 5
    with torch.inference_mode():
        whole = network(block[None, None])[0][:, ::every, ::every, ::every]
    needed = np.ones(whole.shape[1:], bool)
    windows = Workload(window_operations=1.0, dense_operations=0.5, bytes_per_voxel=1e3)
    assert windows.windows_pay(every)
    found = predict_nodes(network, block, needed, workload=windows, every=every, budget_bytes=5e6)
    # Windows alone are scaled each by its own power of two, which is exact: rounding remains.
    assert (found - whole).abs().max() < 1e-4
    dense = Workload(window_operations=1e9, dense_operations=1.0, bytes_per_voxel=1e3)
    found = predict_nodes(network, block, needed, workload=dense, every=every)
    assert (found - whole).abs().max() < 1e-5


def test_only_needed_nodes_with_density_get_an_answer(network, block):
    empty = block.clone()
    empty[:, :, 14:] = 0
    needed = np.zeros((18, 15, 16), bool)
    needed[2:5, 3:9, :] = True
    rms = window_rms(empty)
    found = predict_nodes(network, empty, needed, workload=Workload.of(SMALL), floor=0.1)
    known = torch.isfinite(found).all(dim=0).numpy()
    np.testing.assert_array_equal(known, needed & (rms > 0.1).numpy())
    assert not known[:, :, -1].any()


def test_the_rms_of_a_window_is_that_of_its_voxels(block):
    window = block[4:17, 5:18, 6:19]
    assert float(window_rms(block)[4, 5, 6]) == pytest.approx(
        float(window.square().mean().sqrt()), rel=1e-5
    )


def test_pieces_cover_true_voxels_once_and_hold_none_that_could_be_left_out():
    known = np.random.default_rng(1).random((17, 20, 23)) < 0.02
    covered = np.zeros(known.shape, int)
    for piece in pieces(known, 6):
        covered[piece] += 1
        part = known[piece]
        for axis in range(3):
            line = part.any(axis=tuple(a for a in range(3) if a != axis))
            assert line[0]
            assert line[-1]
            assert len(line) <= 6
    assert covered.max() == 1
    assert (covered[known] == 1).all()


def test_a_lone_window_costs_as_many_multiply_adds_as_its_layers_have_products():
    counted = 0

    def count(layer, given, answer):
        nonlocal counted
        counted += layer.weight.numel() * answer[0, 0].numel()

    network = seeded_network(PLAIN, 0)
    for layer in [*network.trunk, network.hidden, network.answer]:
        layer.register_forward_hook(count)
    network(torch.randn(1, 1, 13, 13, 13))
    workload = Workload.of(PLAIN)
    assert workload.window_operations == counted
    assert workload.dense_operations == PLAIN.operations_per_voxel
    every = next(n for n in range(1, 13) if workload.windows_pay(n))
    assert counted < workload.dense_operations * every**3
    assert counted >= workload.dense_operations * (every - 1) ** 3


@pytest.mark.parametrize(
    ("requested", "device", "capability", "chosen"),
    [
        ("auto", "cpu", None, torch.float32),
        ("auto", "cuda", (6, 1), torch.float32),
        ("auto", "cuda", (7, 0), torch.float16),
        ("auto", "cuda", (9, 0), torch.float16),
        ("fp32", "cuda", (9, 0), torch.float32),
        ("bf16", "cuda", (8, 0), torch.bfloat16),
        ("bf16", "cpu", None, torch.bfloat16),
        ("fp16", "cuda", (7, 5), torch.float16),
    ],
)
def test_the_precision_follows_what_the_device_has(requested, device, capability, chosen):
    assert choose_precision(requested, device, capability) is chosen


@pytest.mark.parametrize(
    ("requested", "device", "capability", "said"),
    [
        ("fp16", "cpu", None, "needs a GPU"),
        ("bf16", "cuda", (7, 5), "8.0 or more, this one has 7.5"),
        ("half", "cpu", None, "'half' is unknown"),
    ],
)
def test_arithmetic_that_the_device_lacks_is_refused(requested, device, capability, said):
    with pytest.raises(UsageError, match=said):
        choose_precision(requested, device, capability)


def test_half_precision_changes_answers_by_less_than_its_rounding_can(network, block):
    needed = np.ones((18, 15, 16), bool)
    exact = predict_nodes(network, block, needed, workload=Workload.of(SMALL))
    short = predict_nodes(
        network, block, needed, workload=Workload.of(SMALL), precision=torch.bfloat16
    )
    # bfloat16 rounds by 2^-9 a product; eight layers of sums let it grow to a few per cent of an
    # untrained network's answers, never to their size.
    difference = ((short - exact)[0] / exact[0]).abs()
    assert 0 < float(difference.mean()) < 0.03


def test_memory_that_runs_out_on_a_gpu_is_met_with_smaller_pieces(network, block):
    largest = 0

    def small_gpu(part):
        nonlocal largest
        if part.numel() > 20 * 20 * 20:
            raise torch.cuda.OutOfMemoryError
        largest = max(largest, part.numel())
        return network(part)

    with torch.inference_mode():
        whole = network(block[None, None])[0]
    found = predict_nodes(
        small_gpu, block, np.ones((18, 15, 16), bool), workload=Workload.of(SMALL)
    )
    assert (found - whole).abs().max() < 1e-5
    assert largest > 15**3


def test_a_gpu_without_room_for_one_window_is_given_up_in_words(block):
    def full(part):
        raise torch.cuda.OutOfMemoryError

    with pytest.raises(UsageError, match="--device cpu"):
        predict_nodes(full, block, np.ones((18, 15, 16), bool), workload=Workload.of(SMALL))
