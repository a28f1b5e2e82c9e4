"""What is told of a film without its truth."""
