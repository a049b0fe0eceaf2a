"""What `sparsify` does: the request, the stage that makes weights sparse, and the checks of what came of it."""
