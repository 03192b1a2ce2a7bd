"""Well-known tables by name, as scikit-learn carries them."""

from __future__ import annotations

import importlib
from typing import Final

from matinee.core.errors import DataError
from matinee.media.records import Records

SAMPLES: Final = {
    "breast-cancer": "569 tumours, 30 measures of cells: malignant or benign (with scikit-learn)",
    "diabetes": "442 patients, 10 measures: how far the disease is after a year, a number (with scikit-learn)",
}


def sample(name: str) -> Records:
    """The records of one of SAMPLES. Raises DataError where scikit-learn is not installed."""
    try:
        datasets = importlib.import_module("sklearn.datasets")
    except ImportError:
        raise DataError(
            f"{name} comes with scikit-learn, which is not installed: pip install 'matinee[samples]'"
        ) from None
    if name == "breast-cancer":
        told = datasets.load_breast_cancer()
        header = (*(str(feature) for feature in told.feature_names), "diagnosis")
        targets = [str(told.target_names[target]) for target in told.target]
    else:
        told = datasets.load_diabetes(scaled=False)
        header = (*(str(feature) for feature in told.feature_names), "progression")
        targets = [f"{target:g}" for target in told.target]
    rows = [(*(f"{value:.10g}" for value in values), target) for values, target in zip(told.data, targets, strict=True)]
    return Records(header, rows, [f"{name}#{place + 1}" for place in range(len(rows))], [-1] * len(rows))
