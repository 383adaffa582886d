"""Storage.import_file: rows of the checkpoints and dumps that damo-embedding wrote."""

from __future__ import annotations

import json
import os
from typing import Any

from . import _c_api
from ._choices import ImportFormat
from ._params import Params
from ._storage_handle import StorageHandle


class StorageImport(StorageHandle):
    """The part of damo.Storage that imports files."""

    def import_file(
        self,
        path: str | os.PathLike[str],
        *,
        format: ImportFormat = "auto",
        group: int | str | None = None,
        header_groups: int | None = None,
    ) -> dict[str, Any]:
        """Imports the rows of a checkpoint or dump that damo-embedding wrote.

        Its groups must have been opened here once, with the dim and optimizer that they had there.
        A record that does not fit is left out. A dump has weights only.

        format: "auto" (what the file looks like), "checkpoint", or "classic" or "counted" for a
        dump.
        group: only the records of this group, a number or name; None: of all.
        header_groups: the width of a classic dump's header; None: whichever adds up.

        Returns a report (damo_storage_import_report in damo.h): the numbers records, imported and
        without_state; format and order; and refused, a list of reasons with their counts.

        Raises FileNotFoundError, damo.CorruptionError for a file that is not whole or has no sound
        record, and ValueError if no record fits the groups or none is of group.
        """
        values = {
            "format": format,
            "group": None if group is None else self._group(group),
            "header_groups": header_groups,
        }
        return self._import(path, values)

    def _import(self, path: str | os.PathLike[str], values: dict[str, Any]) -> dict[str, Any]:
        c_path, options = _c_api.path(path, "path"), Params(values)
        with self._lock:
            _c_api.damo_storage_import_with(self._use(), c_path, options._use(), None, None)
            return json.loads(_c_api.json_text(_c_api.damo_storage_import_report, self._use))
