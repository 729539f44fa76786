"""What a network costs and how well it does: parameters, operations, bytes, time, energy, accuracy."""
