"""Types of the options: editors complete their values, and type checkers refuse a misspelt one."""

from __future__ import annotations

from typing import Literal, Optional, SupportsIndex, TypedDict

Durability = Literal["process", "power", "checkpoint"]
AutoOrOff = Literal["auto", "off"]
Duplicates = Literal["sum", "mean", "sequential"]
DumpFormat = Literal["table", "classic", "counted"]
ImportFormat = Literal["auto", "checkpoint", "classic", "counted"]
ValueType = Literal["float32", "float16", "int8"]
Conflicts = Literal["add", "refuse"]
NonFinite = Literal["refuse", "skip"]
BagMode = Literal["sum", "mean", "max"]

OptimizerName = Literal[
    "sgd", "ftrl", "adagrad", "rowwise_adagrad", "adam", "amsgrad", "adamw", "lion", "none"
]
InitializerName = Literal[
    "zeros",
    "ones",
    "constant",
    "random_uniform",
    "random_normal",
    "truncate_normal",
    "xavier_uniform",
    "uniform",
    "normal",
    "truncated_normal",
    "xavier",
]
SchedulerName = Literal[
    "exponential_decay",
    "polynomial_decay",
    "natural_exp_decay",
    "inverse_time_decay",
    "cosine_decay",
    "linear_cosine_decay",
    "nature_exponential_decay",
    "liner_cosine_decay",
]

StatName = Literal[
    "groups",
    "rows_estimate",
    "rows_in_memory",
    "dirty_rows",
    "rows_read",
    "rows_created",
    "rows_updated",
    "steps_skipped",
    "rows_loaded",
    "rows_loaded_by_rocksdb",
    "blocks_read_mapped",
    "blocks_read_by_io_uring",
    "blocks_read_by_pread",
    "rows_written",
    "rows_merged",
    "expired_rows",
    "cache_hits",
    "cache_misses",
    "evictions",
    "waited_us",
    "waited_for_journal_us",
    "waited_for_room_us",
    "waited_for_cut_us",
    "slowed_us",
    "writer_waited_us",
    "sorted_runs",
    "index_bytes",
    "cache_bytes",
    "bytes_in_memory",
    "bytes_on_disk",
    "journal_bytes",
]

# Written as calls, since `lambda` is a keyword of Python.
OptimizerParams = TypedDict(
    "OptimizerParams",
    {
        "learning_rate": Optional[float],
        "gamma": Optional[float],
        "alpha": Optional[float],
        "eta": Optional[float],
        "lambda": Optional[float],
        "lambda1": Optional[float],
        "lambda2": Optional[float],
        "beta": Optional[float],
        "beta1": Optional[float],
        "beta2": Optional[float],
        "epsilon": Optional[float],
        "initial_accumulator_value": Optional[float],
        "state": Optional[SupportsIndex],
    },
    total=False,
)


class InitializerParams(TypedDict, total=False):
    """The parameters of initializers."""

    value: Optional[float]
    min: Optional[float]
    max: Optional[float]
    mean: Optional[float]
    stddev: Optional[float]
    seed: Optional[SupportsIndex]


class SchedulerParams(TypedDict, total=False):
    """The parameters of schedules."""

    decay_steps: Optional[SupportsIndex]
    decay_rate: Optional[float]
    staircase: Optional[bool]
    end_learning_rate: Optional[float]
    power: Optional[float]
    cycle: Optional[bool]
    alpha: Optional[float]
    beta: Optional[float]
    num_periods: Optional[float]
    warmup_steps: Optional[SupportsIndex]
