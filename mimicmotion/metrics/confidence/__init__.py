"""What a confidence is worth: points that were right, by what the model said."""
