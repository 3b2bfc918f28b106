"""Anything from outside -> a validated Graph."""
