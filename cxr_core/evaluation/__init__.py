"""Scores, intervals, paired tests and verdicts: what the answers of an engine are worth, and how sure that is."""
