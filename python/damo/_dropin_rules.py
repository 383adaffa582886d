#if 0
''''
#endif
%pythoncode %{
# '''
# What the drop-in classes accept only because releases of damo-embedding did. Each case gives one
# warning, which says what to write instead. The package's classes and those of the SWIG module
# share this file: swig/dropin_rules.i is a link to it, and the lines above are for SWIG. So it
# imports nothing of either, and no NumPy.

import array
import os
import re
import sys
import threading
import time
import warnings

_RELEASES: dict[str, dict[str, object]] = {
    # The header of the dumps of each release.
    "1.0.5": {"header_groups": 1024},
    "1.0.6": {"format": "counted"},
    "1.1": {"format": "counted"},
    **{f"1.1.{number}": {"format": "counted"} for number in range(13)},
}
_dump_defaults: dict[str, object] = {}

# Paths of checkpoints that threads are making, and that may not exist yet.
_being_made: set[str] = set()
_naming = threading.Lock()


def write_as(release):
    """Makes PyStorage.dump write the header that a release of damo-embedding wrote.

    release: "1.0.5": a classic header for 1024 groups. "1.0.6", or "1.1" or "1.1.0" to "1.1.12": a
    counted header. None, the default: a classic header for 256 groups. A condition with a format or
    header_groups overrides it. PyDamo.dump always writes a counted header, as the releases with
    that class did. Raises ValueError for another release.
    """
    is_name = isinstance(release, str) and release in _RELEASES
    if release is not None and not is_name:
        raise ValueError(
            f"damo: release is {release!r}; '1.0.5', '1.0.6', '1.1.0' to '1.1.12' or None is needed"
        )
    _dump_defaults.clear()
    _dump_defaults.update(_RELEASES[release] if is_name else {})


def _warn(message):
    """Warns at the line that called a drop-in class, however deep this call is.

    Call it before the work that it is about: where warnings are errors, it raises.
    """
    ours, frame, level = __name__.split(".")[0], sys._getframe(1), 3
    while (
        frame.f_back is not None
        and frame.f_back.f_globals.get("__name__", "").split(".")[0] == ours
    ):
        frame, level = frame.f_back, level + 1
    warnings.warn("damo: " + message, UserWarning, stacklevel=level)


def _make(build, **bags):
    """build(**bags), after removing the parameters that build does not know, with a warning each.

    bags: dicts of parameters, by the names optimizer, scheduler and initializer.
    """
    bags = {kind: None if values is None else dict(values) for kind, values in bags.items()}
    while True:
        try:
            return build(**bags)
        except ValueError as error:
            text = str(error)
            unknown = [
                (values, name)
                for kind, values in bags.items()
                for name in values or ()
                if re.search(rf"{kind} '[^']*' has no parameter '{re.escape(name)}' \(given ", text)
            ]
            if len(unknown) != 1:
                raise
        values, name = unknown[0]
        del values[name]
        said = text.split(": ", 1)[-1]
        _warn(f"{said}. It is ignored, as damo-embedding did; leave it out or correct its name")


def _default(what, name, **values):
    """The parameters of a class that is made without arguments, with a warning."""
    listed = "".join(f", {key} {value}" for key, value in values.items())
    _warn(
        f"{what}() is the {what[2:].lower()} '{name}'{listed}; "
        "give it a damo.Parameters() that says so"
    )
    return dict(values, name=name)


def _pass_all():
    """Warns of a PyFilter without parameters."""
    _warn(
        "PyFilter() lets every key pass, as damo-embedding's did; give it a damo.Parameters() "
        "with path, or leave it out"
    )


def _schedule(values):
    """The parameters of a schedule in damo's form, or None for no schedule."""
    values = dict(values)
    if values.get("name") == "":
        _warn(
            "scheduler_params has an empty 'name', which is no schedule; leave scheduler_params out"
        )
        return None
    if values.get("name") == "inverse_time_lr_scheduler":
        _warn(
            "the scheduler 'inverse_time_lr_scheduler' is called 'inverse_time_decay' here; "
            "use that name"
        )
        values["name"] = "inverse_time_decay"
    for name in ("decay_steps", "warmup_steps"):
        value = values.get(name)
        # decay_steps is at least 1. Numbers that the library refuses stay as they are.
        least = 1 if name == "decay_steps" else 0
        if isinstance(value, float) and (0 < value < 2**53 or value == least):
            whole = max(least, round(value))
            _warn(
                f"{name} is {value}, and steps are whole numbers: {whole} is taken; "
                "give it as an int"
            )
            values[name] = whole
    return values


def _called_step():
    """Warns of a call of PyEmbedding.step."""
    _warn("PyEmbedding.step is called apply_gradients here; call that")


def _step(given, global_step):
    """The step of PyOptimizer.call, whose keyword was global_step in damo-embedding."""
    if global_step is None:
        return given
    _warn("call's global_step is called step here; give it by that name")
    return global_step


