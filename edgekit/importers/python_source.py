"""``module.py:function``: the user's own code gives the model."""

from edgekit.core.model import Model
from edgekit.core.user_code import check_reference, is_reference
from edgekit.importers._tensorflow import EXTRA, import_in_child, require_tensorflow
from edgekit.importers.base import ImportOptions


class _Python:
    """Satisfies ``edgekit.importers.base.Importer``."""

    format = "python"
    form = "module.py:function that returns a Keras model or a tf.function"
    extra: str | None = EXTRA

    def recognises(self, source: str) -> bool:
        """By its form."""
        return is_reference(source)

    def load(self, source: str, options: ImportOptions) -> Model:
        """Call the function and take what it returns.

        Raises:
            MissingToolError: TensorFlow is not installed.
            EdgekitError: The function does not exist, fails, returns something else, leaves a
                dimension open, or the converted model does not compute the same.
        """
        check_reference(source)
        require_tensorflow("import a model from Python")
        return import_in_child(self.format, "convert_python", source, options)


PYTHON = _Python()
