"""Radiographs on disk to frozen arrays: manifest, patients, duplicates, split, tensors, calibration set, phantoms.

Promises of this room:

* The folder that is read is never written to, and a file's time stamp is never taken as proof of anything.
* There is one way from a file to pixels, :func:`cxr_core.data.decode.decode_and_resize`; prediction calls it too.
* No patient, no identical picture and no near duplicate stands on both sides of a split.
"""
