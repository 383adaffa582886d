#if 0
''''
#endif
%pythoncode %{
# '''
# Checkpoint files of damo-embedding that PyStorage.load_from_checkpoint imports. The package's
# drop-in classes and those of the SWIG module share this file: swig/dropin_old_files.i is a link to
# it, and the lines above are for SWIG.

import os


class _OldFiles:
    """Checkpoint files of damo-embedding that were loaded before all of their groups were open."""

    def __init__(self, warn):
        # A function that warns, as the drop-in classes do.
        self._warn = warn
        # Pairs of a path and the groups whose rows were imported from it.
        self._waiting = []

    def load(self, path, groups, bring_in):
        """Imports a file.

        groups: the numbers of the registered groups. bring_in: a function of path and group (None:
        all) that imports rows, and returns the report and the error or None.
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
        self._waiting = [waiting for waiting in self._waiting if waiting[0] != path]
        if unknown is not None:
            self._waiting.append((path, groups))
            more += (
                f"; {unknown['records']} of groups that are not open yet come in "
                "when those are opened"
            )
        # It warns last, since the number of rows is known only now. If warnings are errors, the
        # file can be loaded again without harm.
        self._warn(
            f"'{path}' is a checkpoint file of damo-embedding: {report['imported']} rows came in"
            f"{more}. Import it once, with `damo import` or damo.Storage.import_file, and make a "
            "checkpoint of damo's own"
        )

    def opening(self, group):
        """To be called before group is opened: drops waiting files that do not exist any more."""
        for path, groups in list(self._waiting):
            if group not in groups and not os.path.isfile(path):
                self._waiting.remove((path, groups))
                self._warn(
                    f"'{path}' is gone, a checkpoint file of damo-embedding that was loaded; its "
                    f"rows of group {group} do not come in. Keep it until all groups are open"
                )

    def opened(self, group, bring_in):
        """To be called after group was opened: imports its rows from the files that wait."""
        for path, groups in list(self._waiting):
            if group not in groups:
                report, error = bring_in(path, group)
                # A file without rows of this group is an error of the import, but fine here.
                if error is not None and report["records"] != report["other_groups"]:
                    raise error
                groups.add(group)

    def forget(self):
        """Drops all waiting files: a checkpoint has replaced everything."""
        self._waiting.clear()


# %}
