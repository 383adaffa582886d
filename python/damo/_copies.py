"""Errors for copying or pickling what belongs to an open storage, with what to do instead."""

from __future__ import annotations

import sys

_PROCESSES = (
    "Keep them in the main process (DataLoader workers must not hold a model or a storage), or open"
    " a damo.Table"
)
_COPIES = (
    "Keep them in the main process. storage.checkpoint(path) copies what is stored, and"
    " damo.torch.save_checkpoint(model, optimizer, path) saves a model with it. Leave them out of"
    " what a trainer keeps (Lightning: save_hyperparameters(ignore=[...]) with the arguments that"
    " have them)"
)
_MODELS = (
    "damo.torch: a model whose rows are in an open storage ({path}) cannot be copied or pickled,"
    " which copy.deepcopy, AveragedModel, torch.save(model) and save_hyperparameters do. To save"
    " it: damo.torch.save_checkpoint(model, optimizer, path), or torch.save(model.state_dict(),"
    " file) beside storage.checkpoint(path). To serve it: damo.torch.save_for_serving(model, path)."
    " To average weights: give AveragedModel the dense part. Lightning:"
    " save_hyperparameters(ignore=['model'])"
)
_MODELS_IN_PROCESSES = (
    "damo.torch: a model whose rows are in an open storage ({path}) cannot be sent to another"
    " process. Keep it in the main process (DataLoader workers must not hold a model or a storage),"
    " or send a model that damo.torch.save_for_serving wrote"
)


def _is_for_process() -> bool:
    """Whether this pickles an object for a process that starts, such as a DataLoader's worker."""
    context = sys.modules.get("multiprocessing.context")
    return context is not None and context.get_spawning_popen() is not None


def refusal(kind: str) -> TypeError:
    """The error for an object with a handle. kind: the name of its class."""
    way = _PROCESSES if _is_for_process() else _COPIES
    return TypeError(
        f"damo: {kind} objects cannot be pickled or copied: they belong to the process that opened"
        f" them. {way}"
    )


def refusal_of_model(path: str) -> TypeError:
    """The error for a layer of damo.torch. path: that of its storage."""
    return TypeError((_MODELS_IN_PROCESSES if _is_for_process() else _MODELS).format(path=path))
