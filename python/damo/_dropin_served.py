#if 0
''''
#endif
%pythoncode %{
# '''
# PyDamo, the one class of damo-embedding from 1.1.4 on, over the drop-in classes. The package's
# classes and those of the SWIG module share this file: swig/dropin_served.i is a link to it, and
# the lines above are for SWIG.

import json
import os
import shutil


class _Served:
    """Tables by a configuration file: PyDamo(path).

    The file is JSON: dir; ttl (seconds, 0 is never); embeddings, each with group, dim, initializer
    and optimizer, objects with a name and parameters; reload_dir, a checkpoint that is loaded at
    every opening if it is there: damo's, or a file of damo-embedding.

    Key 0 is padding: it has no row, pull does not write its place, and push does not step it. Rows
    are made by pull only.
    """

    # Parameters, PyStorage, PyOptimizer, PyInitializer, PyEmbedding.
    _parts: tuple = ()

    @staticmethod
    def _warn(message):
        """The drop-in classes' way of warning."""
        raise NotImplementedError

    def __init__(self, config):
        parameters, storage, optimizer, initializer, embedding = self._parts
        path = os.fsdecode(config)
        with open(path, encoding="utf-8") as file:
            try:
                values = json.load(file)
            except ValueError as error:
                raise ValueError(f"damo: the configuration '{path}' is no JSON: {error}") from None

        def field(values, name, kinds, where, *default):
            found = values.get(name, *default) if isinstance(values, dict) else None
            if not isinstance(found, kinds) or isinstance(found, bool):
                raise ValueError(
                    f"damo: the configuration '{path}' needs {name} in {where}; it has {found!r}"
                )
            return found

        def bag(values):
            made = parameters()
            for name, value in values.items():
                made.insert(name, value)
            return made

        listed = []
        for place, entry in enumerate(field(values, "embeddings", list, "its object")):
            where = f"embeddings[{place}]"
            group, dim = (field(entry, name, int, where) for name in ("group", "dim"))
            listed.append(
                (
                    group,
                    dim,
                    *(
                        bag(field(entry, name, dict, where))
                        for name in ("optimizer", "initializer")
                    ),
                )
            )
        directory = field(values, "dir", str, "its object")
        reload_dir = field(values, "reload_dir", str, "its object", "")
        self._storage = storage(directory, field(values, "ttl", int, "its object", 0))
        self._dims, self._embeddings = {}, {}
        for group, dim, op_params, in_params in listed:
            made = embedding(
                self._storage, optimizer(op_params), initializer(in_params), dim, group
            )
            self._dims[group], self._embeddings[group] = dim, made
        if reload_dir and os.path.lexists(reload_dir):
            self._storage.load_from_checkpoint(reload_dir)
        elif reload_dir:
            self._warn(
                f"reload_dir '{reload_dir}' is not there, so nothing was loaded; "
                "leave it out until there is one"
            )

    def _group(self, group):
        number = self._integer(group, "group")
        if number not in self._dims:
            raise ValueError(f"damo: group is {number}; the configuration has {sorted(self._dims)}")
        return self._embeddings[number], self._dims[number]

    @staticmethod
    def _integer(value, what):
        """An integer of any kind, but no bool."""
        is_bool = isinstance(value, bool) or getattr(value, "dtype", None) == "bool"
        if is_bool or not hasattr(value, "__index__"):
            raise TypeError(f"damo: {what} is {value!r}; an integer is needed")
        return value.__index__()

    @staticmethod
    def _keys(values):
        """Keys as one-dimensional int64, and which of them are not padding; None when all are."""
        import numpy

        array = numpy.asarray(values)
        if (
            array.dtype.kind == "i"
            or array.size == 0
            or (array.dtype.kind == "u" and array.itemsize < 8)
        ):
            array = array.astype(numpy.int64, copy=False)
        elif array.dtype != numpy.uint64:
            raise TypeError(f"damo: keys must be an array of int64, not of {array.dtype}")
        array = numpy.ascontiguousarray(array).reshape(-1)
        real = array != 0
        return array, None if real.all() else real

    def pull(self, group, keys, w):
        """Fills w, writable float32 with dim floats a key, in place; new keys get a row."""
        import numpy

        embedding, dim = self._group(group)
        keys, real = self._keys(keys)
        if real is None:
            return embedding.lookup(keys, w.reshape(-1) if self._is_rows(w) else w)
        if not self._is_rows(w) or w.size != keys.size * dim or not w.flags.writeable:
            raise ValueError(
                f"damo: w must be a contiguous writable array of {keys.size * dim} float32"
            )
        rows = numpy.empty(int(real.sum()) * dim, numpy.float32)
        embedding.lookup(keys[real], rows)
        w.reshape(keys.size, dim)[real] = rows.reshape(-1, dim)

    @staticmethod
    def _is_rows(w):
        return getattr(w, "dtype", None) == "float32" and w.flags.c_contiguous

    def push(self, *arguments):
        """push([step,] group, keys, gds): steps the optimizer for keys that have a row.

        Gradients of keys that were never pulled are dropped, as they were by the releases. 1.1.12
        has the step first; it changes nothing.
        """
        import numpy

        if len(arguments) not in (3, 4):
            raise TypeError(
                "damo: push takes (group, keys, gds) or (step, group, keys, gds), "
                f"not {len(arguments)} arguments"
            )
        *step, group, keys, gds = arguments
        if step and not 0 <= self._integer(step[0], "step") < 2**64:
            raise TypeError(f"damo: step is {step[0]!r}; it goes from 0 to 18446744073709551615")
        embedding, dim = self._group(group)
        keys, real = self._keys(keys)
        gradients = numpy.ascontiguousarray(gds, numpy.float32).reshape(-1)
        if gradients.size != keys.size * dim:
            raise ValueError(
                f"damo: gds has {gradients.size} floats; {keys.size} keys x dim {dim} are needed"
            )
        if real is not None:
            keys, gradients = keys[real], gradients.reshape(-1, dim)[real].reshape(-1)
        known = numpy.frombuffer(
            embedding.peek(keys, numpy.empty(gradients.size, numpy.float32)), numpy.bool_
        )
        if not known.all():
            keys, gradients = keys[known], gradients.reshape(-1, dim)[known].reshape(-1)
        embedding.apply_gradients(keys, gradients)

    def dump(self, path):
        """Writes all weights with a counted header; a file that is there is replaced."""
        condition = self._parts[0]()
        condition.insert("format", "counted")
        self._storage.dump(path, condition)

    def checkpoint(self, path):
        """Makes path a directory with everything; replaces a checkpoint, damo's or a file."""
        given, path = path, os.fsdecode(path).rstrip(os.sep)
        is_one = os.path.isfile(path) or os.path.isfile(os.path.join(path, "checkpoint.json"))
        if not path or not is_one:
            return self._storage._checkpoint(path or given)
        made, old = f"{path}.damo-new.{os.getpid()}", f"{path}.damo-old.{os.getpid()}"
        self._storage._checkpoint(made)
        os.rename(path, old)
        os.rename(made, path)
        if os.path.isdir(old):
            shutil.rmtree(old)
        else:
            os.remove(old)


# %}
