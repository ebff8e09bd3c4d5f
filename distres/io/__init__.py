"""Files and what they say: MRC, OME-Zarr, half-map pairs, structures. Nothing of methods."""
