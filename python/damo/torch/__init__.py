"""damo in PyTorch: layers whose rows live in a storage, stepped by damo's optimizers.

    users = damo.torch.Embedding(storage, "user", 16, optimizer=damo.Adam(lr=1e-3))
    dense = torch.optim.Adam(damo.torch.dense_parameters(model), lr=1e-3)
    optimizer = damo.torch.Optimizer(dense, model)   # steps the dense part, and rows

- Rows are stepped exactly when torch would change the .grad of a weight, and step it. A pass that fails changes nothing,
  and neither do torch.autograd.grad and backward(inputs=...) of something else.
- Optimizer(dense, model) is one optimizer of torch for both parts. SparseOptimizer(model) is for rows alone.
- Without either, rows are stepped when a backward pass ends, each group's once, however often its layers are used.
- Each layer has one parameter, its anchor, which is zero and stands for the rows: its gradient has their gradients' norms.
- Rows and optimizer states are float32 in the storage. A layer returns rows in its own dtype, and gradients come back in it: double(),
  half(), bfloat16() and to(dtype) change it as that of torch.nn.Embedding. autocast leaves it alone.
- Under autocast to float16 without an optimizer for the rows a forward pass raises. Losses that are scaled without autocast
  nobody can see.
- In eval mode no row is made. Nothing else is different.
- EmbeddingBag refuses offsets that leave an id in no bag, go back or beyond the ids, with a ValueError before a row is made.
- requires_grad_(False) on a layer, on a module around it or on its parameter freezes its rows.
- torch.compile breaks the graph at the layers and compiles what is around them; fullgraph=True raises torch's error.
- Storages stay in the process that opened them: a DataLoader's workers prepare ids, and must not hold a model.
"""

from ._conversion import Conversion
from ._state import StateError, rows_of_any_moment
from ._summary import summary
from .bag import EmbeddingBag
from .checkpoint import load_checkpoint, rows_in_checkpoint, save_checkpoint
from .convert import convert
from .embedding import Embedding
from .joint import Optimizer, dense_parameters
from .optimizer import SparseOptimizer
from .prefetch import Prefetch
from .serving import load_for_serving, save_for_serving

__all__ = [
    "Conversion",
    "Embedding",
    "EmbeddingBag",
    "Optimizer",
    "Prefetch",
    "SparseOptimizer",
    "StateError",
    "convert",
    "dense_parameters",
    "load_checkpoint",
    "load_for_serving",
    "rows_in_checkpoint",
    "rows_of_any_moment",
    "save_checkpoint",
    "save_for_serving",
    "summary",
]
