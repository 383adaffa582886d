"""damo in PyTorch: layers whose rows live in a storage and are stepped by damo's optimizers.

    users = damo.torch.Embedding(storage, "user", 16, optimizer=damo.Adam(lr=1e-3))
    dense = torch.optim.Adam(damo.torch.dense_parameters(model), lr=1e-3)
    optimizer = damo.torch.Optimizer(dense, model)   # steps dense parameters and rows

- Rows are stepped exactly when torch would step a weight. Three things change nothing: a backward
  pass that fails, torch.autograd.grad, and backward(inputs=...) with other tensors.
- Optimizer(dense, model) is one torch optimizer for dense parameters and rows.
  SparseOptimizer(model) steps rows alone. Without either, each backward pass is one step of each
  group, however often its layers are used.
- Each layer has one parameter, its anchor. It is zero and stands for the rows: its gradient has the
  norms of the rows' gradients.
- Rows and optimizer state are float32 in the storage. A layer returns rows, and receives gradients,
  in its own dtype. double(), half(), bfloat16() and to(dtype) change the dtype, as they do for
  torch.nn.Embedding. autocast does not.
- Under autocast to float16, a forward pass without an optimizer for the rows is a RuntimeError. A
  loss that is scaled without autocast goes unnoticed: rows are stepped with scaled gradients.
- In eval mode no row is made. Everything else is as in train mode.
- EmbeddingBag raises ValueError, before a row is made, for offsets that leave an id in no bag, go
  back, or go beyond the ids.
- EmbeddingCollection and EmbeddingBagCollection read many features in one call, and step their
  tables in one transaction. Each of their tables is a layer for all that is said here.
- requires_grad_(False) on a layer, on a module around it or on its anchor freezes its rows.
- torch.compile breaks the graph at a layer and compiles what is around it. fullgraph=True raises
  torch's error.
- Large calls run on PyTorch's threads. use_torch_threads(False) turns that off.
- A storage belongs to the process that opened it. A DataLoader's workers may prepare ids, and must
  not hold a model.
"""

try:
    import torch as _torch
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ModuleNotFoundError(
        "damo.torch needs PyTorch: pip install torch, or damo-tables with its extra [torch]",
        name="torch",
    ) from error
del _torch

from ._conversion import Conversion
from ._state import StateError, rows_of_any_moment
from ._summary import summary
from ._tables import TableConfig
from ._threads import begin as _begin_threads, use_torch_threads
from .bag import EmbeddingBag
from .checkpoint import load_checkpoint, rows_in_checkpoint, save_checkpoint
from .collection import EmbeddingBagCollection, EmbeddingCollection
from .convert import convert
from .embedding import Embedding
from .optimizer import Optimizer, dense_parameters
from .prefetch import Prefetch
from .serving import load_for_serving, save_for_serving
from .sparse_optimizer import SparseOptimizer

__all__ = [
    "Conversion",
    "Embedding",
    "EmbeddingBag",
    "EmbeddingBagCollection",
    "EmbeddingCollection",
    "Optimizer",
    "Prefetch",
    "SparseOptimizer",
    "StateError",
    "TableConfig",
    "convert",
    "dense_parameters",
    "load_checkpoint",
    "load_for_serving",
    "rows_in_checkpoint",
    "rows_of_any_moment",
    "save_checkpoint",
    "save_for_serving",
    "summary",
    "use_torch_threads",
]

_begin_threads()
