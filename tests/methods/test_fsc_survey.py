"""The first reading of a global FSC says the same in whatever blocks it reads."""

from dataclasses import fields
from math import prod

import numpy as np
import zarr
from hypothesis import given
from hypothesis import strategies as st

from distres.engine.cluster import Executor
from distres.engine.jobs import ZarrSource
from distres.engine.run import Run
from distres.methods import fsc_survey

SHAPE = (20, 32, 18)


@given(st.tuples(*[st.integers(1, 4000)] * 3), st.integers(1, 4000))
def test_blocks_hold_no_more_than_the_slabs_that_fit_and_no_part_of_a_file_twice(shape, thick):
    thick = min(thick, shape[0])
    block = fsc_survey._blocks(shape, thick)
    assert prod(block) <= thick * prod(shape[1:])
    if block[0] != thick:
        # Cut along y: whole files, each in one block.
        assert block[0] == fsc_survey.FILE_EDGE
        assert block[1] % fsc_survey.FILE_EDGE == 0 or block[1] == shape[1]
        assert block[2] == shape[2]


def test_blocks_of_a_thin_budget_say_what_the_whole_volume_says(tmp_path, monkeypatch):
    rng = np.random.default_rng(4)
    values = rng.standard_normal((3, *SHAPE), dtype=np.float32)
    values[2] = np.clip(values[2], 0, 1)
    store = str(tmp_path / "in.zarr")
    for name, value in zip(("half1", "half2", "mask"), values, strict=True):
        zarr.create_array(store, name=name, data=value)
    sources = {name: ZarrSource.of(store, name) for name in ("half1", "half2", "mask")}
    monkeypatch.setattr(fsc_survey, "FILE_EDGE", 8)
    executor = Executor(memory_bytes=4 << 30)
    found = []
    for name, planes in (("whole", None), ("blocks", 2)):
        with Run.open(tmp_path / name) as run:
            found.append(
                fsc_survey.survey(sources, SHAPE, run=run, executor=executor, tile_vox=planes)
            )
    # 2 planes of 32 rows make blocks of 8 planes and 8 rows.
    assert fsc_survey._blocks(SHAPE, 2) == (8, 8, 18)
    for each in fields(fsc_survey.Survey):
        one, other = (getattr(survey, each.name) for survey in found)
        # Sums of 11520 float64 numbers near 1 in another order: 1e-16 times their root.
        np.testing.assert_allclose(one, other, rtol=1e-12, err_msg=each.name)
    faces = values[2] > 0
    count = sum(int(np.take(faces, end, axis=axis).sum()) for axis in range(3) for end in (0, -1))
    assert found[1].mask_faces == count
