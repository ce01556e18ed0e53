"""The trade itself: data, training, graphs, engines, benchmark, evaluation, report, store.

Nothing here imports Prefect. Every stage function takes paths and frozen configs and leaves files
and values. Heavy libraries are imported where they are used, so that ``import cxr_core`` is cheap.
"""

__version__ = "0.1.0"
