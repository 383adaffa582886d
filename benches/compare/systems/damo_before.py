"""damo as in damo.py, of an earlier library: what it was before a change."""

from systems.damo import open

__all__ = ["open"]
