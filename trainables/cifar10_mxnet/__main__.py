"""`python -m trainables.cifar10_mxnet --learning_rate 0.1 …`: trains once, with a line for each epoch."""

from __future__ import annotations

import sys

from trainables.cifar10_mxnet.train import main

sys.exit(main())
