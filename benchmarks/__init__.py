"""Measured ratios. Both sides of each run in turns, because machines are noisy; nothing here is a test."""
