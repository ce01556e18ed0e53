"""Engines: one contract, one room per backend, the same file names in each.

``builder`` compiles, ``runner`` answers, ``inspector`` reads back what really runs. A room is found by
entry point and imported only when it is chosen; its library is imported only when it computes.
"""
