"""clgen: an ahead-of-time compiler from trained convolutional networks to standalone OpenCL C."""

__version__ = "0.1.0"
