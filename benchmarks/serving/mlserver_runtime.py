"""An artifact as a runtime of MLServer, to compare with; `servers.py` names it in the settings it writes."""

from __future__ import annotations

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

import potstill


class Artifact(MLModel):  # type: ignore[misc]
    """Columns in, probabilities out, one column a request input."""

    async def load(self) -> bool:
        self._model = potstill.load(self.settings.parameters.uri)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        columns = {tensor.name: list(tensor.data) for tensor in payload.inputs}
        outputs = self._model.predict_proba(columns)
        return InferenceResponse(
            id=payload.id, model_name=self.name, outputs=[NumpyCodec.encode_output("probabilities", outputs)]
        )
