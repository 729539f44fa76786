"""What every other package stands on: errors, argument checks, seeds, units. Knows no method."""
