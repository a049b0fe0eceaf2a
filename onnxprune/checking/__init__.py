"""`check`: what models may cost and must be able to do, held against what they do. docs/ci.md shows how it is used."""
