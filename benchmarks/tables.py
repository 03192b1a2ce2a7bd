"""Our networks for tables against scikit-learn's best, in the same folds: figures with significance.

    python benchmarks/tables.py [--only heart] [--networks linear,tabular] [--repeats 1]

MATINEE_DATA names the folder with `tabular/processed.cleveland.data` and `tabular/auto-mpg.data`; the others come with
scikit-learn. Ten folds, by class or by fifths of the number; a network sees of the training rows what the models of
scikit-learn see. Scikit-learn's best is the one that scores most on these very folds, so it is flattered a little. The
difference is that of the first score over all examples, with a paired bootstrap over examples (2,000 draws).
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import matinee
from matinee.core.measuring import collect
from matinee.core.paired import margins
from matinee.core.progress import Progress
from matinee.core.runtime import machine
from matinee.core.task import Batch, Data

FOLDER = Path(os.environ.get("MATINEE_DATA", "")) / "tabular"
SETS: dict[str, tuple[str, dict[str, Any]]] = {
    "breast-cancer": ("breast-cancer", {}),
    "heart": (str(FOLDER / "processed.cleveland.data"), {"event": ">0", "categories": "column_3,column_7,column_13"}),
    "diabetes": ("diabetes", {}),
    "auto-mpg": (str(FOLDER / "auto-mpg.data"), {"target": "mpg", "categories": "origin"}),
}
FOLDS, DRAWS = 10, 2000
Array = np.ndarray[Any, Any]


def rivals(data: Data) -> Mapping[str, Callable[[], Any]]:
    """Scikit-learn's models, each with imputed, scaled numbers and categories of one place each."""
    from sklearn import ensemble, gaussian_process, linear_model, neural_network, svm
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    levels = data.task.shape.levels
    numbers, codes = ([p for p, n in enumerate(levels) if bool(n) == which] for which in (False, True))

    def whole(model: Any) -> Any:
        scaled = make_pipeline(SimpleImputer(), StandardScaler())
        places = OneHotEncoder(handle_unknown="ignore")
        return make_pipeline(ColumnTransformer([("n", scaled, numbers), ("c", places, codes)]), model)

    grid = {"C": [0.1, 1, 10, 100], "gamma": [0.003, 0.01, 0.03, 0.1]}
    if data.task.classes:
        return {
            "logistic": lambda: whole(linear_model.LogisticRegression(max_iter=5000)),
            "logistic CV": lambda: whole(linear_model.LogisticRegressionCV(max_iter=5000)),
            "SVC": lambda: whole(svm.SVC()),
            "SVC tuned": lambda: whole(GridSearchCV(svm.SVC(), grid, cv=5)),
            "forest": lambda: whole(ensemble.RandomForestClassifier(300, random_state=0)),
            "boosting": lambda: whole(ensemble.HistGradientBoostingClassifier(random_state=0)),
            "MLP": lambda: whole(neural_network.MLPClassifier(max_iter=1000, random_state=0)),
        }
    kernel = gaussian_process.kernels
    rbf = kernel.ConstantKernel() * kernel.RBF(3.0) + kernel.WhiteKernel()
    return {
        "least squares": lambda: whole(linear_model.LinearRegression()),
        "ridge CV": lambda: whole(linear_model.RidgeCV(np.logspace(-2, 4, 13))),
        "lasso CV": lambda: whole(linear_model.LassoCV()),
        "SVR (C 50, gamma 0.01)": lambda: whole(svm.SVR(C=50, gamma=0.01)),
        "SVR tuned": lambda: whole(GridSearchCV(svm.SVR(), grid, cv=5)),
        "forest": lambda: whole(ensemble.RandomForestRegressor(300, random_state=0)),
        "boosting": lambda: whole(ensemble.GradientBoostingRegressor(random_state=0)),
        "Gaussian process": lambda: whole(gaussian_process.GaussianProcessRegressor(rbf, normalize_y=True)),
    }


def folds_of(data: Data, seed: int) -> Array:
    """The fold of each row, by class or by fifths of the number."""
    labels = data.task.labels(data.train)
    if labels is None:
        numbers = data.train.column("number")
        labels = np.searchsorted(np.quantile(numbers, [0.2, 0.4, 0.6, 0.8]), numbers)
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    folds = np.empty(len(order), np.int64)
    folds[order] = np.arange(len(order)) % FOLDS
    return folds


