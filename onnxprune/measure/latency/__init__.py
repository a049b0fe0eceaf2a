"""What a choice would take on this machine: layers timed one by one at their real shapes, and summed up."""
