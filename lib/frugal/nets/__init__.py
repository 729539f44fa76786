"""Networks whose parameters can be counted against the papers, and the loop that trains them."""
