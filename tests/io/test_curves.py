import csv
from xml.etree import ElementTree as Tree

import gemmi
import numpy as np
import pytest

from distres.errors import InputError
from distres.io.curves import write_csv, write_emdb_xml, write_star

FREQUENCY = np.arange(6) / 60.0
CURVES = {
    "unmasked": np.array([1, 0.9, 0.7, 0.4, 0.1, -0.02]),
    "masked": np.array([1, 0.95, 0.8, 0.5, 0.2, 0.05]),
    "randomised": np.array([1, 0.9, 0.3, 0.1, 0.05, 0.01]),
    "corrected": np.array([1, 0.95, 0.8, 0.45, 0.16, 0.04]),
}
LABELS = {
    "unmasked": "_rlnFourierShellCorrelationUnmaskedMaps",
    "masked": "_rlnFourierShellCorrelationMaskedMaps",
    "randomised": "_rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps",
    "corrected": "_rlnFourierShellCorrelationCorrected",
}


def column(block, name):
    return np.array([float(text) for text in block.find_loop(name)])


def test_star_comes_back_with_relions_names(tmp_path):
    general = {"rlnFinalResolution": 12.5, "rlnUnfilteredMapHalf1": "my half 1.mrc"}
    path = write_star(tmp_path / "a.star", FREQUENCY, CURVES, general)
    document = gemmi.cif.read(str(path))
    assert float(document["general"].find_value("_rlnFinalResolution")) == 12.5
    name = document["general"].find_value("_rlnUnfilteredMapHalf1")
    assert gemmi.cif.as_string(name) == "my half 1.mrc"
    block = document["fsc"]
    assert column(block, "_rlnSpectralIndex").tolist() == [0, 1, 2, 3, 4, 5]
    # Six decimals are written.
    np.testing.assert_allclose(column(block, "_rlnResolution"), FREQUENCY, atol=5e-7)
    resolution = column(block, "_rlnAngstromResolution")
    assert resolution[0] == 999
    np.testing.assert_allclose(resolution[1:], 1 / FREQUENCY[1:], atol=5e-7)
    for key, label in LABELS.items():
        np.testing.assert_allclose(column(block, label), CURVES[key], atol=5e-7)


def test_star_without_a_mask_keeps_the_column_that_readers_look_for(tmp_path):
    path = write_star(tmp_path / "a.star", FREQUENCY, {"unmasked": CURVES["unmasked"]}, {})
    block = gemmi.cif.read(str(path))["fsc"]
    corrected = column(block, LABELS["corrected"])
    np.testing.assert_array_equal(corrected, column(block, LABELS["unmasked"]))
    assert not list(block.find_loop(LABELS["masked"]))


def test_xml_is_an_ascending_list_of_points(tmp_path):
    title = 'half maps of "A & B" <masked>'
    path = write_emdb_xml(tmp_path / "a.xml", FREQUENCY, CURVES["corrected"], title=title)
    root = Tree.parse(path).getroot()
    assert root.tag == "fsc"
    assert root.attrib == {
        "title": title,
        "xaxis": "Resolution (A-1)",
        "yaxis": "Correlation Coefficient",
    }
    assert {child.tag for child in root} == {"coordinate"}
    assert all([part.tag for part in child] == ["x", "y"] for child in root)
    x, y = (np.array([float(node.text) for node in root.iter(tag)]) for tag in "xy")
    assert (np.diff(x) > 0).all()
    np.testing.assert_allclose(x, FREQUENCY, atol=5e-7)
    np.testing.assert_allclose(y, CURVES["corrected"], atol=5e-7)


def test_xml_refuses_what_the_archive_would(tmp_path):
    with pytest.raises(InputError, match="ascending"):
        write_emdb_xml(tmp_path / "a.xml", FREQUENCY[::-1], CURVES["corrected"], title="t")
    with pytest.raises(InputError, match="finite"):
        write_emdb_xml(tmp_path / "a.xml", FREQUENCY, np.full(6, np.nan), title="t")
    assert not (tmp_path / "a.xml").exists()


def test_csv_has_one_line_a_shell(tmp_path):
    columns = {"coefficients": np.array([1.0, 18, 98, 210, 350, 602]), **CURVES}
    path = write_csv(tmp_path / "a.csv", FREQUENCY, columns)
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["shell"] for row in rows] == list("012345")
    assert rows[0]["resolution_angstrom"] == "inf"
    assert rows[5]["coefficients"] == "602"
    assert float(rows[3]["resolution_angstrom"]) == pytest.approx(20.0)
    for key, curve in CURVES.items():
        np.testing.assert_allclose([float(row[key]) for row in rows], curve, rtol=1e-8)
