"""What a network computes, read from its trace: who feeds whom, and rewrites that keep its function."""
