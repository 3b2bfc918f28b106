"""Keras models (.keras, .h5) -> specs, by h5py alone: nothing in a file is executed."""
