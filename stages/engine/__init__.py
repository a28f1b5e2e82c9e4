"""What a stage is, and what is done already."""
