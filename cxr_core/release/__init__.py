"""Releases: what is promoted, how it is packed, signed and proven. See README.md for what it promises."""
