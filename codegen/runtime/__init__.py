"""Runs generated files on real devices: finding devices, running, verifying, measuring."""
