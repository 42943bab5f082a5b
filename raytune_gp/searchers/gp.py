"""Bayesian optimisation: a Gaussian process over what is finished, log-EI with the pending integrated out.

The first suggestion is the middle of the space, the next ones are quasi-random about it. From then on every
request fits the surrogate, warm from the last fit's hyperparameters, and maximises the acquisition function
once for each suggestion, each time with the suggestions before among the pending. Whatever fails numerically,
the answer is quasi-random and its provenance says why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from raytune_gp.acquisition.batch import GreedyBatch
from raytune_gp.acquisition.region import Region, sobol
from raytune_gp.errors import SpecError
from raytune_gp.failures import counts_against
from raytune_gp.protocols import SuggestionBatch, SuggestionRequest
from raytune_gp.searchers.modelling import Known, Model, model_of
from raytune_gp.searchers.prediction import predicted
from raytune_gp.searchers.used import Used
from raytune_gp.space import Dimension, Encoding, SearchSpace
from raytune_gp.space.checks import is_finite_number
from raytune_gp.surrogate.features import Column
from raytune_gp.surrogate.ranks import RankWarp
from raytune_gp.trial import Config, Observation, Suggestion

__all__ = ["GPSearcher"]

_T = TypeVar("_T")

_STREAM = 2  # keeps these random numbers apart from others of the same seed
_FEWEST_VALUES = 3  # finished values below which a surrogate says nothing
_FEWEST_TO_PREDICT = 10
_SHARED = 1024  # configs by which it is known how often a conditional hyperparameter exists
_INNER, _INNER_FIRST = 0.75, 10  # the share of each range, about its middle, that the first are drawn from


@dataclass(frozen=True)
class _Fitted:
    """A model, and the batch of suggestions that is made with it."""

    model: Model
    batch: GreedyBatch


class GPSearcher:
    """Proposes what improves most on the best of what is finished, in expectation.

    Args:
        space: what to search.
        mode: `"max"` or `"min"`, of the first metric.
        seed: the answers are a function of it, the space, the mode, the last `update` and the request.
        initial: how many suggestions, guesses of the user included, make up the start, which is the middle of
            the space, where there are no guesses, and quasi-random, the first ten in the inner three quarters
            of each range; by default one more than there are dimensions, at least 4 and at most 10. As many
            results that were told at the beginning take its place.
        device: where hyperparameters are fitted: `"cpu"`, in closed form, or `"cuda"`, where GPyTorch
            evaluates the same likelihood. A run on Ray reserves a share of a GPU for it.
    """

    uses_results = True

    def __init__(
        self,
        space: SearchSpace,
        *,
        mode: str = "max",
        seed: int = 0,
        initial: int | None = None,
        device: str = "cpu",
    ):
        if mode not in ("max", "min"):
            raise SpecError(f'mode is {mode!r}; it must be "max" or "min"')
        if initial is not None and (not isinstance(initial, int) or initial < 0):
            raise SpecError(f"initial is {initial!r}; it must be a whole number of at least 0, or None")
        _check_device(device)
        self._space = space
        self._encoding = Encoding(space)
        self._mode, self._seed, self.device = mode, seed, device
        self._columns = _columns(space, self._encoding)
        self._numeric = np.array([not c.categorical for c in self._columns], dtype=bool)
        self._conditional = np.array([c.conditional for c in self._columns], dtype=bool)
        d = len(self._columns)
        self._initial = max(4, min(d + 1, 10)) if initial is None else initial
        self.update((), ())

    def update(self, completed: Sequence[Observation], pending: Sequence[Config]) -> None:
        """Take a full snapshot. Raises SpaceError for a config with a value that the space cannot place."""
        places, active = self._encoding.place([*(o.config for o in completed), *pending])
        points = np.where(active | ~self._conditional, places, np.nan)
        told = [i for i, o in enumerate(completed) if o.values is not None or counts_against(o.failure)]
        values = [completed[i].values for i in told]
        self._known = Known(
            places[told],
            points[told],
            np.array([np.nan if v is None else v[0] for v in values], dtype=float),
            tuple(completed[i].failure for i in told),
        )
        self._pending = points[len(completed) :]
        self._taken = frozenset(self._encoding.keys(places, active))

    def suggest(self, request: SuggestionRequest) -> SuggestionBatch:
        """`request.count` configs. None is finished or pending, unless everything in its grid cell is."""
        rng = np.random.default_rng([self._seed, _STREAM, request.id])
        enough = bool(self._columns) and int(np.isfinite(self._known.values).sum()) >= _FEWEST_VALUES
        begun = len(self._known.values) >= self._initial  # by results that the user has told, perhaps
        fitted: _Fitted | Exception | None = None
        if enough and (begun or request.start + request.count > self._initial):
            fitted = _attempt(lambda: self._fit(request.memory, rng))
        taken = set(self._taken)
        suggestions = []
        for i in range(request.count):
            fixed = request.fixed[i] if request.fixed else {}
            ordinal = request.start + i
            config, provenance = self._one(
                fitted if begun or ordinal >= self._initial else None, ordinal, fixed, taken, rng
            )
            seen = {"pending": len(self._pending) + i, "observations": len(self._known.values)}
            suggestions.append(Suggestion(config, {**provenance, **seen}))
            taken.add(self._space.key(config))
            if isinstance(fitted, _Fitted):
                place, active = self._encoding.place([config])
                fitted.batch.add(np.where(active | ~self._conditional, place, np.nan))
        return SuggestionBatch(
            suggestions, fitted.model.memory if isinstance(fitted, _Fitted) else request.memory
        )

    def predict(
        self, configs: Sequence[Config], *, share: float = 0.9
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What trials of `configs` (n) would report: median, and both ends of the central `share`, n each.

        Noise is included, failure is not. Raises SpecError where fewer than ten observations have a value,
        the space has no hyperparameters, or `share` is not between 0 and 1, Uncalibrated where no model is to
        be trusted, and what the numerics raise.
        """
        if not self._columns:
            raise SpecError("the search space has nothing to choose: there is nothing to predict by")
        values = int(np.isfinite(self._known.values).sum())
        if values < _FEWEST_TO_PREDICT:
            raise SpecError(
                f"{values} of the observations have a value; a prediction needs {_FEWEST_TO_PREDICT}"
            )
        if not is_finite_number(share) or not 0 < share < 1:
            raise SpecError(f"share is {share!r}; it must be between 0 and 1")
        places, active = self._encoding.place(configs)
        return predicted(
            self._known,
            self._columns,
            np.where(active | ~self._conditional, places, np.nan),
            share=share,
            maximise=self._mode == "max",
            rng=np.random.default_rng([self._seed, _STREAM]),
            device=self.device,
        )

    def _one(
        self,
        fitted: _Fitted | Exception | None,
        ordinal: int,
        fixed: Mapping[str, Any],
        taken: set[Hashable],
        rng: np.random.Generator,
    ) -> tuple[Config, dict[str, Any]]:
        """A config and its provenance: by what is `fitted`; quasi-random where that is None or an error."""
        used = Used(self._encoding, fixed, taken)
        outcome: Any = fitted
        if isinstance(fitted, _Fitted):
            outcome = _attempt(lambda: self._best(fitted, fixed, used, rng))
        if isinstance(outcome, tuple):
            return outcome
        method = "initial" if outcome is None else f"fallback: {type(outcome).__name__}: {outcome}"
        return self._quasi_random(ordinal, fixed, used, rng), {"method": method}

    def _fit(self, memory: Mapping[str, Any] | None, rng: np.random.Generator) -> _Fitted:
        maximise = self._mode == "max"
        model = model_of(
            self._known, self._columns, maximise=maximise, memory=memory, rng=rng, device=self.device
        )
        seed = int(rng.integers(2**31))
        batch = GreedyBatch(
            model.surrogate.posterior,
            model.incumbent,
            model.best,
            self._pending,
            weights=model.weights,
            seed=seed,
        )
        return _Fitted(model, batch)

    def _best(
        self,
        fitted: _Fitted,
        fixed: Mapping[str, Any],
        used: Used,
        rng: np.random.Generator,
    ) -> tuple[Config, dict[str, Any]]:
        """The config of highest log-EI, and what the surrogate says of it."""
        model, region = fitted.model, self._region(fixed)
        surrogate = model.surrogate
        candidate, improvement = fitted.batch.propose(region, used, rng)
        point = region.masked(candidate.x[None])
        means, variances = surrogate.posterior.marginals(point)
        mean, variance = float(means[0, 0]), float(variances[0])
        median, half_width = surrogate.warp.inverse(mean, variance**0.5)
        provenance = {
            "method": "gp",
            "predicted_mean": median,
            "predicted_deviation": half_width,
            "log_ei": float(improvement(point)[0]),
            "aim": "exploit" if mean > model.incumbent else "explore",
        }
        provenance["coverage_50"], provenance["coverage_90"] = surrogate.coverage
        if model.feasibilities:
            log_feasible = sum(float(feasibility(point)[0]) for feasibility in model.feasibilities)
            provenance["probability_feasible"] = math.exp(log_feasible)
        if isinstance(surrogate.warp, RankWarp):
            provenance["warp"] = "ranks"
        if candidate.exhausted:
            provenance["exhausted"] = True
        return self._encoding.decode(candidate.x[None], fixed)[0], provenance

    def _quasi_random(
        self, ordinal: int, fixed: Mapping[str, Any], used: Used, rng: np.random.Generator
    ) -> Config:
        """Point `ordinal` of the run's Sobol sequence, or where that is taken another that is not.

        The start is the middle of the space, then drawn about it: people put bounds about what they take for
        good, and a model of few configs follows from the inside to the edges what promises to be better.
        """
        if not self._columns:
            return self._encoding.decode(np.empty((1, 0)))[0]
        region = self._region(fixed)
        dimension = len(self._columns)
        place = sobol(1, dimension, self._seed, ordinal) if ordinal else np.full((1, dimension), 0.5)
        if ordinal < min(self._initial, _INNER_FIRST):
            place = np.where(self._numeric, 0.5 + _INNER * (place - 0.5), place)
        point = region.settle(place)[0]
        if used.flags(point[None])[0]:
            other = used.another(rng)
            point = point if other is None else other
        return self._encoding.decode(point[None], fixed)[0]

    def _region(self, fixed: Mapping[str, Any]) -> Region:
        return Region(
            self._columns, self._encoding.pin(fixed), self._active if self._conditional.any() else None
        )

    def _active(self, x: np.ndarray) -> np.ndarray:
        """Which columns exist at points `x` (n x d)."""
        return self._encoding.active(self._encoding.decode(x)) | ~self._conditional


