"""Radiographs through a released graph, on ONNX Runtime alone: no torch, no ONNX library, no store need be there.

``graph`` finds the graph in a file, a bundle or a folder, ``model`` opens it, ``answers`` asks it file by file, and
``agreement`` says how often the truth was as the model says.
"""
