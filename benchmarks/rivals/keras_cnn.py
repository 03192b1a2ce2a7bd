"""A small CNN in Keras 3, as its documentation's first picture example writes it, on torch as the backend.

    python keras_cnn.py FOLDER [--epochs 3] [--steps N]

The "Simple MNIST convnet" example: two convolutions of 3x3 (32 and 64) with max pooling, dropout, a softmax; Adam,
batches of 128, a tenth for validation; only its input is 32 x 32 x 3 and its pictures come from the folder.
"""
# ruff: noqa: E402

from __future__ import annotations

import time

BEGAN = time.perf_counter()  # before the imports: they are part of what a user waits for

import argparse
import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
from keras import layers
from pictures import load_all, tell


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=None, help="train on so many batches only (to try the script)")
    asked = parser.parse_args()
    (x_train, y_train), (x_test, y_test) = (
        (pictures.permute(0, 2, 3, 1).numpy().astype("float32") / 255, keras.utils.to_categorical(labels, 10))
        for pictures, labels in (load_all(asked.folder, split) for split in ("train", "test"))
    )
    # `fit` takes the last tenth for validation: the folder's order is by class, and must not decide which.
    order = keras.random.shuffle(list(range(len(x_train))), seed=0).cpu().numpy().astype(int)
    x_train, y_train = x_train[order], y_train[order]
    if asked.steps:
        x_train, y_train = x_train[: 128 * asked.steps], y_train[: 128 * asked.steps]
    model = keras.Sequential(
        [
            keras.Input(shape=(32, 32, 3)),
            layers.Conv2D(32, kernel_size=(3, 3), activation="relu"),
            layers.MaxPooling2D(pool_size=(2, 2)),
            layers.Conv2D(64, kernel_size=(3, 3), activation="relu"),
            layers.MaxPooling2D(pool_size=(2, 2)),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    began = time.perf_counter()
    model.fit(x_train, y_train, batch_size=128, epochs=asked.epochs, validation_split=0.1, verbose=2)
    training = time.perf_counter() - began
    accuracy = model.evaluate(x_test, y_test, verbose=0)[1]
    tell(
        seconds_training=training,
        seconds_whole=time.perf_counter() - BEGAN,
        accuracy=accuracy,
        examples_per_second=0.9 * len(x_train) * asked.epochs / training,
        epochs=asked.epochs,
        keras=keras.__version__,
    )


if __name__ == "__main__":
    main()
