"""damo (damo-tables): sparse embedding tables larger than memory, on one machine.

    with damo.Storage("tables") as storage:
        users = storage.embedding("user", dim=16, optimizer=damo.Adam(lr=1e-3))
        rows = users.lookup([1001, -5, 1001])           # float32 of shape (3, 16); makes new rows
        users.apply_gradients([1001, -5, 1001], rows)   # one Adam step for each distinct key

damo.torch has the layers for PyTorch. Parameters, PyDamo, PyEmbedding, PyFilter, PyInitializer,
PyOptimizer, PyStorage and PyTable are the classes of SWIG-built modules. docs/tutorial.md is a
tour. Other projects have a module damo, too: damo.about() says which one this is.
"""

from . import _about, _c_api
from ._about import about
from ._embedding import Embedding
from ._embedding_reading import GradientSums
from ._errors import (
    AlreadyExistsError,
    BusyError,
    CancelledError,
    ClosedError,
    CorruptionError,
    Error,
    ExitingError,
    ForkedError,
    InvalidArgumentError,
    IoError,
    NotFoundError,
    NotSupportedError,
    OutOfMemoryError,
    PanicError,
    PoisonedError,
    Status,
    StepMismatchError,
)
from ._filter import Filter
from ._kernels import (
    KeysPartition,
    gradients_sum,
    key_shard,
    key_shards,
    keys_partition,
    rows_gather,
)
from ._key_hash import key_hash, key_hashes
from ._library import VERSION as __version__
from ._lookup import Lookup
from ._pin import Pin
from ._records import Record, Records
from ._step import Step
from ._storage import Storage, open_storages
from ._storage_dump import DumpResult
from ._table import Table, merge
from .dropin import (
    Parameters,
    PyDamo,
    PyEmbedding,
    PyFilter,
    PyInitializer,
    PyOptimizer,
    PyStorage,
    PyTable,
    write_as,
)
from .initializers import (
    Constant,
    Initializer,
    Normal,
    Ones,
    TruncatedNormal,
    Uniform,
    XavierUniform,
    Zeros,
)
from .optimizers import (
    FTRL,
    SGD,
    Adagrad,
    Adam,
    AdamW,
    AMSGrad,
    Lion,
    NoOptimizer,
    Optimizer,
    RowwiseAdagrad,
)
from .schedulers import (
    CosineDecay,
    ExponentialDecay,
    InverseTimeDecay,
    LinearCosineDecay,
    NaturalExpDecay,
    PolynomialDecay,
    Scheduler,
)

_about.warn_of_others(__version__)


def library_version() -> str:
    """The version of the library that is loaded."""
    return _c_api.version()


__all__ = [
    "AMSGrad",
    "Adagrad",
    "Adam",
    "AdamW",
    "AlreadyExistsError",
    "BusyError",
    "CancelledError",
    "ClosedError",
    "Constant",
    "CorruptionError",
    "CosineDecay",
    "DumpResult",
    "Embedding",
    "Error",
    "ExitingError",
    "ExponentialDecay",
    "FTRL",
    "Filter",
    "ForkedError",
    "GradientSums",
    "Initializer",
    "InvalidArgumentError",
    "InverseTimeDecay",
    "IoError",
    "KeysPartition",
    "LinearCosineDecay",
    "Lion",
    "Lookup",
    "NaturalExpDecay",
    "NoOptimizer",
    "Normal",
    "NotFoundError",
    "NotSupportedError",
    "Ones",
    "Optimizer",
    "OutOfMemoryError",
    "PanicError",
    "Parameters",
    "Pin",
    "PoisonedError",
    "PolynomialDecay",
    "PyDamo",
    "PyEmbedding",
    "PyFilter",
    "PyInitializer",
    "PyOptimizer",
    "PyStorage",
    "PyTable",
    "Record",
    "Records",
    "RowwiseAdagrad",
    "SGD",
    "Scheduler",
    "Status",
    "Step",
    "StepMismatchError",
    "Storage",
    "Table",
    "TruncatedNormal",
    "Uniform",
    "XavierUniform",
    "Zeros",
    "__version__",
    "about",
    "gradients_sum",
    "key_hash",
    "key_hashes",
    "key_shard",
    "key_shards",
    "keys_partition",
    "library_version",
    "merge",
    "open_storages",
    "rows_gather",
    "write_as",
]
