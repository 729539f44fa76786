"""Images to learn from: drawn by us (no download), or CIFAR-10 as its authors publish it."""
