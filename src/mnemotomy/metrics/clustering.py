"""Whether clusters of features separate the forget set from the retain set: Normalized Mutual Information."""

from __future__ import annotations

import warnings

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mnemotomy.core.errors import DataError


def clustering_nmi(features: Float[Tensor, "n d"], labels: Int[Tensor, " n"], clusters: int, *, seed: int = 0) -> float:
    """NMI between ``labels`` and the k-means clusters of the features, divided by the mean of both entropies.

    In [0, 1]; 0 if the clusters say nothing about the labels. k-means runs from ten starts.

    Raises:
        DataError: lengths differ, a feature is not finite, there are fewer rows than clusters, or scikit-learn is not
            installed.
    """
    try:
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.metrics import normalized_mutual_info_score
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
    except ImportError as error:
        raise DataError("clusters need scikit-learn: pip install scikit-learn") from error
    rows = features.detach().flatten(1).double().cpu().numpy()
    if len(rows) != len(labels):
        raise DataError(f"{len(rows)} rows of features came with {len(labels)} labels")
    if not bool(torch.isfinite(features).all()):
        raise DataError("a feature is NaN or infinite; there is nothing to cluster")
    if not 1 <= clusters <= len(rows):
        raise DataError(f"{len(rows)} rows allow 1 to {len(rows)} clusters, not {clusters}")
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a collapsed model has fewer distinct features
        found = KMeans(clusters, n_init=10, random_state=seed).fit_predict(rows)
    return float(normalized_mutual_info_score(labels.cpu().numpy(), found))


def forget_retain_nmi(
    forget: Float[Tensor, "n d"], retain: Float[Tensor, "m d"], *, balanced: bool = True, seed: int = 0
) -> float:
    """NMI between two clusters of the features and the two sets (Table 2 of arXiv 2606.14997; Seo et al. 2025).

    In [0, 1]; low if forget and retain features are not separable, at best as low as a retrained model's. The paper
    gives neither the number of clusters nor the rows; there are two clusters here, one for each set.

    Args:
        forget: features of the examples to forget, as the classifier's head reads them.
        balanced: draw as many rows from the larger set as the smaller has; else a partition of 1 : 9 has a low NMI with
            any clusters.
        seed: for the draw and for k-means.

    Raises:
        DataError: as ``clustering_nmi``.
    """
    if balanced:
        size = min(len(forget), len(retain))
        forget, retain = _drawn(forget, size, seed), _drawn(retain, size, seed)
    labels = torch.cat([torch.zeros(len(forget), dtype=torch.long), torch.ones(len(retain), dtype=torch.long)])
    return clustering_nmi(torch.cat([forget.flatten(1), retain.flatten(1)]), labels, 2, seed=seed)


def separability(forget: Float[Tensor, "n d"], retain: Float[Tensor, "m d"], *, draws: int = 5) -> float:
    """The mean of ``forget_retain_nmi`` over several draws; with two clusters, single draws differ by half the scale.

    Raises:
        DataError: as ``clustering_nmi``.
    """
    return sum(forget_retain_nmi(forget, retain, seed=draw) for draw in range(draws)) / draws


def _drawn(rows: Tensor, size: int, seed: int) -> Tensor:
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    return rows[order[:size].sort().values.to(rows.device)]
