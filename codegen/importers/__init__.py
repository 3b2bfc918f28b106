"""Importers turn model files of other programs into specs: TOML text and named arrays, and nothing else."""
