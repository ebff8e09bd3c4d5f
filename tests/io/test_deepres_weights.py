import pytest
import torch

from distres.errors import InputError
from distres.io.deepres_weights import load_model, load_weights, model_card, save_weights
from distres.kernels.deepres import DeepResConfig, seeded_network

CONFIG = DeepResConfig(
    voxel_size_angstrom=1.0,
    range_angstrom=(2.5, 13.0),
    widths=(4, 6, 8, 8),
    kernels=(5, 5, 3, 3),
    dilations=(1, 1, 1, 1),
    head=8,
)


def test_a_network_comes_back_from_its_file_bit_for_bit(tmp_path):
    network = seeded_network(CONFIG, 0)
    save_weights(network, tmp_path / "net.safetensors", {"licence": "BSD-3-Clause"})
    back = load_weights(tmp_path / "net.safetensors")
    block = torch.randn(1, 1, 15, 14, 13, generator=torch.Generator().manual_seed(1))
    assert back.config == CONFIG
    assert torch.equal(back(block), network(block))
    assert model_card(tmp_path / "net.safetensors") == {"licence": "BSD-3-Clause"}
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]


def test_other_files_are_refused_in_one_sentence(tmp_path):
    path = tmp_path / "other.safetensors"
    path.write_bytes(b"no weights at all")
    with pytest.raises(InputError, match="holds no DeepRes weights"):
        load_weights(path)
    with pytest.raises(InputError, match="do not exist"):
        load_weights(tmp_path / "absent.safetensors")


def test_a_model_that_is_not_shipped_is_refused_by_name():
    with pytest.raises(InputError, match="no DeepRes model 'C'; give one of A, B"):
        load_model("C")
