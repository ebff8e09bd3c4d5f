"""The paper's network against its definition, written out in NumPy."""

import h5py
import numpy as np
import pytest
import torch

from distres.errors import InputError
from distres.io.keras import read_original_weights
from distres.kernels.deepres_original import OriginalNetwork, OriginalWeights

FILTERS, HIDDEN = 2, 5


def random_weights(filters=FILTERS, hidden=HIDDEN, seed=0):
    rng = np.random.default_rng(seed)
    shapes = {
        "kernel": (13, 13, 13, 1, filters),
        "bias": (filters,),
        "dense_kernel": (13**3 * filters, hidden),
        "dense_bias": (hidden,),
        "last_kernel": (hidden, 1),
        "last_bias": (1,),
    }
    weights = {
        name: (rng.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)
        for name, shape in shapes.items()
    }
    # Windows have norm 1, so that a kernel of norm 1 would leave the bias to decide.
    weights["kernel"] *= np.float32(40)
    return weights


def write(path, weights, *, root="model_weights", optimiser=True):
    """Write a file as Keras 2 does: layer groups named twice, biases and kernels."""
    with h5py.File(path, "w") as file:
        group = file.create_group(root) if root else file
        for layer, kernel, bias in (
            ("conv3d_1", "kernel", "bias"),
            ("dense_1", "dense_kernel", "dense_bias"),
            ("dense_2", "last_kernel", "last_bias"),
        ):
            group[f"{layer}/{layer}/kernel:0"] = weights[kernel]
            group[f"{layer}/{layer}/bias:0"] = weights[bias]
        if optimiser:
            moments = file.create_group("optimizer_weights/training/Adam")
            moments["kernel:0"] = np.zeros_like(weights["kernel"])
            moments["iterations:0"] = np.int64(7)
    return path


def directly(window, w):
    """Keras: cross-correlation with zero padding, channels last, row-major flattening."""
    x = window.astype(np.float64) / np.linalg.norm(window.astype(np.float64))
    padded = np.pad(x, 6)
    seen = np.empty((13, 13, 13, w["kernel"].shape[-1]))
    for z in range(13):
        for y in range(13):
            for i in range(13):
                part = padded[z : z + 13, y : y + 13, i : i + 13]
                seen[z, y, i] = np.einsum("abc,abcf->f", part, w["kernel"][..., 0, :]) + w["bias"]
    flat = np.maximum(seen, 0).reshape(-1)
    hidden = np.maximum(flat @ w["dense_kernel"] + w["dense_bias"], 0)
    return float((hidden @ w["last_kernel"] + w["last_bias"])[0])


def test_random_weights_give_what_a_direct_evaluation_gives(tmp_path):
    weights = random_weights()
    network = OriginalNetwork(read_original_weights(write(tmp_path / "m.h5", weights)))
    windows = np.random.default_rng(5).standard_normal((3, 13, 13, 13)).astype(np.float32)
    answer = network(torch.from_numpy(windows[:, None])).numpy()
    assert answer.shape == (3, 2, 1, 1, 1)
    assert np.isnan(answer[:, 1]).all()
    # float32 sums over 2197 and 4394 products of order 1e-2.
    expected = [directly(window, weights) for window in windows]
    np.testing.assert_allclose(answer[:, 0, 0, 0, 0], expected, atol=2e-5)
    assert np.ptp(expected) > 1e-2


def test_the_scale_of_a_window_changes_nothing(tmp_path):
    network = OriginalNetwork(OriginalWeights(**random_weights()))
    window = torch.randn(1, 1, 13, 13, 13, generator=torch.Generator().manual_seed(2))
    assert float(network(window)[0, 0]) == pytest.approx(float(network(window * 250)[0, 0]), 1e-5)


@pytest.mark.parametrize("root", ["model_weights", ""])
def test_models_and_weights_alone_are_read(tmp_path, root):
    weights = random_weights()
    found = read_original_weights(
        write(tmp_path / "m.h5", weights, root=root, optimiser=bool(root))
    )
    for name, values in weights.items():
        np.testing.assert_array_equal(getattr(found, name), values)


def test_the_published_network_has_36_million_weights_and_190_million_multiply_adds():
    # reference: 70 336 + 35 996 160 + 513 weights; 154 and 36 million multiply-adds.
    shapes = {"kernel": (13, 13, 13, 1, 32), "bias": (32,), "dense_kernel": (70304, 512)}
    shapes |= {"dense_bias": (512,), "last_kernel": (512, 1), "last_bias": (1,)}
    weights = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    assert sum(values.size for values in weights.values()) == 36_067_009
    workload = OriginalWeights(**weights).workload
    assert workload.window_operations == pytest.approx(154.5e6 + 36.0e6, rel=1e-3)
    assert workload.windows_pay(1)


def test_other_networks_and_files_are_refused_in_words(tmp_path):
    (tmp_path / "text.h5").write_text("no weights")
    with pytest.raises(InputError, match="no HDF5 file"):
        read_original_weights(tmp_path / "text.h5")
    with pytest.raises(InputError, match="does not exist"):
        read_original_weights(tmp_path / "absent.h5")
    weights = random_weights()
    weights["kernel"] = weights["kernel"][:11]
    with pytest.raises(InputError, match=r"\(13, 13, 13, 1, 2\), not \(11, 13, 13, 1, 2\)"):
        read_original_weights(write(tmp_path / "m.h5", weights))
    with h5py.File(tmp_path / "odd.h5", "w") as file:
        file["a"] = np.zeros((3, 3))
    with pytest.raises(InputError, match=r"shapes \(3, 3\)"):
        read_original_weights(tmp_path / "odd.h5")


def test_biases_of_one_length_are_refused_rather_than_confused(tmp_path):
    # Arrays are told apart by their shapes: two filters and two units have alike biases.
    weights = random_weights()
    weights |= {name: weights[name][..., :2] for name in ("dense_kernel", "dense_bias")}
    weights["last_kernel"] = weights["last_kernel"][:2]
    with pytest.raises(InputError, match="each with its bias of its own length"):
        read_original_weights(write(tmp_path / "m.h5", weights))
