"""The Gaussian process: model, fit, and what inputs and outputs go through. Tensors in the unit cube."""