def ours(data: Data, network: str, folds: Array, seed: int) -> dict[str, Array]:
    """The rows of the meter, in the order of the examples."""
    quiet, parts, places = Progress(quiet=True), [], []
    for fold in range(FOLDS):
        out = np.flatnonzero(folds == fold)
        none = data.train.take(out[:0])
        part = dataclasses.replace(
            data, train=data.train.take(np.flatnonzero(folds != fold)), valid=none, test=data.train.take(out)
        )
        model = matinee.train(part, network=network, progress=quiet, seed=seed, precision="float32", threads=1)
        meter = collect(model.task, model.network, part.test, machine("cpu", "float32"))
        parts.append(meter.rows())
        places.append(out)
    order = np.argsort(np.concatenate(places))
    return {name: np.concatenate([part[name] for part in parts])[order] for name in parts[0]}


def theirs(data: Data, make: Callable[[], Any], folds: Array) -> dict[str, Array]:
    """The same rows for a model of scikit-learn."""
    values = data.train.column("values")
    targets = data.train.column("label" if data.task.classes else "number")
    answers = np.empty(len(targets), targets.dtype)
    for fold in range(FOLDS):
        out = folds == fold
        answers[out] = make().fit(values[~out], targets[~out]).predict(values[out])
    outputs: Any = torch.from_numpy(answers.astype(np.float32))[:, None]
    if data.task.classes:
        outputs = torch.nn.functional.one_hot(torch.from_numpy(answers), len(data.task.classes)).float()
        outputs = torch.cat([outputs, torch.zeros(len(outputs), 1)], 1)
    meter = data.task.meter()
    meter.update(outputs, Batch(torch.zeros(len(targets), 1), torch.from_numpy(targets)))
    return meter.rows()


def run(name: str, networks: list[str], repeats: int, skip: bool) -> None:
    """All models on one set."""
    source, given = SETS[name]
    data = matinee.read(
        source, task="table-prediction", test_share=0, valid_share=0, progress=Progress(quiet=True), **given
    )
    meter = data.task.meter()
    first, *more = [n for n in meter.names_of_scores() if n in ("accuracy", "r2", "rmse", "f1")]
    print(f"\n{name}: {len(data.train):,} rows, {len(data.task.shape.levels)} inputs, {repeats} x {FOLDS} folds")
    every = [folds_of(data, seed) for seed in range(repeats)]
    rows: dict[str, dict[str, Array]] = {}

    def told(model: str, answer: Callable[[Array, int], dict[str, Array]]) -> None:
        began = time.perf_counter()
        parts = [answer(folds, seed) for seed, folds in enumerate(every)]
        spent = (time.perf_counter() - began) / repeats
        rows[model] = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        scores = [meter.score(part) for part in parts]
        words = "  ".join(f"{n} {np.mean([s[n] for s in scores]):.4f}" for n in (first, *more))
        print(f"  {model:26} {words}  {spent:6.1f} s", flush=True)

    for network in networks:
        told(network, lambda folds, seed, network=network: ours(data, network, folds, seed))
    known = {} if skip else rivals(data)
    for rival, make in known.items():
        told(rival, lambda folds, seed, make=make: theirs(data, make, folds))
    if known:
        best = max(known, key=lambda rival: meter.score(rows[rival])[first])
        for network in networks:
            by = margins(meter, rows[network], rows[best], draws=DRAWS)[first]
            sure = "surely better" if by.low > 0 else "surely worse" if by.high < 0 else "no sure difference"
            print(f"  {network} less {best}: {first} {by.value:+.4f} ({by.low:+.4f} to {by.high:+.4f}): {sure}")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SETS), help="names of sets, with commas")
    parser.add_argument("--networks", default="auto,linear,tabular", help="networks, with commas")
    parser.add_argument("--repeats", type=int, default=1, help="how often the ten folds are drawn anew")
    parser.add_argument("--skip-rivals", action="store_true", help="our networks alone")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for name in asked.only.split(","):
        run(name, asked.networks.split(","), asked.repeats, asked.skip_rivals)


if __name__ == "__main__":
    main()
