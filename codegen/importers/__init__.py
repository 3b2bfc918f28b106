"""Model files of other programs -> specs: TOML text and named arrays, and nothing else."""
