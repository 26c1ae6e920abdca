"""What must survive: the only room that knows a database exists."""

from postroom.store.store import Store

__all__ = ["Store"]
