"""The messages between the Azure Functions host and its Python worker, as the tests need them.

The program that runs the worker gives it its messages as protobuf classes. Microsoft publishes
their definition as `FunctionRpc.proto` (Azure/azure-functions-language-worker-protobuf). The table
below repeats the names and types of the fields that the worker reads or sets for an HTTP trigger.
No message is sent over a wire here, so the numbers of the fields do not matter.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "functions"

# A type is a protobuf scalar, or a message or enum of this table. `*` makes it repeated, and `map`
# maps texts to it. A name with a colon makes the field a member of the one-of with that name.
MESSAGES: dict[str, dict[str, str]] = {
    "StatusResult": {
        "status": "StatusResult.Status",
        "result": "string",
        "exception": "RpcException",
    },
    "RpcException": {"source": "string", "stack_trace": "string", "message": "string"},
    "WorkerMetadata": {
        "runtime_name": "string",
        "runtime_version": "string",
        "worker_version": "string",
        "worker_bitness": "string",
        "custom_properties": "map string",
    },
    "WorkerInitRequest": {
        "host_version": "string",
        "capabilities": "map string",
        "function_app_directory": "string",
    },
    "WorkerInitResponse": {
        "capabilities": "map string",
        "result": "StatusResult",
        "worker_metadata": "WorkerMetadata",
    },
    "BindingInfo": {
        "type": "string",
        "direction": "BindingInfo.Direction",
        "data_type": "BindingInfo.DataType",
    },
    "RpcRetryOptions": {"max_retry_count": "int32"},
    "RpcFunctionMetadata": {
        "name": "string",
        "directory": "string",
        "script_file": "string",
        "entry_point": "string",
        "bindings": "map BindingInfo",
        "is_proxy": "bool",
        "language": "string",
        "raw_bindings": "* string",
        "function_id": "string",
        "managed_dependency_enabled": "bool",
        "retry_options": "RpcRetryOptions",
        "properties": "map string",
    },
    "FunctionsMetadataRequest": {"function_app_directory": "string"},
    "FunctionMetadataResponse": {
        "function_metadata_results": "* RpcFunctionMetadata",
        "result": "StatusResult",
        "use_default_metadata_indexing": "bool",
    },
    "FunctionLoadRequest": {"function_id": "string", "metadata": "RpcFunctionMetadata"},
    "FunctionLoadResponse": {"function_id": "string", "result": "StatusResult"},
    "RpcHttp": {
        "method": "string",
        "url": "string",
        "headers": "map string",
        "body": "TypedData",
        "params": "map string",
        "status_code": "string",
        "query": "map string",
        "enable_content_negotiation": "bool",
        "cookies": "* RpcHttpCookie",
    },
    "RpcHttpCookie": {"name": "string", "value": "string"},
    "TypedData": {
        "string": "data: string",
        "json": "data: string",
        "bytes": "data: bytes",
        "http": "data: RpcHttp",
        "int": "data: sint64",
        "double": "data: double",
    },
    "ParameterBinding": {"name": "string", "data": "rpc_data: TypedData"},
    "RpcTraceContext": {
        "trace_parent": "string",
        "trace_state": "string",
        "attributes": "map string",
    },
    "RetryContext": {
        "retry_count": "int32",
        "max_retry_count": "int32",
        "exception": "RpcException",
    },
    "InvocationRequest": {
        "invocation_id": "string",
        "function_id": "string",
        "input_data": "* ParameterBinding",
        "trigger_metadata": "map TypedData",
        "trace_context": "RpcTraceContext",
        "retry_context": "RetryContext",
    },
    "InvocationResponse": {
        "invocation_id": "string",
        "output_data": "* ParameterBinding",
        "return_value": "TypedData",
        "result": "StatusResult",
    },
    "StreamingMessage": {
        "worker_init_request": "WorkerInitRequest",
        "functions_metadata_request": "FunctionsMetadataRequest",
        "function_load_request": "FunctionLoadRequest",
        "invocation_request": "InvocationRequest",
    },
}
ENUMS = {
    "StatusResult.Status": ("Failure", "Success", "Cancelled"),
    "BindingInfo.Direction": ("in", "out", "inout"),
    "BindingInfo.DataType": ("undefined", "string", "binary", "stream"),
}


def _set_type(field: descriptor_pb2.FieldDescriptorProto, kind: str) -> None:
    if kind in MESSAGES:
        field.type, field.type_name = field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
    elif kind in ENUMS:
        field.type, field.type_name = field.TYPE_ENUM, f".{PACKAGE}.{kind}"
    else:
        field.type = getattr(field, f"TYPE_{kind.upper()}")


def _add_field(
    message: descriptor_pb2.DescriptorProto, number: int, name: str, description: str
) -> None:
    field = message.field.add(name=name, number=number, label=1)
    *form, kind = description.split()
    if form == ["map"]:
        entry_name = f"{name.title().replace('_', '')}Entry"
        entry = message.nested_type.add(name=entry_name)
        entry.options.map_entry = True
        _set_type(entry.field.add(name="key", number=1, label=1), "string")
        _set_type(entry.field.add(name="value", number=2, label=1), kind)
        field.type, field.label = field.TYPE_MESSAGE, field.LABEL_REPEATED
        field.type_name = f".{PACKAGE}.{message.name}.{entry_name}"
        return
    _set_type(field, kind)
    if form == ["*"]:
        field.label = field.LABEL_REPEATED
    elif form:
        if not message.oneof_decl:
            message.oneof_decl.add(name=form[0].rstrip(":"))
        field.oneof_index = 0


def message_classes() -> Any:
    """Return a namespace with one class for each message. The worker calls it `protos`."""
    file = descriptor_pb2.FileDescriptorProto(
        name="functions.proto", package=PACKAGE, syntax="proto3"
    )
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, description) in enumerate(fields.items(), start=1):
            _add_field(message, number, field, description)
        for path, values in ENUMS.items():
            if path.startswith(f"{name}."):
                enum = message.enum_type.add(name=path.partition(".")[2])
                for number, value in enumerate(values):
                    enum.value.add(name=value, number=number)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return SimpleNamespace(
        **{
            name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
            for name in MESSAGES
        }
    )
