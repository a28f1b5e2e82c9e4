"""Training samples: which, in which order, and how they are made."""
