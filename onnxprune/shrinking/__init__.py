"""What `shrink` does: choose and cut, in one go or in steps; repair; prove; write."""
