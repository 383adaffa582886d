#if 0
''''
#endif
%pythoncode %{
# '''
# What the drop-in classes accept because releases of damo-embedding did, and new code should not
# rely on: each with one warning that says what to write instead. The package's classes and those of
# the SWIG module share this file: swig/dropin_rules.i is a link to it, and the lines above are for
# SWIG. So it imports nothing of either, and no NumPy.

import array
import os
import re
import sys
import time
import warnings

_RELEASES: dict[str, dict[str, object]] = {
    # What dumps of these releases have for a header.
    "1.0.5": {"header_groups": 1024},
    "1.0.6": {"format": "counted"},
    "1.1": {"format": "counted"},
    **{f"1.1.{number}": {"format": "counted"} for number in range(13)},
}
_dump_defaults: dict[str, object] = {}


def write_as(release):
    """Lets PyStorage.dump write what a release of damo-embedding wrote.

    "1.0.5": a classic header for 1024 groups. "1.0.6" and "1.1.0" to "1.1.12": a counted header.
    None, the default: a classic header for 256 groups. A condition with a format has its own.
    PyDamo.dump always writes a counted header, as the releases with that class did.
    """
    is_name = isinstance(release, str) and release in _RELEASES
    if release is not None and not is_name:
        raise ValueError(
            f"damo: release is {release!r}; '1.0.5', '1.0.6', '1.1.0' to '1.1.12' or None is needed"
        )
    _dump_defaults.clear()
    _dump_defaults.update(_RELEASES[release] if is_name else {})


def _warn(message):
    """Warns at the line that called a drop-in class, however deep this is."""
    ours, frame, level = __name__.split(".")[0], sys._getframe(1), 3
    while (
        frame.f_back is not None
        and frame.f_back.f_globals.get("__name__", "").split(".")[0] == ours
    ):
        frame, level = frame.f_back, level + 1
    warnings.warn("damo: " + message, UserWarning, stacklevel=level)


def _make(build, **bags):
    """build(**bags), without the parameters that its kinds do not know.

    bags: optimizer=, scheduler=, initializer=.
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
    """What a class is when it is made without arguments."""
    listed = "".join(f", {key} {value}" for key, value in values.items())
    _warn(
        f"{what}() is the {what[2:].lower()} '{name}'{listed}; "
        "give it a damo.Parameters() that says so"
    )
    return dict(values, name=name)


def _pass_all():
    """PyFilter without parameters."""
    _warn(
        "PyFilter() lets every key pass, as damo-embedding's did; give it a damo.Parameters() "
        "with path, or leave it out"
    )


def _schedule(values):
    """The parameters of a schedule, or None for no schedule."""
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
        # A schedule has one step at least. What the library refuses as a number stays as it is.
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
    """PyEmbedding.step."""
    _warn("PyEmbedding.step is called apply_gradients here; call that")


def _step(given, global_step):
    """The step of PyOptimizer.call, whose keyword damo-embedding called global_step."""
    if global_step is None:
        return given
    _warn("call's global_step is called step here; give it by that name")
    return global_step


def _is_bool(value):
    """Whether it is True or False of any library: they have an __index__, and are no numbers."""
    if type(value) is int or type(value) is float:
        return False
    dtype = getattr(value, "dtype", None)
    # Not str(dtype) of NumPy's: it imports, which cannot be done while the interpreter ends.
    kind = getattr(dtype, "kind", None)
    is_foreign = kind is None and str(dtype).endswith("bool")
    return isinstance(value, bool) or kind == "b" or is_foreign


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
    if getattr(values, "mask", None) is not None:
        raise TypeError("damo: keys is a masked array; give its keys.compressed()")
    dtype = getattr(values, "dtype", None)
    # Not str(dtype): it imports, which cannot be done while the interpreter ends.
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
    """write(condition) with what `write_as` has set; empty for a group that is not there."""
    if "format" not in values and "header_groups" not in values:
        values = dict(values, **_dump_defaults)
    try:
        return write(values)
    except not_found:
        if "group" not in values or "since" in values:
            raise
    empty = {name: value for name, value in values.items() if name != "group"}
    # No row was updated so often.
    result = write(dict(empty, min_count=2**63 - 1))
    _warn(
        f"group {values['group']} is not there, so the dump is empty; "
        "open the group first, or leave it out"
    )
    return result


def _checkpoint(write, path):
    """Makes a checkpoint path-MILLISECONDS, as the releases did, and path a link to it."""
    given, path = path, os.fsdecode(path).rstrip(os.sep)
    if not path:
        # Nothing, or the root: a name behind it would be somewhere else.
        return write(given)
    name = os.path.basename(path)
    is_ours = (
        os.path.islink(path)
        and re.fullmatch(re.escape(name) + r"-\d+", os.readlink(path)) is not None
    )
    is_there = os.path.lexists(path)
    stamp = int(time.time() * 1000)
    while True:
        made = f"{path}-{stamp}"
        try:
            if not os.path.lexists(made):
                write(made)
                break
        except FileExistsError:
            # Another thread's, made in the same millisecond.
            pass
        stamp += 1
    if is_there and not is_ours:
        _warn(
            f"'{path}' is there already, so the checkpoint is '{made}'; "
            "load that, or give each a name of its own"
        )
        return
    link = made + ".link"
    os.symlink(os.path.basename(made), link)
    os.replace(link, path)
    if is_there:
        _warn(
            f"'{path}' was a checkpoint already. Both are kept: this one is '{made}', "
            f"and '{path}' leads to it now; give each checkpoint a name of its own"
        )


class _OldFiles:
    """Checkpoint files of damo-embedding, some of whose groups were not open yet when they came."""

    def __init__(self):
        # Path, and the groups whose rows have come in.
        self._waiting = []

    def load(self, path, groups, bring_in):
        """Imports a file.

        groups: the numbers of those that are registered. bring_in(path, group or None): the report
        of an import, and the error that it ended with.
        """
        path, groups = os.path.abspath(os.fsdecode(path)), set(groups)
        report, error = bring_in(path, None)
        refused = {entry["reason"]: entry for entry in report["refused"]}
        unknown = refused.pop("unknown_group", None)
        if error is not None and (refused or unknown is None):
            raise error
        more = "".join(
            f"; {entry['records']} left out, {reason}: {entry['first']}"
            for reason, entry in refused.items()
        )
        if unknown is not None:
            self._waiting.append((path, groups))
            more += (
                f"; {unknown['records']} of groups that are not open yet come in "
                "when those are opened"
            )
        _warn(
            f"'{path}' is a checkpoint file of damo-embedding: {report['imported']} rows came in"
            f"{more}. Import it once, with `damo import` or damo.Storage.import_file, and make a "
            "checkpoint of damo's own"
        )

    def opened(self, group, bring_in):
        """Brings in the rows of a group that was just opened, of the files that wait for it."""
        for path, groups in list(self._waiting):
            if group not in groups and not os.path.isfile(path):
                self._waiting.remove((path, groups))
                _warn(
                    f"'{path}' is gone, a checkpoint file of damo-embedding that was loaded; its "
                    f"rows of group {group} did not come in. Keep it until all groups are open"
                )
            elif group not in groups:
                report, error = bring_in(path, group)
                # A file without rows of this group is an error of the import, and fine here.
                if error is not None and report["records"] != report["other_groups"]:
                    raise error
                groups.add(group)

    def forget(self):
        """Another checkpoint takes the place of everything."""
        self._waiting.clear()


# %}
