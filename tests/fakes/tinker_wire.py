"""The protobuf messages of the Tinker API, from and to plain JSON, written after the SDK's own conversion code."""

from typing import Any

import numpy as np
from tinker.proto import tinker_public_pb2 as proto

EXTERNAL = "external_weights"


def from_proto(data: bytes) -> tuple[dict[str, Any], bool]:
    """A training request, and whether it asks for a forward pass only."""
    request = proto.ForwardBackwardRequest()
    request.ParseFromString(data)
    dtypes = {proto.DTYPE_FLOAT32: np.float32, proto.DTYPE_INT64: np.int64}
    rows: list[dict[str, Any]] = []
    for datum in request.data:
        chunks = [np.frombuffer(chunk.encoded_text.tokens, np.int32).tolist() for chunk in datum.model_input]
        inputs = {
            name: {"data": np.frombuffer(tensor.dense, dtypes[tensor.dtype]).tolist()}
            for name, tensor in datum.loss_fn_inputs.items()
        }
        rows.append({"model_input": {"chunks": [{"tokens": tokens} for tokens in chunks]}, "loss_fn_inputs": inputs})
    wanted: dict[str, Any] = {"data": rows, "loss_fn": request.loss_fn}
    if request.loss_fn_config:
        wanted["loss_fn_config"] = dict(request.loss_fn_config)
    return {"model_id": request.model_id, "forward_backward_input": wanted}, request.forward_only


def sample_to_proto(result: dict[str, Any], *, with_top: bool = False) -> bytes:
    """A sample. `with_top` adds the likeliest tokens that `result["top"]` counts: token i has the logprob -1 - i."""
    message = proto.SampleResponse()
    for sequence in result["sequences"]:
        stopped = sequence["stop_reason"] == "stop"
        added = message.sequences.add(
            stop_reason=proto.STOP_REASON_STOP if stopped else proto.STOP_REASON_LENGTH,
            tokens=np.asarray(sequence["tokens"], np.int32).tobytes(),
            logprobs=np.asarray(sequence["logprobs"], np.float32).tobytes(),
        )
        if with_top and result["top"][1]:
            _put_top(added.topk_sampled_logprobs, len(sequence["tokens"]), result["top"][1])
    if result.get("prompt_logprobs"):
        values = np.asarray([np.nan, *result["prompt_logprobs"]], np.float32)
        message.prompt_logprobs = values.tobytes()
        if with_top and result["top"][0]:
            _put_top(message.topk_prompt_logprobs, len(values), result["top"][0])
    return message.SerializeToString()


def losses_to_proto(result: dict[str, Any]) -> bytes:
    """The result of a training request; the loss is the sum over tokens and data."""
    message = proto.ForwardBackwardOutput(loss_fn_output_type="ArrayRecord")
    outputs = result["loss_fn_outputs"]
    record = message.loss_fn_outputs.add(num_datums=len(outputs))
    total = 0.0
    for name in ("logprobs", "elementwise_loss"):
        arrays = [np.asarray(output[name]["data"], np.float32) for output in outputs]
        field = record.fields[name]
        field.dtype = proto.DTYPE_FLOAT32
        field.data = b"".join(array.tobytes() for array in arrays)
        field.offsets = np.cumsum([0, *(array.nbytes for array in arrays)]).astype(np.int64).tobytes()
        if name == "elementwise_loss":
            total = float(sum(array.sum() for array in arrays))
    message.metrics["loss:sum"] = total
    return message.SerializeToString()


def _put_top(message: Any, length: int, k: int) -> None:
    message.length, message.k = length, k
    message.token_ids = np.tile(np.arange(k, dtype=np.int32), length).tobytes()
    message.logprobs = np.tile(-1.0 - np.arange(k, dtype=np.float32), length).tobytes()
