#if 0
''''
#endif
%pythoncode %{
# '''
# The configuration file of PyDamo. The package's drop-in classes and those of the SWIG module share
# this file: swig/dropin_config.i is a link to it, and the lines above are for SWIG.

import json
import os


def _field(path, values, name, kind, where, default=None, warn=None):
    """values[name], which must be of this kind: bool, int, float, str, list or dict.

    null counts as missing. default: the value of a field that may be left out. warn: if given, a
    float that is a whole number is taken for an integer, with a warning, as the releases did.
    """
    found = values.get(name) if isinstance(values, dict) else None
    if found is None and default is not None:
        return default
    if warn is not None and isinstance(found, float) and found.is_integer():
        found = int(found)
        warn(f"{name} in {where} of '{path}' is a float; write it as {found}")
    if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
        needed = {int: "an integer", str: "a string", list: "a list", dict: "an object"}
        raise ValueError(
            f"damo: the configuration '{path}' needs {name} in {where}, "
            f"{needed.get(kind, 'a number, a string, true or false')}; it has {found!r}"
        )
    return found


def _configuration(config, parameters, warn):
    """Reads the file config. Returns dir, ttl, reload_dir, and a list for the embeddings.

    The list has (group, dim, bag of the optimizer, bag of the initializer) for each. parameters:
    the class of bags. warn: a function that warns, as the drop-in classes do.
    """
    path = os.fsdecode(config)
    with open(path, encoding="utf-8") as file:
        try:
            values = json.load(file)
        except ValueError as error:
            raise ValueError(f"damo: the configuration '{path}' is no JSON: {error}") from None

    def bag(entry, name, where):
        made = parameters()
        for key, value in _field(path, entry, name, dict, where).items():
            if value is not None:
                scalar = (bool, int, float, str)
                made.insert(key, _field(path, {key: value}, key, scalar, f"{where}.{name}"))
        return made

    listed = []
    for place, entry in enumerate(_field(path, values, "embeddings", list, "its object")):
        where = f"embeddings[{place}]"
        group, dim = (
            _field(path, entry, name, int, where, warn=warn) for name in ("group", "dim")
        )
        bags = (bag(entry, name, where) for name in ("optimizer", "initializer"))
        listed.append((group, dim, *bags))
    directory = _field(path, values, "dir", str, "its object")
    reload_dir = _field(path, values, "reload_dir", str, "its object", "")
    ttl = _field(path, values, "ttl", int, "its object", 0, warn)
    return directory, ttl, reload_dir, listed


# %}
