import pytest
import torch

from distres.errors import UsageError
from distres.kernels.deepres import HALO_VOX, WINDOW_VOX, DeepResConfig, seeded_network

PLAIN = DeepResConfig(voxel_size_angstrom=1.0, range_angstrom=(2.5, 13.0))
DILATED = DeepResConfig(
    voxel_size_angstrom=0.5,
    range_angstrom=(1.5, 6.0),
    widths=(8, 8, 12, 12),
    kernels=(3, 3, 3, 3),
    dilations=(1, 1, 2, 2),
)


def density(shape, seed=0):
    return torch.randn((1, 1, *shape), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("config", [PLAIN, DILATED], ids=["plain", "dilated"])
def test_dense_output_is_the_network_on_every_normalised_window(config):
    network = seeded_network(config, 1)
    block = density((17, 16, 15))
    # Windows differ in strength by a factor of a hundred, so a wrong norm cannot hide.
    block *= torch.linspace(0.01, 1, 17)[:, None, None]
    dense = network(block)
    assert dense.shape == (1, 2, 5, 4, 3)
    for z in range(5):
        for y in range(4):
            for x in range(3):
                window = block[..., z : z + WINDOW_VOX, y : y + WINDOW_VOX, x : x + WINDOW_VOX]
                alone = network(window / window.norm())[0, :, 0, 0, 0]
                # The tolerance; float32 sums over at most 864 products give about 1e-6.
                assert torch.allclose(dense[0, :, z, y, x], alone, rtol=1e-4, atol=1e-4)


def test_the_scale_of_a_map_changes_no_bit_when_it_is_a_power_of_two():
    network = seeded_network(PLAIN, 2)
    block = density((14, 14, 14))
    assert torch.equal(network(block), network(block * 2.0**-90))


def test_any_scale_gives_the_same_answer():
    network = seeded_network(PLAIN, 2)
    block = density((14, 14, 14))
    assert torch.allclose(network(block), network(block * 3.7e-12), rtol=1e-5)


def test_an_answer_depends_on_its_window_and_on_nothing_else():
    network = seeded_network(PLAIN, 3)
    block = density((15, 15, 15)).requires_grad_()
    network.logarithms(block)[0][0, 1, 1, 1].backward()
    touched = block.grad[0, 0] != 0
    inside = torch.zeros_like(touched)
    inside[1:14, 1:14, 1:14] = True
    # ReLUs may hide single voxels of the window, never let others in.
    assert not touched[~inside].any()
    assert touched[inside].float().mean() > 0.9
    assert HALO_VOX == 6


def test_empty_windows_give_numbers():
    assert torch.isfinite(seeded_network(PLAIN, 4)(torch.zeros(1, 1, 13, 13, 13))).all()


def test_answers_stay_within_a_tenth_of_the_range():
    network = seeded_network(PLAIN, 5)
    with torch.no_grad():
        network.answer.weight *= 1000
        answer = network(density((20, 20, 20)))[:, 0]
    assert answer.min() >= 2.5 / 1.1 - 1e-5
    assert answer.max() <= 13.0 * 1.1 + 1e-4


def test_layers_that_do_not_see_the_window_are_refused():
    with pytest.raises(UsageError, match="see 11 voxels, but the window has 13"):
        DeepResConfig(
            voxel_size_angstrom=1.0,
            range_angstrom=(2.5, 13.0),
            widths=(8,) * 5,
            kernels=(3,) * 5,
            dilations=(1,) * 5,
        )


def test_layers_without_a_width_are_refused():
    with pytest.raises(UsageError, match="not 5, 6 and 6"):
        DeepResConfig(voxel_size_angstrom=1.0, range_angstrom=(2.5, 13.0), widths=(8,) * 5)


def test_operations_are_counted_as_weights_of_a_dense_pass():
    network = seeded_network(PLAIN, 0)
    layers = [*network.trunk, network.hidden, network.answer]
    assert PLAIN.operations_per_voxel == sum(layer.weight.numel() for layer in layers)
