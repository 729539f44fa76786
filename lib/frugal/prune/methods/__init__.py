"""Ways to prune: one paper, one file. What two of them share lies one floor up, in ``frugal.prune``."""
