"""The second form of a quantised file: operators on integers in the place of operators between quantisers."""
