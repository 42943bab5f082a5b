"""Where to look next: expected improvement over any posterior, and how to maximise it. Tensors, unit cube."""
