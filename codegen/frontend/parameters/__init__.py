"""Files of parameters: archives and checkpoints, and tensors found in them by name."""
