"""Generated files on real devices: finding devices, running, verifying."""
