"""What a long run found so far, on disk: after a crash the same run goes on from there."""
