"""The project's story: random search over a ResNet on CIFAR-10, and a quarter as many guided trials."""
