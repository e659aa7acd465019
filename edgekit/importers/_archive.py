"""Zip archives from users, held against limits before anything in them is read."""

import stat
import zipfile
from pathlib import Path, PurePosixPath

from edgekit.core.errors import EdgekitError

ZIP_MARK = b"PK\x03\x04"
MAX_BYTES = 4 * 2**30
_MAX_MEMBERS = 10_000


def check_members(path: Path, archive: zipfile.ZipFile) -> frozenset[str]:
    """The names in an archive that is safe to unpack.

    Raises:
        EdgekitError: Too large when unpacked, too many files, names that leave the archive or
            come twice, links, encryption.
    """
    members = archive.infolist()
    total = sum(member.file_size for member in members)
    if total > MAX_BYTES or len(members) > _MAX_MEMBERS:
        raise EdgekitError(
            f"{path} unpacks to {total / 1e9:.1f} GB in {len(members)} files; at most "
            f"{MAX_BYTES / 1e9:.1f} GB in {_MAX_MEMBERS} are read",
            "save it without its optimizer",
        )
    names: set[str] = set()
    for member in members:
        pure = PurePosixPath(member.filename.replace("\\", "/"))
        if pure.is_absolute() or ".." in pure.parts or ":" in member.filename:
            raise EdgekitError(f"{path} is not safe to unpack: it names '{member.filename}', "
                               "outside of itself")
        if stat.S_ISLNK(member.external_attr >> 16) or member.filename in names:
            raise EdgekitError(f"{path} is not safe to unpack: '{member.filename}' is a link, "
                               "or there twice")
        if member.flag_bits & 1:
            raise EdgekitError(f"{path} is encrypted")
        names.add(member.filename)
    return frozenset(names)
