"""Weight files: which there are, how they are fetched, what is in them."""
