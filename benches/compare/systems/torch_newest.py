"""PyTorch as in torch_sparse_adam, of the newest release that scripts/test-torch has installed."""

from systems.torch_sparse_adam import open

__all__ = ["open"]