def _attempt(action: Callable[[], _T]) -> _T | Exception:
    """What `action` returns or raises: whatever goes wrong in the numerics, the run goes on."""
    try:
        return action()
    except Exception as error:
        return error


def _check_device(device: str) -> None:
    """Raise SpecError for what is neither the CPU nor a GPU that PyTorch sees here."""
    try:
        kind, index = torch.device(device).type, torch.device(device).index or 0
    except (RuntimeError, TypeError):
        kind, index = "", 0
    if kind not in ("cpu", "cuda"):
        raise SpecError(f"device is {device!r}; it must be 'cpu' or 'cuda'")
    seen = torch.cuda.device_count() if kind == "cuda" else 1
    if index >= seen:
        raise SpecError(
            f"device is {device!r}, and PyTorch {torch.__version__} sees {seen} GPUs here: install one for "
            f"CUDA, look at CUDA_VISIBLE_DEVICES, or leave `device` out to fit on the CPU"
        )


def _columns(space: SearchSpace, encoding: Encoding) -> tuple[Column, ...]:
    shares = np.ones(len(encoding.dimensions))
    if space.conditions:
        shares = encoding.active(encoding.decode(sobol(_SHARED, len(shares), 0))).mean(axis=0)
    dimensions = zip(encoding.dimensions, shares.tolist(), strict=True)
    return tuple(_column(d, d.name in space.conditions, share) for d, share in dimensions)


def _column(dimension: Dimension, conditional: bool, share: float) -> Column:
    categorical = dimension.kind == "categorical"
    grid = dimension.grid
    if grid is None and categorical and dimension.levels:
        grid = (np.arange(dimension.levels) + 0.5) / dimension.levels
    return Column(None if grid is None else tuple(grid.tolist()), categorical, conditional, share)
