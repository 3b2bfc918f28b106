"""The operators of a spec: the keys of each, and a builder that makes operators of the graph."""
