"""SageMaker's Gluon CIFAR-10 tuning demo as a program for MXNet 1.9.1: `python -m trainables.cifar10_mxnet`.

README.md beside this file says what of the demo is kept and what differs.
"""
