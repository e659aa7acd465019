"""Runs in the child process: what is checked of HDF5 before any framework reads it."""

import io
import zipfile
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]

from edgekit.core.errors import EdgekitError
from edgekit.importers._archive import MAX_BYTES
from edgekit.importers._keras_file import check_config, keras_version, parse_config
from edgekit.importers._proof_worker import first_line


def check_hdf5(source: str) -> str:
    """Hold an HDF5 file against the list; gives the version of Keras that wrote it.

    Raises:
        EdgekitError: Damaged, weights only, external files, or code.
    """
    try:
        with h5py.File(source, "r") as file:
            _refuse_links(source, file)
            config = file.attrs.get("model_config")
            version = file.attrs.get("keras_version", "")
    except EdgekitError:
        raise
    except Exception as error:  # h5py raises anything, SystemError included, on damaged files
        raise EdgekitError(f"{source} is damaged: {first_line(error)}",
                           "save or copy it again") from error
    if config is None:
        raise EdgekitError(f"{source} holds weights only, no model",
                           "save it with model.save(), not model.save_weights()")
    check_config(source, parse_config(source, config))
    return version.decode() if isinstance(version, bytes) else str(version)


def check_weights(path: Path) -> str:
    """The same for the weights of a ``.keras`` archive; gives the version of Keras."""
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if not name.endswith(".h5"):
                    continue
                stored = archive.getinfo(name).compress_type == zipfile.ZIP_STORED
                with archive.open(name) as member, h5py.File(
                        member if stored else io.BytesIO(member.read()), "r") as file:
                    _refuse_links(str(path), file)
    except EdgekitError:
        raise
    except Exception as error:
        raise EdgekitError(f"{path} is damaged: {first_line(error)}",
                           "save or copy it again") from error
    return keras_version(path)


def _refuse_links(source: str, file: Any) -> None:  # noqa: ANN401 - h5py.File
    """No data from other files, and no data set larger than any model.

    The callbacks give their finding back: h5py does not let an exception through.
    """
    total = 0

    def look(name: str, item: Any) -> str | None:  # noqa: ANN401
        nonlocal total
        if not isinstance(item, h5py.Dataset):
            return None
        total += item.nbytes
        return name if item.external or item.is_virtual else None

    def look_at_link(name: str, link: Any) -> str | None:  # noqa: ANN401
        return name if isinstance(link, h5py.ExternalLink) else None

    if (name := file.visititems_links(look_at_link)) is not None:
        raise EdgekitError(f"{source}: '{name}' is a link to another file")
    if (name := file.visititems(look)) is not None:
        raise EdgekitError(f"{source}: '{name}' takes its data from another file")
    if total > MAX_BYTES:
        raise EdgekitError(f"{source} holds {total / 1e9:.1f} GB; at most {MAX_BYTES / 1e9:.1f} GB "
                           "are read", "save it without its optimizer")
