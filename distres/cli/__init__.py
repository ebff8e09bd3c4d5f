"""The `distres` command line."""
