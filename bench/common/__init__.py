"""What the comparisons share. Standard library only; the peers' packages live in their own environment."""
