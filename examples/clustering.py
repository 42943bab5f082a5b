"""Tune a clustering, where there are no labels: the variance between clusters over that within them.

    python examples/clustering.py              (TRIALS=10 for a quick look)

Each fit takes milliseconds, so the trials run in this very process (`executor="inline"`): prints and
breakpoints are where one expects them, and Ray is not started. A clustering that ends in a single cluster
has no such ratio; its NaN teaches the searcher to stay away. A tuner takes its metric at its word:
the silhouette, another measure, is highest where DBSCAN takes a few wines for noise and all others for one
cluster.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from sklearn.cluster import DBSCAN, AgglomerativeClustering, KMeans
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, calinski_harabasz_score
from sklearn.preprocessing import scale

from raytune_gp import tune

WINES, CULTIVARS = load_wine(return_X_y=True)
WINES = scale(WINES)


def cluster(config: dict[str, Any]) -> np.ndarray:
    """A cluster number for each wine; -1 for those that DBSCAN takes for noise."""
    points = PCA(config["components"], random_state=0).fit_transform(WINES)
    match config["method"]:
        case "k-means":
            return KMeans(config["clusters"], n_init=3, random_state=0).fit_predict(points)
        case "agglomerative":
            return AgglomerativeClustering(config["clusters"], linkage="average").fit_predict(points)
        case _:
            return DBSCAN(config["radius"], min_samples=5).fit_predict(points)


def evaluate(config: dict[str, Any]) -> None:
    """Report the ratio of variances, of all measurements so that configs can be compared."""
    labels = cluster(config)
    distinct = len(np.unique(labels))
    ratio = calinski_harabasz_score(WINES, labels) if 1 < distinct < len(WINES) else float("nan")
    tune.report({"variance_ratio": ratio, "distinct": distinct})


if __name__ == "__main__":
    results = tune.run(
        evaluate,
        config={
            "components": tune.randint(2, 14),
            "method": tune.choice(["k-means", "agglomerative", "dbscan"]),
            "clusters": tune.when("method", ["k-means", "agglomerative"], tune.randint(2, 11)),
            "radius": tune.when("method", ["dbscan"], tune.loguniform(0.3, 5.0)),
        },
        metric="variance_ratio",
        mode="max",
        num_samples=int(os.environ.get("TRIALS", "40")),
        executor="inline",
    )
    best = results.get_best_result()
    agreement = adjusted_rand_score(CULTIVARS, cluster(best.config))
    print(f"best variance ratio {best.metrics['variance_ratio']:.2f} with {best.config}")
    print(f"agreement with the three cultivars, which no trial has seen (adjusted Rand): {agreement:.3f}")
