"""Pure functions on arrays: no files, no Dask, no Zarr. They run and are tested anywhere."""
