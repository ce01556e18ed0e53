"""NVIDIA's trtexec, versions 8 to 11: its logs and exports read and written, and what they do and do not show."""
