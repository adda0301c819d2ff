from google.rpc import status_pb2 as _status_pb2
from impasto.v1 import style_transfer_pb2 as _style_transfer_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Finished(_message.Message):
    __slots__ = ["error", "stop_message", "stop_reason"]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    STOP_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    STOP_REASON_FIELD_NUMBER: _ClassVar[int]
    error: _status_pb2.Status
    stop_message: str
    stop_reason: _style_transfer_pb2.StopReason
    def __init__(self, stop_reason: _Optional[_Union[_style_transfer_pb2.StopReason, str]] = ..., stop_message: _Optional[str] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class GetWorkerInfoRequest(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class GetWorkerInfoResponse(_message.Message):
    __slots__ = ["device", "network", "other_devices", "process_id"]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    OTHER_DEVICES_FIELD_NUMBER: _ClassVar[int]
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    device: _style_transfer_pb2.Device
    network: _style_transfer_pb2.FeatureNetwork
    other_devices: _containers.RepeatedScalarFieldContainer[str]
    process_id: int
    def __init__(self, device: _Optional[_Union[_style_transfer_pb2.Device, _Mapping]] = ..., network: _Optional[_Union[_style_transfer_pb2.FeatureNetwork, _Mapping]] = ..., process_id: _Optional[int] = ..., other_devices: _Optional[_Iterable[str]] = ...) -> None: ...

class RunRequest(_message.Message):
    __slots__ = ["job_name", "preview", "spec"]
    JOB_NAME_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    job_name: str
    preview: _style_transfer_pb2.PreviewOptions
    spec: _style_transfer_pb2.JobSpec
    def __init__(self, job_name: _Optional[str] = ..., spec: _Optional[_Union[_style_transfer_pb2.JobSpec, _Mapping]] = ..., preview: _Optional[_Union[_style_transfer_pb2.PreviewOptions, _Mapping]] = ...) -> None: ...

class RunResponse(_message.Message):
    __slots__ = ["finished", "preview", "progress", "result", "started"]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    finished: Finished
    preview: _style_transfer_pb2.Preview
    progress: _style_transfer_pb2.Progress
    result: _style_transfer_pb2.ImageChunk
    started: Started
    def __init__(self, started: _Optional[_Union[Started, _Mapping]] = ..., progress: _Optional[_Union[_style_transfer_pb2.Progress, _Mapping]] = ..., preview: _Optional[_Union[_style_transfer_pb2.Preview, _Mapping]] = ..., finished: _Optional[_Union[Finished, _Mapping]] = ..., result: _Optional[_Union[_style_transfer_pb2.ImageChunk, _Mapping]] = ...) -> None: ...

class Started(_message.Message):
    __slots__ = ["bfloat16", "height", "memory_plan", "recipe", "width"]
    BFLOAT16_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_PLAN_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    bfloat16: bool
    height: int
    memory_plan: _style_transfer_pb2.MemoryPlan
    recipe: _style_transfer_pb2.Recipe
    width: int
    def __init__(self, recipe: _Optional[_Union[_style_transfer_pb2.Recipe, _Mapping]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., bfloat16: bool = ..., memory_plan: _Optional[_Union[_style_transfer_pb2.MemoryPlan, _Mapping]] = ...) -> None: ...
