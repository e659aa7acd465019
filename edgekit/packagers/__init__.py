"""Packagers: each writes one kind of deliverable. One file and one row per kind."""

from collections.abc import Mapping

from edgekit.packagers.base import PackagedFile, Packager, PackageRequest
from edgekit.packagers.c_array import C_ARRAY
from edgekit.packagers.tflite import TFLITE

PACKAGERS: Mapping[str, Packager] = {packager.name: packager for packager in (TFLITE, C_ARRAY)}

__all__ = ["PACKAGERS", "PackageRequest", "PackagedFile", "Packager"]
