"""transformers imported without what only models of pictures and its own assistants use.

Beside what a language model needs, it imports scikit-learn, and with it pandas and half of SciPy,
for one function of assisted generation, and SciPy's optimizers for the losses of object detection.
That is a second, and nothing here calls them. What asks for them is told that they are not there,
as on a machine that has neither.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

WHOLE = "transformers.modeling_utils"
UNUSED = ("is_sklearn_available", "is_scipy_available")

_importing = threading.Lock()


def import_transformers() -> None:
    """Import what loads and runs a model, once; later imports of it find it there."""
    with _importing:
        if WHOLE in sys.modules:
            return
        from transformers import utils

        asked: Any = utils
        answers = {name: getattr(asked, name) for name in UNUSED}
        vars(asked).update(dict.fromkeys(UNUSED, _is_not_there))
        try:
            import transformers.modeling_utils
            import transformers.models.auto.modeling_auto  # noqa: F401  # both are the large ones
        finally:
            vars(asked).update(answers)


def _is_not_there() -> bool:
    return False
