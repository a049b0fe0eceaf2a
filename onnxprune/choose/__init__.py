"""Which units leave: scores, error curves, costs, and what is chosen by them."""
