"""Measurement: an engine against its reference, alternating, with counts and intervals beside every figure."""
