"""Training on several workers."""
