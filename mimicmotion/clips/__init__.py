"""Training windows and test clips, chosen from poses and scene cuts."""
