"""Specs and parameter files -> a validated Graph."""