def _is_bool(value):
    """Whether it is True or False of any library: they have an __index__, and are no numbers."""
    if type(value) is int or type(value) is float:
        return False
    dtype = getattr(value, "dtype", None)
    # Not str(dtype) of NumPy's: it imports, which is impossible while the interpreter ends.
    kind = getattr(dtype, "kind", None)
    is_foreign = kind is None and str(dtype).endswith("bool")
    return isinstance(value, bool) or kind == "b" or is_foreign


def _typed(value, cls, what):
    """Raises TypeError for an object of another class than the drop-in class cls."""
    if not isinstance(value, cls):
        raise TypeError(f"damo: {what} must be a damo.{cls.__name__}, not {type(value).__name__}")


def _no_mask(values, what, remedy):
    """Raises TypeError for a masked array: masked values would be used."""
    if hasattr(values, "mask") and hasattr(values, "compressed"):
        raise TypeError(f"damo: {what} is a masked array; give {remedy}")


def _keys(values):
    """A list, a tuple, a range or an array of short integers as int64; other keys as they are."""
    if isinstance(values, (list, tuple, range)):
        if any(_is_bool(key) or not hasattr(key, "__index__") for key in values):
            return values
        numbers = [key.__index__() for key in values]
        if any(not -(2**63) <= key < 2**64 for key in numbers):
            return values
        _warn(f"keys are a {type(values).__name__}; make them a NumPy array of int64 once")
        return array.array("q", [key - 2**64 if key >= 2**63 else key for key in numbers])
    _no_mask(values, "keys", "keys.compressed()")
    dtype = getattr(values, "dtype", None)
    # Not str(dtype): it imports, which is impossible while the interpreter ends.
    if (
        getattr(dtype, "kind", "") in ("i", "u")
        and dtype.itemsize <= 4
        and dtype.isnative
        and values.ndim == 1
    ):
        name = ("u" if dtype.kind == "u" else "") + f"int{8 * dtype.itemsize}"
        _warn(f"keys are of {name}; make them an array of int64, keys.astype(numpy.int64)")
        return values.astype("int64")
    return values


def _gradients(values):
    """A list or a tuple of numbers as float32; other gradients as they are."""
    if not isinstance(values, (list, tuple)):
        return values
    for number in values:
        is_real = isinstance(number, (int, float)) or getattr(number, "dtype", None) == "float32"
        if _is_bool(number) or not is_real:
            return values
    _warn(f"gds are a {type(values).__name__}; make them a NumPy array of float32 once")
    return array.array("f", values)


def _dump(write, values, not_found):
    """Calls write with the dict values, and with what write_as has set.

    For a group that does not exist it writes an empty dump, with a warning. not_found: the
    exception for that.
    """
    if "format" not in values and "header_groups" not in values:
        values = dict(values, **_dump_defaults)
    try:
        return write(values)
    except not_found:
        if "group" not in values or "since" in values:
            raise
    _warn(
        f"group {values['group']} is not there, so the dump is empty; "
        "open the group first, or leave it out"
    )
    empty = {name: value for name, value in values.items() if name != "group"}
    # No row was updated that often.
    return write(dict(empty, min_count=2**63 - 1))


def _is_path(path):
    """Whether the system accepts it as a path."""
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def _reserved(path):
    """path-MILLISECONDS, which does not exist and which no other thread is making."""
    stamp = int(time.time() * 1000)
    with _naming:
        while f"{path}-{stamp}" in _being_made or os.path.lexists(f"{path}-{stamp}"):
            stamp += 1
        made = f"{path}-{stamp}"
        _being_made.add(made)
    return made


def _checkpoint(write, path):
    """Makes a checkpoint path-MILLISECONDS, and a link from path to it, as the releases did.

    write: makes a checkpoint at the path that it is given.
    """
    given, path = path, os.fsdecode(path).rstrip(os.sep)
    if not path or not _is_path(path):
        # An empty path or the root: with a suffix it would be somewhere else.
        return write(given)
    name = os.path.basename(path)
    is_ours = (
        os.path.islink(path)
        and re.fullmatch(re.escape(name) + r"-\d+", os.readlink(path)) is not None
    )
    is_there = os.path.lexists(path)
    while True:
        made = _reserved(path)
        try:
            if is_ours:
                _warn(
                    f"'{path}' is a checkpoint already. Both are kept: this one is '{made}', "
                    f"and '{path}' leads to it; give each checkpoint a name of its own"
                )
            elif is_there:
                _warn(
                    f"'{path}' is there already, so the checkpoint is '{made}'; "
                    "load that, or give each a name of its own"
                )
            write(made)
            break
        except FileExistsError:
            # If it exists, another process has made it in the same millisecond: try the next.
            if not os.path.lexists(made):
                raise
        finally:
            _being_made.discard(made)
    if is_there and not is_ours:
        return
    link = made + ".link"
    os.symlink(os.path.basename(made), link)
    try:
        os.replace(link, path)
    except OSError:
        os.remove(link)
        raise


# %}
