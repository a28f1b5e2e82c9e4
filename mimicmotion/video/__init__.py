"""Video files: reading, writing, normalising sources, scene cuts, and choosing windows of frames."""
