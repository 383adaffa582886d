"""PyTorch's threads, on which damo's large calls run.

PyTorch's threads spin for milliseconds after each of its operations. damo's own would fight with
them for the cores, and both would be slow.
"""

from __future__ import annotations

import multiprocessing
import os

import torch

from .. import _c_api
from .._errors import ForkedError
from .._library import address


def _torch_library() -> str | None:
    """The file of PyTorch that computes with OpenMP; None where it has another pool."""
    if "parallel backend: OpenMP" not in torch.__config__.parallel_info():
        return None
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
            files = {line.rstrip("\n").partition("/")[2] for line in maps}
    except OSError:
        return None
    names = [f"/{file}" for file in files if os.path.basename(file).startswith("libtorch_cpu.so")]
    return names[0] if names else None


def use_torch_threads(enabled: bool = True) -> bool:
    """Lets damo's large calls run on PyTorch's threads; False: on damo's own threads again.

    Importing damo.torch calls this with True. It holds for all storages of the process, and
    replaces any executor that was set before. Results stay the same. A call uses as many threads
    as torch.set_num_threads says, and at most the storage's option threads. While
    torch.set_num_threads says 1, damo's own threads are used.

    Returns whether PyTorch's threads are used. They are not if PyTorch has another pool than
    OpenMP's, in a forked child, or outside Linux.
    """
    library = _torch_library() if enabled else None
    # An OpenMP library that was preloaded takes the place of PyTorch's.
    parallel = library and (address(None, "GOMP_parallel") or address(library, "GOMP_parallel"))
    run = address(str(_c_api.library_path), "damo_executor_openmp") if parallel else None
    try:
        _c_api.damo_executor_set(run, parallel, 0)
    except ForkedError:
        return False
    return run is not None


def begin() -> None:
    """Lends PyTorch's threads, unless this process was forked from one that may have had them."""
    parent = multiprocessing.parent_process()
    if parent is None or multiprocessing.get_start_method(allow_none=True) != "fork":
        use_torch_threads()
