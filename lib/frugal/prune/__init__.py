"""Pruning: what to remove, and removing it for real.

masks      which weights stay: exact counts, patterns, and masks that hold through training
scores     what weights and channels are worth; coupled channels have one score together
schedule   how sparse at which step
training   fine-tuning with masks, pruning while training, rewinding
surgery    channels taken out: a smaller network
methods    one paper, one file
"""
