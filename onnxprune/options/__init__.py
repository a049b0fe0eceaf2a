"""What options there are, and where their values come from."""
