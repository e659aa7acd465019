"""Optional dependencies: what each extra enables, whether it is there, and what installs it."""

from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(frozen=True)
class Extra:
    """A row of ``[project.optional-dependencies]`` that users meet.

    Attributes:
        modules: What has to be importable.
        distributions: What it consists of, beyond other extras.
        enables: What it is for.
        command: What installs it; by its parts, as long as edgekit itself has no release to name.
    """

    modules: tuple[str, ...]
    distributions: tuple[str, ...]
    enables: str
    command: str

    @property
    def is_installed(self) -> bool:
        """Whether its modules are there; none is imported."""
        return all(find_spec(name) is not None for name in self.modules)


_TENSORFLOW = "pip install 'tensorflow>=2.21' 'keras>=3.15' 'tf-keras>=2.21'"

EXTRAS: dict[str, Extra] = {
    "tensorflow": Extra(
        ("tensorflow", "keras"), ("tensorflow", "keras", "tf-keras"),
        "import Keras and SavedModel sources; quantize PRELU and LEAKY_RELU to integers",
        _TENSORFLOW),
    "onnx": Extra(
        ("tensorflow", "keras", "onnx", "onnxruntime"), ("onnx", "onnxruntime"),
        "import ONNX files, with onnxruntime as the proof",
        f"{_TENSORFLOW} 'onnx>=1.23.2' 'onnxruntime>=1.31.1'"),
    "onnx2tf": Extra(
        ("tensorflow", "keras", "onnx", "onnxruntime", "onnx2tf"),
        ("onnx2tf", "onnx-graphsurgeon", "sng4onnx", "onnxsim", "psutil"),
        "import ONNX files with onnx2tf instead (--onnx-importer onnx2tf)",
        f"{_TENSORFLOW} 'onnx>=1.23.2' 'onnxruntime>=1.31.1' 'onnx2tf==1.28.8' "
        "'onnx-graphsurgeon' 'sng4onnx' 'onnxsim' 'psutil'"),
    "torch": Extra(
        ("torch", "litert_torch", "transformers", "safetensors"),
        ("torch", "litert-torch", "transformers", "safetensors"),
        "import PyTorch programs, TorchScript, modules and Hugging Face folders",
        "pip install 'torch==2.13.*' 'litert-torch==0.10.*' 'transformers>=5.24' "
        "'safetensors>=0.8'"),
}  # fmt: skip
