#if 0
''''
#endif
%pythoncode %{
# '''
# PyDamo, the one class of damo-embedding from 1.1.4 on, over the drop-in classes. The package's
# classes and those of the SWIG module share this file: swig/dropin_served.i is a link to it, and
# the lines above are for SWIG.

import os
import shutil
import threading
import traceback


def _remove(path):
    """Removes a file, or a directory with its content; of a link the link alone."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.remove(path)


class _Served:
    """Tables by a configuration file: PyDamo(path).

    The file is a JSON object:
    - dir: the storage's directory.
    - ttl: seconds after which a row that was not updated is gone (0: never).
    - embeddings: a list. Each has group, dim, initializer and optimizer; the last two are objects
      of a name and parameters.
    - reload_dir: a checkpoint of damo or a checkpoint file of damo-embedding, which every opening
      loads if it exists.

    null counts as missing. Key 0 is padding: it has no row, pull leaves its place in w as it is,
    and push does not step it. Only pull makes rows.
    """

    # Parameters, PyStorage, PyOptimizer, PyInitializer, PyEmbedding.
    _parts: tuple = ()

    # Held while a checkpoint replaces another: two of one path would remove each other's files.
    _replacing = threading.Lock()

    @staticmethod
    def _read(config, parameters, warn):
        """The content of a configuration file: see _configuration."""
        raise NotImplementedError

    @staticmethod
    def _warn(message):
        """Warns, as the drop-in classes do."""
        raise NotImplementedError

    @staticmethod
    def _is_bool(value):
        """Whether it is True or False of any library."""
        raise NotImplementedError

    def __init__(self, config):
        parameters, storage, optimizer, initializer, embedding = self._parts
        directory, ttl, reload_dir, listed = self._read(config, parameters, self._warn)
        # Before the storage: what is refused here does not open it.
        ready = [
            (group, dim, optimizer(op_params), initializer(in_params))
            for group, dim, op_params, in_params in listed
        ]
        self._dims = {group: dim for group, dim, _, _ in ready}
        checkpoint = self._checkpoint_of(reload_dir)
        try:
            self._open(storage(directory, ttl), embedding, ready)
            if checkpoint is not None:
                # Meanwhile a replacement may have finished.
                there = os.path.lexists(reload_dir)
                self._storage.load_from_checkpoint(reload_dir if there else checkpoint)
        except BaseException as error:
            # Whoever keeps the error keeps the frames of its traceback. They must not keep the
            # storage open.
            self._storage, self._embeddings = None, {}
            chain = error
            while chain is not None:
                traceback.clear_frames(chain.__traceback__)
                chain = chain.__context__
            raise

    def _checkpoint_of(self, reload_dir):
        """The path to load: reload_dir, the old one if a replacement was cut short, or None."""
        _, old = self._beside(reload_dir)
        if not reload_dir or os.path.lexists(reload_dir):
            return reload_dir or None
        if os.path.lexists(old):
            self._warn(
                f"reload_dir '{reload_dir}' is not there: its replacement was cut short, so the "
                f"earlier one, '{old}', is loaded; the next checkpoint there puts it in order"
            )
            return old
        self._warn(
            f"reload_dir '{reload_dir}' is not there, so nothing is loaded; "
            "leave it out until there is one"
        )
        return None

    def _open(self, storage, embedding, ready):
        self._storage = storage
        self._embeddings = {}
        # No comprehension: its function would keep the storage after clear_frames.
        for group, dim, optimizer, initializer in ready:
            self._embeddings[group] = embedding(storage, optimizer, initializer, dim, group)

    def _group(self, group):
        number = self._integer(group, "group")
        if number not in self._dims:
            raise ValueError(f"damo: group is {number}; the configuration has {sorted(self._dims)}")
        return self._embeddings[number], self._dims[number]

    def _integer(self, value, what):
        """value as an int. Raises TypeError for anything but an integer, and for a bool."""
        if self._is_bool(value) or not hasattr(value, "__index__"):
            raise TypeError(f"damo: {what} is {value!r}; an integer is needed")
        return value.__index__()

    def _keys(self, values):
        """Keys as one-dimensional int64, and a mask of those that are not padding.

        The mask is None if no key is padding.
        """
        import numpy

        if isinstance(values, numpy.ma.MaskedArray):
            raise TypeError("damo: keys is a masked array; give its keys.compressed()")
        if isinstance(values, (list, tuple)):
            # By itself NumPy makes integers of bools, and floats if one of several is 2^63 or more.
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
        """Gradients, real numbers of any kind, as one-dimensional float32."""
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
        """Fills w with the weights of keys, in place. A key without a row gets one.

        keys: integers. w: contiguous writable float32 of any shape, dim floats for each key: an
        array, or a buffer such as array.array or memoryview.
        """
        import numpy

        embedding, dim = self._group(group)
        keys, real = self._keys(keys)
        w = self._weights(w, keys.size * dim)
        if real is None:
            return embedding.lookup(keys, w)
        rows = numpy.empty(int(real.sum()) * dim, numpy.float32)
        embedding.lookup(keys[real], rows)
        w.reshape(keys.size, dim)[real] = rows.reshape(-1, dim)

    @staticmethod
    def _weights(values, size):
        """A one-dimensional array over the memory of values, which must have size float32."""
        import numpy

        array = values
        if not isinstance(array, numpy.ndarray):
            try:
                array = numpy.asarray(memoryview(values))
            except (TypeError, ValueError):
                pass
        if (
            not isinstance(array, numpy.ndarray)
            or array.dtype != numpy.float32
            or isinstance(array, numpy.ma.MaskedArray)
        ):
            found = getattr(array, "dtype", None)
            raise TypeError(
                f"damo: w must be an array of float32, not {type(values).__name__}"
                + (f" of {found}" if found is not None else "")
            )
        flags = array.flags
        if array.size != size or not (flags.c_contiguous and flags.writeable and flags.aligned):
            raise ValueError(
                f"damo: w must be a contiguous, aligned and writable array of {size} float32"
            )
        return numpy.asarray(array).reshape(-1)

    def push(self, *arguments, **named):
        """push([step,] group, keys, gds): steps the optimizer for keys that have a row.

        gds: dim numbers for each key, of any shape. Gradients of keys that were never pulled are
        dropped, as the releases did. step, which release 1.1.12 takes first, changes nothing. All
        can be given by name.
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
        """Writes all weights to the file path, which is replaced, with a counted header."""
        condition = self._parts[0]()
        condition.insert("format", "counted")
        self._storage.dump(path, condition)

    def checkpoint(self, path):
        """Makes a checkpoint: the directory path with everything.

        It replaces a checkpoint there: damo's, or a file of damo-embedding.
        """
        given, path = path, os.fsdecode(path).rstrip(os.sep)
        if not path:
            return self._storage._checkpoint(given)
        made, old = self._beside(path)
        with self._replacing:
            # Left by an earlier process that was killed.
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
        """Two paths beside path: for its replacement, and for itself during the replacement."""
        path = path.rstrip(os.sep)
        return path + ".damo-new", path + ".damo-old"


# %}
