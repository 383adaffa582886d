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
import threading
import traceback


def _remove(path):
    """A directory with all that it has; of a link the link alone; nothing where nothing is."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.remove(path)


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

    # Checkpoints of one path would take each other's files away.
    _replacing = threading.Lock()

    @staticmethod
    def _warn(message):
        """The drop-in classes' way of warning."""
        raise NotImplementedError

    @staticmethod
    def _is_bool(value):
        """Whether it is True or False of any library."""
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
        ttl = field(values, "ttl", int, "its object", 0)
        # Before the storage, which is not opened at all for what is refused here.
        ready = [
            (group, dim, optimizer(op_params), initializer(in_params))
            for group, dim, op_params, in_params in listed
        ]
        self._dims = {group: dim for group, dim, _, _ in ready}
        try:
            self._open(storage(directory, ttl), embedding, ready, reload_dir)
        except BaseException as error:
            # Who keeps the error keeps the frames of its traceback; they must not keep it open.
            self._storage, self._embeddings = None, {}
            chain = error
            while chain is not None:
                traceback.clear_frames(chain.__traceback__)
                chain = chain.__context__
            raise

    def _open(self, storage, embedding, ready, reload_dir):
        self._storage = storage
        self._embeddings = {}
        # No comprehension: its function would keep the storage after clear_frames.
        for group, dim, optimizer, initializer in ready:
            self._embeddings[group] = embedding(storage, optimizer, initializer, dim, group)
        _, old = self._beside(reload_dir)
        if reload_dir and os.path.lexists(reload_dir):
            storage.load_from_checkpoint(reload_dir)
        elif reload_dir and os.path.lexists(old):
            storage.load_from_checkpoint(old)
            self._warn(
                f"reload_dir '{reload_dir}' is not there: its replacement was cut short, so the "
                f"earlier one, '{old}', was loaded; the next checkpoint there puts it in order"
            )
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

    def _integer(self, value, what):
        """An integer of any kind, but no bool."""
        if self._is_bool(value) or not hasattr(value, "__index__"):
            raise TypeError(f"damo: {what} is {value!r}; an integer is needed")
        return value.__index__()

    def _keys(self, values):
        """Keys as one-dimensional int64, and which of them are not padding; None when all are."""
        import numpy

        if isinstance(values, numpy.ma.MaskedArray):
            raise TypeError("damo: keys is a masked array; give its keys.compressed()")
        if isinstance(values, (list, tuple)):
            # NumPy makes integers of bools, and floats of what is from 2^63 on beside others.
            numbers = [self._integer(key, "a key") for key in numpy.asarray(values, object).flat]
            for number in numbers:
                if not -(2**63) <= number < 2**64:
                    raise ValueError(f"damo: a key is {number}; 64 bits are needed")
            values = numpy.array([number % 2**64 for number in numbers], numpy.uint64)
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

    def _gradients(self, values):
        """Real numbers of any kind as float32."""
        import numpy

        array = numpy.asarray(values)
        listed = isinstance(values, (list, tuple))
        if (
            isinstance(values, numpy.ma.MaskedArray)
            or array.dtype.kind not in "iuf"
            or (listed and any(map(self._is_bool, numpy.asarray(values, object).flat)))
        ):
            raise TypeError(
                f"damo: gds must be an array of float32, not {type(values).__name__} of "
                f"{array.dtype} with what is no real number"
            )
        return numpy.ascontiguousarray(array, numpy.float32).reshape(-1)

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

    def push(self, *arguments, **named):
        """push([step,] group, keys, gds): steps the optimizer for keys that have a row.

        Gradients of keys that were never pulled are dropped, as they were by the releases. 1.1.12
        has the step first; it changes nothing. All can be given by name.
        """
        import numpy

        names = ("step", "group", "keys", "gds")
        free = [name for name in names if name not in named]
        if len(arguments) == len(free) - 1 and "step" in free:
            free.remove("step")
        if len(arguments) != len(free) or not set(named) <= set(names):
            raise TypeError(
                "damo: push takes (group, keys, gds) or (step, group, keys, gds), "
                f"not {len(arguments)} arguments"
                + "".join(f" and {name}=" for name in named)
            )
        given = dict(zip(free, arguments), **named)
        group, keys, gds = given["group"], given["keys"], given["gds"]
        step = [given["step"]] if "step" in given else []
        if step and not 0 <= self._integer(step[0], "step") < 2**64:
            raise TypeError(f"damo: step is {step[0]!r}; it goes from 0 to 18446744073709551615")
        embedding, dim = self._group(group)
        keys, real = self._keys(keys)
        gradients = self._gradients(gds)
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
        if not path:
            return self._storage._checkpoint(given)
        made, old = self._beside(path)
        with self._replacing:
            # What an earlier process that was killed has left.
            if os.path.lexists(old) and not os.path.lexists(path):
                os.rename(old, path)
            if not os.path.isfile(path) and not os.path.isfile(f"{path}/checkpoint.json"):
                return self._storage._checkpoint(path)
            _remove(made)
            _remove(old)
            self._storage._checkpoint(made)
            os.rename(path, old)
            try:
                os.rename(made, path)
            except OSError:
                os.rename(old, path)
                raise
            _remove(old)

    @staticmethod
    def _beside(path):
        """Where its replacement is made, and where it is while that takes its place."""
        path = path.rstrip(os.sep)
        return path + ".damo-new", path + ".damo-old"


# %}
