"""`sweep`: many calls of `shrink`, each in a process of its own, and the frontier of what came of them."""
