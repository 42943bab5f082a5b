"""Ray Train inside of a trainable: the counterpart of `ray.tune.integration.ray_train`."""

from raytune_gp.execution.ray_train import TuneReportCallback

__all__ = ["TuneReportCallback"]
