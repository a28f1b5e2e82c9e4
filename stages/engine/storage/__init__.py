"""Where datasets are kept: a folder, or an object store."""
