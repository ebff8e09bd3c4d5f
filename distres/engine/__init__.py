"""Tiles, jobs, runner, ledger, clusters: knows Dask and Zarr, nothing of cryo-EM."""
