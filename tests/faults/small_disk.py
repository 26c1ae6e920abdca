"""A disk of its own for a data folder, small, and full or read-only when a test wants it so."""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BALLAST = "ballast"


class SmallDisk:
    """A tmpfs at a folder; what others keep on it is a file of ballast."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, free_bytes: int = 0) -> None:
        """Let others take all but so many bytes, while the server goes on taking its own."""
        descriptor = os.open(self.folder / BALLAST, os.O_WRONLY | os.O_CREAT, 0o600)
        status = os.fstatvfs(descriptor)
        left = status.f_bavail * status.f_frsize - free_bytes
        try:
            while left > 0:
                left -= os.write(descriptor, bytes(min(left, 1 << 20)))
        except OSError as full:
            if full.errno != errno.ENOSPC:
                raise
        finally:
            os.close(descriptor)

    def empty(self) -> None:
        """Others give their room back."""
        (self.folder / BALLAST).unlink()

    def set_read_only(self, is_read_only: bool) -> None:
        """For whoever opens something from now on; only while nobody writes."""
        mode = "ro" if is_read_only else "rw"
        subprocess.run(["mount", "-o", f"remount,{mode}", str(self.folder)], check=True)


@contextmanager
def small_disk_at(folder: Path, size_bytes: int) -> Iterator[SmallDisk]:
    """Mounted until the block ends. Only root may; elsewhere the test is skipped."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=700", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False) if os.geteuid() == 0 else None
    if mounted is None or mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip() if mounted else 'we are not root'}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
