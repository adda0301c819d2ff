from google.protobuf import duration_pb2 as _duration_pb2
from google.rpc import status_pb2 as _status_pb2
from impasto.v1 import style_transfer_pb2 as _style_transfer_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Begin(_message.Message):
    __slots__ = ["checkpoint_interval", "job_name", "number", "pictures", "preview", "priority", "result_bits", "resumes", "spec", "tenant", "tenant_weight", "watched"]
    CHECKPOINT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    JOB_NAME_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    PICTURES_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    RESULT_BITS_FIELD_NUMBER: _ClassVar[int]
    RESUMES_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    TENANT_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    WATCHED_FIELD_NUMBER: _ClassVar[int]
    checkpoint_interval: _duration_pb2.Duration
    job_name: str
    number: int
    pictures: _containers.RepeatedCompositeFieldContainer[Picture]
    preview: _style_transfer_pb2.PreviewOptions
    priority: int
    result_bits: int
    resumes: bool
    spec: _style_transfer_pb2.JobSpec
    tenant: str
    tenant_weight: float
    watched: bool
    def __init__(self, job_name: _Optional[str] = ..., spec: _Optional[_Union[_style_transfer_pb2.JobSpec, _Mapping]] = ..., preview: _Optional[_Union[_style_transfer_pb2.PreviewOptions, _Mapping]] = ..., tenant: _Optional[str] = ..., tenant_weight: _Optional[float] = ..., priority: _Optional[int] = ..., number: _Optional[int] = ..., watched: bool = ..., resumes: bool = ..., checkpoint_interval: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., pictures: _Optional[_Iterable[_Union[Picture, _Mapping]]] = ..., result_bits: _Optional[int] = ...) -> None: ...

class Box(_message.Message):
    __slots__ = ["bottom", "left", "right", "top"]
    BOTTOM_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    bottom: int
    left: int
    right: int
    top: int
    def __init__(self, left: _Optional[int] = ..., top: _Optional[int] = ..., right: _Optional[int] = ..., bottom: _Optional[int] = ...) -> None: ...

