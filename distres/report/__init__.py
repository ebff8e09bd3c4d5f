"""Pictures and viewer scripts made from a finished run."""
