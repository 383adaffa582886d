"""damo in PyTorch: layers whose rows live in a storage, stepped by damo's optimizers.

    users = damo.torch.Embedding(storage, "user", 16, optimizer=damo.Adam(lr=1e-3))
    users(ids).sum().backward()   # the rows of ids have had one Adam step

- Gradients are applied when a backward pass ends, so a torch optimizer gets the dense part only, and each backward is one step of each group,
  however often its layers are used; one that fails, or has a gradient that is not finite, changes nothing. With
  SparseOptimizer they wait for its step: then gradient accumulation and GradScaler work as with torch's own optimizers.
- Rows and optimizer states are float32 in the storage. A layer returns rows in its own dtype, and gradients come back in it: double(),
  half(), bfloat16() and to(dtype) change it as that of torch.nn.Embedding. autocast leaves it alone.
- Under autocast to float16 without a SparseOptimizer a forward pass raises. Losses that are scaled without autocast nobody can see.
- EmbeddingBag refuses offsets that leave an id in no bag, go back or beyond the ids, with a ValueError before a row is made.
- requires_grad_(False) on a layer, on a module around it or on its parameter freezes its rows.
- torch.compile breaks the graph at the layers and compiles what is around them; fullgraph=True raises torch's error.
- Storages stay in the process that opened them: a DataLoader's workers prepare ids, and must not hold a model.
- Clipping by the norm of all gradients does not see those of rows.
"""

from ._summary import summary
from .bag import EmbeddingBag
from .embedding import Embedding
from .optimizer import SparseOptimizer
from .prefetch import Prefetch
from .serving import load_for_serving, save_for_serving

__all__ = ["Embedding", "EmbeddingBag", "Prefetch", "SparseOptimizer", "load_for_serving", "save_for_serving", "summary"]
