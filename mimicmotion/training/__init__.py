"""Training: samples, hand map, loss, EMA, checkpoints and the loop that each worker runs."""
