"""Metrics: likelihood estimates, reconstruction, sparsity, disentanglement, sample quality."""

from isthmus.evaluation.aggregate import aggregate_posterior_kl
from isthmus.evaluation.annealed import annealed_importance
from isthmus.evaluation.checks import Evidence, Finding, Findings, NotMade, Remedy, check
from isthmus.evaluation.components_in_use import components_in_use
from isthmus.evaluation.disentanglement import (
    DCI,
    beta_vae_score,
    dci,
    dci_from_importance,
    disentanglement_table,
    factor_vae_score,
    modularity,
    modularity_from_information,
    mutual_information_gap,
    sap,
)
from isthmus.evaluation.likelihood import importance_weighted
from isthmus.evaluation.model_evaluation import evaluate_model
from isthmus.evaluation.reconstruction import (
    bits_per_dimension,
    dice,
    f1,
    f1_from_counts,
    psnr,
    squared_error,
    ssim,
)
from isthmus.evaluation.samples import (
    density_coverage,
    frechet_distance,
    frechet_distance_from_moments,
    precision_recall,
    sample_quality,
)
from isthmus.evaluation.sparsity import (
    active_units,
    explained_variance,
    feature_density,
    l0,
    live_share,
    reconstruction_cosine,
)
from isthmus.evaluation.summary import held_out_summary

__all__ = [
    "DCI",
    "Evidence",
    "Finding",
    "Findings",
    "NotMade",
    "Remedy",
    "active_units",
    "aggregate_posterior_kl",
    "annealed_importance",
    "beta_vae_score",
    "bits_per_dimension",
    "check",
    "components_in_use",
    "dci",
    "dci_from_importance",
    "density_coverage",
    "dice",
    "disentanglement_table",
    "evaluate_model",
    "explained_variance",
    "f1",
    "f1_from_counts",
    "factor_vae_score",
    "feature_density",
    "frechet_distance",
    "frechet_distance_from_moments",
    "held_out_summary",
    "importance_weighted",
    "l0",
    "live_share",
    "modularity",
    "modularity_from_information",
    "mutual_information_gap",
    "precision_recall",
    "psnr",
    "reconstruction_cosine",
    "sample_quality",
    "sap",
    "squared_error",
    "ssim",
]
