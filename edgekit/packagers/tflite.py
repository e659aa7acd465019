"""``model.tflite``: the flatbuffer with its metadata and appended files, for LiteRT."""

from pathlib import Path

from edgekit.core.metadata import embed
from edgekit.packagers.base import PackagedFile, PackageRequest


class _Tflite:
    """Satisfies ``edgekit.packagers.base.Packager``."""

    name = "tflite"

    def package(self, request: PackageRequest, folder: Path) -> list[PackagedFile]:
        """Write ``model.tflite``, ``labels.txt`` for code that reads no metadata, companions.

        Raises:
            EdgekitError: Labels or descriptions that metadata cannot hold.
        """
        (folder / "model.tflite").write_bytes(embed(request.model))
        files = [PackagedFile("model.tflite", "model")]
        if request.model.labels:
            lines = "".join(f"{label}\n" for label in request.model.labels)
            (folder / "labels.txt").write_bytes(lines.encode())
            files.append(PackagedFile("labels.txt", "labels"))
        for companion in request.model.companions:
            path = folder / companion.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(companion.data)
            files.append(PackagedFile(companion.path, companion.kind))
        return files


TFLITE = _Tflite()
