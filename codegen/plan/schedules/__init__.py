"""One module per family of kernels: a launch's operator -> the template's variables, packed constants and grid."""
