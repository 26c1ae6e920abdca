"""The data folder, held by one process at a time."""

import fcntl
import os
from pathlib import Path

from postroom.errors import DataFolderError


class FolderLock:
    """Holds the folder by flock on a file; the kernel lets go when the process ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        self._descriptor = -1
        try:
            _make_durable_folder(folder)
            self._descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._descriptor, 32).decode("ascii", "replace").strip()
            self.release()
            raise DataFolderError(
                f"The data folder {folder} is in use by another Postroom (process {holder or 'unknown'}). "
                "Stop that one first, or give this one a data_folder of its own."
            ) from None
        except OSError as trouble:
            self.release()
            raise DataFolderError(
                f"The data folder {folder} cannot be used: {trouble.strerror}. "
                "Postroom's user must be able to write to it."
            ) from trouble
        self._write_holder()

    def make_folder(self, path: Path) -> None:
        """A folder inside. Errors: DataFolderError."""
        try:
            _make_durable_folder(path)
        except OSError as trouble:
            raise DataFolderError(f"The folder {path} cannot be made: {trouble.strerror}.") from trouble

    def _write_holder(self) -> None:
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            pass  # only a courtesy to whoever is refused; a full disk must not stop the start

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _make_durable_folder(path: Path) -> None:
    """A folder whose own name survives a power cut, or what is acknowledged into it would not."""
    if not path.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
