"""Pruning: what to remove, and removing it for real.

masks      which weights stay: exact counts, patterns, and masks that hold through training
scores     what weights and channels are worth; coupled channels have one score together
schedule   how sparse at which step
training   fine-tuning with masks, pruning while training, rewinding
surgery    channels taken out: a smaller network
absorb     what removed channels would have said goes into the next layer
linkage    what is alike: groups in which every pair is near
merging    channels that are alike become one, in whole networks
redundancy how alike is alike enough, layer by layer
hashing    the weights of a layer become a few values
second_order   what second derivatives say about a layer's weights
methods    one paper, one file
"""
