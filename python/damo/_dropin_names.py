#if 0
''''
#endif
%pythoncode %{
# '''
# Arguments by place or name, where the first one (group) may be left out. The package's drop-in
# classes and those of the SWIG module share this file: swig/dropin_names.i is a link to it, and the
# lines above are for SWIG.


def _group_first(call, names, given, named):
    """The arguments of a call, in the order of names.

    call: its name, for the message. given, named: the arguments by place and by name. The first of
    names is group, which is 0 if it is left out. Raises TypeError for other arguments.
    """
    free = [name for name in names if name not in named]
    if len(given) == len(free) - 1 and "group" in free:
        free.remove("group")
    if len(given) != len(free) or not set(named) <= set(names):
        listed = [repr(value)[:20] for value in given] + [f"{name}=" for name in named]
        raise TypeError(
            f"damo: {call} takes ([group,] {', '.join(names[1:])}), not ({', '.join(listed)})"
        )
    values = dict(zip(free, given), **named)
    values.setdefault("group", 0)
    return [values[name] for name in names]


# %}
