"""What a result is worth: agreement with the original, the user's own metric, the search for how far one can go."""
