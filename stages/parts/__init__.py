"""Item stages outside the catalogue: work that runs over all workers for a dataset stage or a command."""
