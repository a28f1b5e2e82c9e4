"""What training will need."""
