"""How the shipped weights of the toy world were made."""
