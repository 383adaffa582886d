"""The names of TorchRec's configs and collections, and what to use here instead."""

from __future__ import annotations

from ._names import F, names_arguments

_NO_SIZE = "ids are any 64-bit integers, and an id gets its row when it is first seen; leave it out"
_LATER = "there are none here; weigh or change features before or behind the collection"

# Arguments of EmbeddingBagConfig and EmbeddingConfig, and of damo.torch's layers.
_OF_TABLES = {
    "num_embeddings": _NO_SIZE,
    "num_embeddings_post_pruning": _NO_SIZE,
    "total_num_buckets": _NO_SIZE,
    "use_virtual_table": _NO_SIZE,
    "embedding_dim": "the number of weights a row is called dim",
    "feature_names": "the names of features are called features",
    "feature": "the names of features are called features",
    "init_fn": "it is called initializer, which is one of damo, such as damo.Normal(stddev=0.01)",
    "weight_init_min": "first weights are the initializer's: initializer=damo.Uniform(min, max)",
    "weight_init_max": "first weights are the initializer's: initializer=damo.Uniform(min, max)",
    "data_type": "rows are float32; the collection's dtype= is that of its results",
    "dtype": "the collection has it, for all of its tables",
    "need_pos": _LATER,
    "input_dim": "features name their ids themselves; leave it out",
    "mode": "it is called pooling",
    "pooling_type": "it is called pooling",
    "padding_key": "it is called padding_idx here",
    "name_or_group": "its group is called group, and is its name unless it is given",
    "embedding": "a damo.Embedding is called rows",
    "lr": "the rate is the optimizer's: optimizer=damo.Adam(lr=...)",
    "learning_rate": "the rate is the optimizer's: optimizer=damo.Adam(lr=...)",
    "fused_params": "optimizer has them: optimizer=damo.RowwiseAdagrad(lr=...)",
    "duplicates": (
        "gradients of an id that is there twice are summed; a damo.Embedding of storage.embedding"
        " has another choice (rows=)"
    ),
}

# Arguments of EmbeddingBagCollection and EmbeddingCollection.
_OF_COLLECTIONS = {
    "is_weighted": "weights are used where they are given, with pooling 'sum'; leave it out",
    "device": (
        "rows are in the storage, and a forward pass returns them on the device of the ids; leave"
        " it out"
    ),
    "need_indices": "the ids are those that were given; leave it out",
    "use_gather_select": "it is about how TorchRec computes; leave it out",
    "embedding_configs": "the configs are called tables",
    "configs": "the configs are called tables",
    "optimizer": "each table has its own: damo.torch.TableConfig(..., optimizer=...)",
    "fused_params": "each table has an optimizer: damo.torch.TableConfig(..., optimizer=...)",
    "pooling": "each table has its own: damo.torch.TableConfig(..., pooling=...)",
    "mode": "each table has its own: damo.torch.TableConfig(..., pooling=...)",
}


def names_table_arguments(function: F) -> F:
    """Makes function raise a TypeError for TorchRec's arguments of a config: what to use here."""
    return names_arguments(function, _OF_TABLES)


def names_collection_arguments(function: F) -> F:
    """Makes function raise a TypeError for TorchRec's arguments of a collection, likewise."""
    return names_arguments(function, _OF_COLLECTIONS)
