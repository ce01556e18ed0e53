"""Doubles for tests: a fake backend that fails when told to, and small graphs made without torch."""
