"""The network as a value: operators, their float64 reference, and graphs of them."""
