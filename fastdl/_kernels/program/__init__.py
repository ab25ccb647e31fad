"""A planned network as one native program: operations in records, blocks of samples, epochs, steps of optimizers."""
