"""Writing files and folders whole or not at all."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekit.core import interrupt
from edgekit.core.errors import EdgekitError


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file through a temporary sibling and rename it into place.

    Raises:
        EdgekitError: The folder cannot be written, or the disk is full; an earlier file at
            that place is untouched.
    """
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise unwritable(path.parent, error) from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise unwritable(path, error) from error
        raise


_OUT_OF_SPACE = frozenset({errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS})


def is_out_of_space(error: OSError) -> bool:
    """Whether a write failed because the place takes no more data."""
    return error.errno in _OUT_OF_SPACE


def unwritable(path: Path, error: OSError) -> EdgekitError:
    """The error for a place that takes no data, with what to do about it."""
    hint = "choose another place with --out, or free some space"
    return EdgekitError(f"cannot write {path}: {error.strerror or error}", hint)


@contextmanager
def folder_written_whole(final: Path) -> Iterator[Path]:
    """A temporary sibling of ``final`` that takes its place when the block ends well.

    An earlier folder at that place survives every failure, Ctrl-C included.

    Raises:
        EdgekitError: The place cannot be written.
    """
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
    except OSError as error:
        raise unwritable(final.parent, error) from error
    try:
        temporary.chmod(0o755)
        yield temporary
        interrupt.check()
        _replace_folder(temporary, final)
    except OSError as error:
        raise unwritable(final, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace_folder(temporary: Path, final: Path) -> None:
    """Rename into place; the old folder is kept aside until the new one is there."""
    if not final.exists():
        temporary.rename(final)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{final.name}.old.", dir=final.parent))
    final.rename(aside / final.name)
    try:
        temporary.rename(final)
    except BaseException:
        (aside / final.name).rename(final)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
