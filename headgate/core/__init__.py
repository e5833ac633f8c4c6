"""What every part of Headgate shares: the batch, its channels, contracts, errors and the clock.

Nothing here performs I/O, and nothing here imports another package of the project.
"""
