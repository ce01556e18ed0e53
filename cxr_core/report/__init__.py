"""The answer for a person: decision table, plots, ``report.json`` and one self-contained ``report.html``."""
