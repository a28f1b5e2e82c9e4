"""Ray: a connection, workers for items, groups of workers for training."""
