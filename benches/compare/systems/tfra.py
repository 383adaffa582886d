"""tensorflow-recommenders-addons: an embedding in a hash table in memory, with TensorFlow's adam.

One tf.function does the step, as its users write it: unique ids, lookup, gather, gradient,
optimizer. The hash table is a cuckoo hash table. Rows are made when first seen. adam counts steps
for the whole table. Nothing is kept on disk.
"""

from __future__ import annotations

import os
from dataclasses import astuple
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import numpy as np
import tensorflow as tf
import tf_keras
import tensorflow_recommenders_addons as tfra
from tensorflow_recommenders_addons import dynamic_embedding

from systems import Setup, System


class Tfra(System):
    adam_step = "global"
    adam_epsilon = "raw"

    def __init__(self, setup: Setup) -> None:
        self.notes = (
            f"tensorflow {tf.__version__}, tensorflow-recommenders-addons {tfra.__version__}"
        )
        self._initial_stddev = setup.initial_stddev
        table = self._table = dynamic_embedding.get_variable(
            "embedding",
            key_dtype=tf.int64,
            value_dtype=tf.float32,
            dim=setup.dim,
            initializer=tf.random_normal_initializer(0.0, setup.initial_stddev),
            init_size=1 << 20,
        )
        optimizer = dynamic_embedding.DynamicEmbeddingOptimizer(
            tf_keras.optimizers.legacy.Adam(*astuple(setup.adam))
        )

        @tf.function(
            input_signature=[
                tf.TensorSpec([None], tf.int64),
                tf.TensorSpec([None, setup.dim], tf.float32),
            ]
        )
        def step(keys, gradients):
            with tf.GradientTape() as tape:
                distinct, positions = tf.unique(keys)
                rows = dynamic_embedding.embedding_lookup(table, distinct, name="rows")
                trainable = table.get_trainable_by_name("rows")
                output = tf.gather(rows, positions)
            gradient = tape.gradient(output, [trainable], output_gradients=gradients)
            optimizer.apply_gradients(zip(gradient, [trainable]))
            return output

        self._step = step
        self._checkpoint = tf.train.Checkpoint(table=table, optimizer=optimizer)
        self._managed: tf.train.CheckpointManager | None = None
        # This traces the function and makes the slot tables, before the first timed step. The
        # gradient is zero, so the row stays as it is, but adam's global step becomes 1.
        step(np.array([-1], np.int64), np.zeros((1, setup.dim), np.float32)).numpy()
        self.adam_steps_before = 1

    def lookup(self, keys: np.ndarray, weights: np.ndarray) -> None:
        self._table.lookup(tf.constant(keys)).numpy()

    def initial(self, keys: np.ndarray, weights: np.ndarray) -> None:
        # A lookup of a missing key gives another random row each time; these rows are put in.
        weights[:] = np.random.default_rng(3).normal(0, self._initial_stddev, weights.shape)
        self._table.upsert(tf.constant(keys), tf.constant(weights))

    def fill(self, keys: np.ndarray, weights: np.ndarray) -> None:
        self._table.upsert(tf.constant(keys), tf.constant(weights))  # a lookup makes no rows

    def current(self, keys: np.ndarray, weights: np.ndarray) -> None:
        weights[:] = self._table.lookup(tf.constant(keys)).numpy()

    def step(self, timer, keys: np.ndarray, weights: np.ndarray, gradients: np.ndarray) -> None:
        timer.call("step", self._run, tf.constant(keys), tf.constant(gradients))

    def save(self, path: Path) -> None:
        """Into the folder path, where the last three are kept."""
        self._manager(path).save()

    def restore(self, path: Path) -> None:
        latest = self._manager(path).latest_checkpoint
        if latest:
            self._checkpoint.restore(latest).assert_existing_objects_matched()

    def _manager(self, path: Path) -> tf.train.CheckpointManager:
        if self._managed is None:
            self._managed = tf.train.CheckpointManager(self._checkpoint, str(path), max_to_keep=3)
        return self._managed

    def _run(self, keys: tf.Tensor, gradients: tf.Tensor) -> None:
        self._step(keys, gradients).numpy()


def open(setup: Setup) -> System:
    return Tfra(setup)
