"""Poses of other tools, read and written."""