class CheckpointChunk(_message.Message):
    __slots__ = ["data", "evaluation", "offset", "size_bytes"]
    DATA_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    evaluation: int
    offset: int
    size_bytes: int
    def __init__(self, evaluation: _Optional[int] = ..., size_bytes: _Optional[int] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class EstimateRunRequest(_message.Message):
    __slots__ = ["pictures", "selected", "spec"]
    PICTURES_FIELD_NUMBER: _ClassVar[int]
    SELECTED_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    pictures: _containers.RepeatedCompositeFieldContainer[Picture]
    selected: Box
    spec: _style_transfer_pb2.JobSpec
    def __init__(self, spec: _Optional[_Union[_style_transfer_pb2.JobSpec, _Mapping]] = ..., pictures: _Optional[_Iterable[_Union[Picture, _Mapping]]] = ..., selected: _Optional[_Union[Box, _Mapping]] = ...) -> None: ...

class EstimateRunResponse(_message.Message):
    __slots__ = ["device_time", "memory_plan", "recipe"]
    DEVICE_TIME_FIELD_NUMBER: _ClassVar[int]
    MEMORY_PLAN_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    device_time: _duration_pb2.Duration
    memory_plan: _style_transfer_pb2.MemoryPlan
    recipe: _style_transfer_pb2.Recipe
    def __init__(self, recipe: _Optional[_Union[_style_transfer_pb2.Recipe, _Mapping]] = ..., memory_plan: _Optional[_Union[_style_transfer_pb2.MemoryPlan, _Mapping]] = ..., device_time: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Finished(_message.Message):
    __slots__ = ["error", "result", "stop_message", "stop_reason"]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    STOP_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    STOP_REASON_FIELD_NUMBER: _ClassVar[int]
    error: _status_pb2.Status
    result: ResultInfo
    stop_message: str
    stop_reason: _style_transfer_pb2.StopReason
    def __init__(self, stop_reason: _Optional[_Union[_style_transfer_pb2.StopReason, str]] = ..., stop_message: _Optional[str] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., result: _Optional[_Union[ResultInfo, _Mapping]] = ...) -> None: ...

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

class InputChunk(_message.Message):
    __slots__ = ["data", "offset", "size_bytes"]
    DATA_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    offset: int
    size_bytes: int
    def __init__(self, size_bytes: _Optional[int] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class Picture(_message.Message):
    __slots__ = ["bits", "channels", "fields", "height", "source_height", "source_width", "width"]
    BITS_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_WIDTH_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    bits: int
    channels: int
    fields: _containers.RepeatedScalarFieldContainer[str]
    height: int
    source_height: int
    source_width: int
    width: int
    def __init__(self, fields: _Optional[_Iterable[str]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., channels: _Optional[int] = ..., bits: _Optional[int] = ..., source_width: _Optional[int] = ..., source_height: _Optional[int] = ...) -> None: ...

class PictureChunk(_message.Message):
    __slots__ = ["data", "index", "offset"]
    DATA_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    index: int
    offset: int
    def __init__(self, index: _Optional[int] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class PingRequest(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class PingResponse(_message.Message):
    __slots__ = ["duration", "job_name"]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    JOB_NAME_FIELD_NUMBER: _ClassVar[int]
    duration: _duration_pb2.Duration
    job_name: str
    def __init__(self, job_name: _Optional[str] = ..., duration: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ResultChunk(_message.Message):
    __slots__ = ["data", "offset"]
    DATA_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    offset: int
    def __init__(self, offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class ResultInfo(_message.Message):
    __slots__ = ["bits", "height", "metadata", "width"]
    BITS_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    bits: int
    height: int
    metadata: str
    width: int
    def __init__(self, width: _Optional[int] = ..., height: _Optional[int] = ..., bits: _Optional[int] = ..., metadata: _Optional[str] = ...) -> None: ...

class RunRequest(_message.Message):
    __slots__ = ["begin", "checkpoint", "picture"]
    BEGIN_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    PICTURE_FIELD_NUMBER: _ClassVar[int]
    begin: Begin
    checkpoint: InputChunk
    picture: PictureChunk
    def __init__(self, begin: _Optional[_Union[Begin, _Mapping]] = ..., picture: _Optional[_Union[PictureChunk, _Mapping]] = ..., checkpoint: _Optional[_Union[InputChunk, _Mapping]] = ...) -> None: ...

class RunResponse(_message.Message):
    __slots__ = ["checkpoint", "finished", "preview", "progress", "result", "started", "suspended"]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    SUSPENDED_FIELD_NUMBER: _ClassVar[int]
    checkpoint: CheckpointChunk
    finished: Finished
    preview: _style_transfer_pb2.Preview
    progress: _style_transfer_pb2.Progress
    result: ResultChunk
    started: Started
    suspended: Suspended
    def __init__(self, started: _Optional[_Union[Started, _Mapping]] = ..., progress: _Optional[_Union[_style_transfer_pb2.Progress, _Mapping]] = ..., preview: _Optional[_Union[_style_transfer_pb2.Preview, _Mapping]] = ..., finished: _Optional[_Union[Finished, _Mapping]] = ..., result: _Optional[_Union[ResultChunk, _Mapping]] = ..., checkpoint: _Optional[_Union[CheckpointChunk, _Mapping]] = ..., suspended: _Optional[_Union[Suspended, _Mapping]] = ...) -> None: ...

class Started(_message.Message):
    __slots__ = ["bfloat16", "evaluation", "height", "memory_plan", "recipe", "width"]
    BFLOAT16_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_PLAN_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    bfloat16: bool
    evaluation: int
    height: int
    memory_plan: _style_transfer_pb2.MemoryPlan
    recipe: _style_transfer_pb2.Recipe
    width: int
    def __init__(self, recipe: _Optional[_Union[_style_transfer_pb2.Recipe, _Mapping]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., bfloat16: bool = ..., memory_plan: _Optional[_Union[_style_transfer_pb2.MemoryPlan, _Mapping]] = ..., evaluation: _Optional[int] = ...) -> None: ...

class SuspendRunRequest(_message.Message):
    __slots__ = ["job_name"]
    JOB_NAME_FIELD_NUMBER: _ClassVar[int]
    job_name: str
    def __init__(self, job_name: _Optional[str] = ...) -> None: ...

class SuspendRunResponse(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class Suspended(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class UpdateRunRequest(_message.Message):
    __slots__ = ["job_name", "preview", "priority", "recipe", "watched"]
    JOB_NAME_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    WATCHED_FIELD_NUMBER: _ClassVar[int]
    job_name: str
    preview: _style_transfer_pb2.PreviewOptions
    priority: int
    recipe: _style_transfer_pb2.Recipe
    watched: bool
    def __init__(self, job_name: _Optional[str] = ..., recipe: _Optional[_Union[_style_transfer_pb2.Recipe, _Mapping]] = ..., preview: _Optional[_Union[_style_transfer_pb2.PreviewOptions, _Mapping]] = ..., watched: bool = ..., priority: _Optional[int] = ...) -> None: ...

class UpdateRunResponse(_message.Message):
    __slots__ = ["recipe"]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    recipe: _style_transfer_pb2.Recipe
    def __init__(self, recipe: _Optional[_Union[_style_transfer_pb2.Recipe, _Mapping]] = ...) -> None: ...
