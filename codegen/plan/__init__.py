"""Fused graph + target -> launches, buffers and packed weights."""
