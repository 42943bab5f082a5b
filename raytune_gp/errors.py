"""Every error that raytune-gp raises on purpose.

    RaytuneError
    ├── SpaceError (ValueError)        a domain, search space or config that cannot be
    ├── SpecError (ValueError)         a setting of a run that cannot be met
    ├── TrainableError                 a trainable that cannot be called, or used `tune.report` wrongly
    │   ├── ReportError                metrics that cannot be journalled
    │   ├── CheckpointError            a checkpoint that could not be copied or stored
    │   ├── MetricMissingError         a program whose output has no metric, a function that returns none
    │   └── PythonEnvError             a Python environment that could not be made on a node
    ├── RunError                       a run by name
    │   ├── RunExistsError             the name is taken
    │   ├── RunNotFoundError           no such run in the journal
    │   └── RunFailedError             the run could not go on; what is finished stays in the journal
    ├── ClusterError                   a cluster that does not answer, or does not take a job
    ├── TrialFailedError               a trial failed and the caller asked to hear of it
    └── JournalError                   the journal cannot be read or written
        ├── StaleTermError             another coordinator has taken this run over
        ├── JournalLostError           it is gone or damaged: to try again cannot help
        ├── JournalGivenUpError        the run was ended while it could not be written
        └── SchemaVersionError         written by a version that this one cannot read

    TrialInterrupted (BaseException)   raised inside `tune.report` to end a trial; never caught by user code

A message names the value, the limit and the fix.
"""

from __future__ import annotations

__all__ = [
    "FINAL",
    "CheckpointError",
    "ClusterError",
    "JournalError",
    "JournalGivenUpError",
    "JournalLostError",
    "MetricMissingError",
    "PythonEnvError",
    "RaytuneError",
    "ReportError",
    "RunError",
    "RunExistsError",
    "RunFailedError",
    "RunNotFoundError",
    "SchemaVersionError",
    "SpaceError",
    "SpecError",
    "StaleTermError",
    "TrainableError",
    "TrialFailedError",
    "TrialInterrupted",
]


class RaytuneError(Exception):
    """The root: `except RaytuneError` catches whatever this package raises on purpose."""


class SpaceError(RaytuneError, ValueError):
    """A domain, search space or config that cannot be."""


class SpecError(RaytuneError, ValueError):
    """A setting of a run that cannot be met."""


class TrainableError(RaytuneError):
    """A trainable that cannot be called, or that used `tune.report` wrongly."""


class ReportError(TrainableError):
    """Metrics that cannot be journalled: neither numbers, nor strings, nor lists of them."""


class CheckpointError(TrainableError):
    """A checkpoint that could not be copied or stored, through no fault of the trainable's."""


class MetricMissingError(TrainableError):
    """A program printed nothing that the patterns of its metrics match, or a function returned no metrics."""


class PythonEnvError(TrainableError):
    """A Python environment that a trainable runs in could not be made on this node."""


class RunError(RaytuneError):
    """Something about a run that is named."""


class RunExistsError(RunError):
    """The name is taken: resume that run, or take another name."""


class RunNotFoundError(RunError, LookupError):
    """The journal holds no run of this name."""


class RunFailedError(RunError):
    """The run could not go on; what it had finished stays in the journal."""


class ClusterError(RaytuneError):
    """A cluster that does not answer, or does not take a job."""


class TrialFailedError(RaytuneError):
    """A trial failed, and the caller asked for an error (`raise_on_failed_trial`)."""


class JournalError(RaytuneError):
    """The journal cannot be read or written."""


class StaleTermError(JournalError):
    """Another coordinator has raised the term of this run: this one must stop."""


class JournalLostError(JournalError):
    """The journal was deleted, replaced, damaged or set back under a run: to try again cannot help."""


class JournalGivenUpError(JournalError):
    """The user ended the run while its journal could not be written."""


class SchemaVersionError(JournalError):
    """Written by a version of raytune-gp that this one cannot read."""


FINAL = (JournalLostError, SchemaVersionError)
"""Errors of a journal for which to try again cannot help."""


class TrialInterrupted(BaseException):
    """Raised inside `tune.report` when the trial is to end.

    A BaseException, so that `except Exception` in user code does not keep a stopped trial alive.
    """

    def __init__(self, mode: str):
        super().__init__(f"this trial was told to {mode}")
        self.mode = mode
