from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from impasto.v1 import style_transfer_pb2 as _style_transfer_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CancelAnyJobRequest(_message.Message):
    __slots__ = ["name"]
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeviceStatus(_message.Message):
    __slots__ = ["device", "evaluations_per_second", "jobs", "load", "used_memory_bytes"]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    EVALUATIONS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    USED_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    device: _style_transfer_pb2.Device
    evaluations_per_second: float
    jobs: _containers.RepeatedScalarFieldContainer[str]
    load: float
    used_memory_bytes: int
    def __init__(self, device: _Optional[_Union[_style_transfer_pb2.Device, _Mapping]] = ..., load: _Optional[float] = ..., used_memory_bytes: _Optional[int] = ..., jobs: _Optional[_Iterable[str]] = ..., evaluations_per_second: _Optional[float] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class HoldJobRequest(_message.Message):
    __slots__ = ["name"]
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListAllJobsRequest(_message.Message):
    __slots__ = ["page_size", "page_token", "states", "tenant"]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    states: _containers.RepeatedScalarFieldContainer[_style_transfer_pb2.JobState]
    tenant: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., states: _Optional[_Iterable[_Union[_style_transfer_pb2.JobState, str]]] = ..., tenant: _Optional[str] = ...) -> None: ...

class ListAllJobsResponse(_message.Message):
    __slots__ = ["jobs", "next_page_token"]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[TenantJob]
    next_page_token: str
    def __init__(self, jobs: _Optional[_Iterable[_Union[TenantJob, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class PauseAnyJobRequest(_message.Message):
    __slots__ = ["name"]
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class RecentError(_message.Message):
    __slots__ = ["device", "job", "message", "tenant", "time"]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    device: str
    job: str
    message: str
    tenant: str
    time: _timestamp_pb2.Timestamp
    def __init__(self, time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., message: _Optional[str] = ..., job: _Optional[str] = ..., tenant: _Optional[str] = ..., device: _Optional[str] = ...) -> None: ...

class ReleaseJobRequest(_message.Message):
    __slots__ = ["name"]
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ResumeAnyJobRequest(_message.Message):
    __slots__ = ["name"]
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ServerStatus(_message.Message):
    __slots__ = ["devices", "free_disk_bytes", "longest_wait", "memory_bytes", "open_streams", "paused_jobs", "queued_jobs", "recent_errors", "running_jobs", "start_time", "stored_bytes", "tenants", "time", "trouble", "version"]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    FREE_DISK_BYTES_FIELD_NUMBER: _ClassVar[int]
    LONGEST_WAIT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    OPEN_STREAMS_FIELD_NUMBER: _ClassVar[int]
    PAUSED_JOBS_FIELD_NUMBER: _ClassVar[int]
    QUEUED_JOBS_FIELD_NUMBER: _ClassVar[int]
    RECENT_ERRORS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_JOBS_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    STORED_BYTES_FIELD_NUMBER: _ClassVar[int]
    TENANTS_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    TROUBLE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    devices: _containers.RepeatedCompositeFieldContainer[DeviceStatus]
    free_disk_bytes: int
    longest_wait: _duration_pb2.Duration
    memory_bytes: int
    open_streams: int
    paused_jobs: int
    queued_jobs: int
    recent_errors: _containers.RepeatedCompositeFieldContainer[RecentError]
    running_jobs: int
    start_time: _timestamp_pb2.Timestamp
    stored_bytes: int
    tenants: _containers.RepeatedCompositeFieldContainer[TenantStatus]
    time: _timestamp_pb2.Timestamp
    trouble: str
    version: str
    def __init__(self, time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., version: _Optional[str] = ..., start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., devices: _Optional[_Iterable[_Union[DeviceStatus, _Mapping]]] = ..., tenants: _Optional[_Iterable[_Union[TenantStatus, _Mapping]]] = ..., queued_jobs: _Optional[int] = ..., running_jobs: _Optional[int] = ..., paused_jobs: _Optional[int] = ..., longest_wait: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., open_streams: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., stored_bytes: _Optional[int] = ..., free_disk_bytes: _Optional[int] = ..., trouble: _Optional[str] = ..., recent_errors: _Optional[_Iterable[_Union[RecentError, _Mapping]]] = ...) -> None: ...

class TenantJob(_message.Message):
    __slots__ = ["job", "tenant"]
    JOB_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    job: _style_transfer_pb2.Job
    tenant: str
    def __init__(self, tenant: _Optional[str] = ..., job: _Optional[_Union[_style_transfer_pb2.Job, _Mapping]] = ...) -> None: ...

class TenantStatus(_message.Message):
    __slots__ = ["administrator", "device_time", "name", "paused_jobs", "queued_jobs", "recent_share", "running_jobs", "stored_bytes", "weight"]
    ADMINISTRATOR_FIELD_NUMBER: _ClassVar[int]
    DEVICE_TIME_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAUSED_JOBS_FIELD_NUMBER: _ClassVar[int]
    QUEUED_JOBS_FIELD_NUMBER: _ClassVar[int]
    RECENT_SHARE_FIELD_NUMBER: _ClassVar[int]
    RUNNING_JOBS_FIELD_NUMBER: _ClassVar[int]
    STORED_BYTES_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    administrator: bool
    device_time: _duration_pb2.Duration
    name: str
    paused_jobs: int
    queued_jobs: int
    recent_share: float
    running_jobs: int
    stored_bytes: int
    weight: float
    def __init__(self, name: _Optional[str] = ..., weight: _Optional[float] = ..., queued_jobs: _Optional[int] = ..., running_jobs: _Optional[int] = ..., paused_jobs: _Optional[int] = ..., device_time: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., recent_share: _Optional[float] = ..., stored_bytes: _Optional[int] = ..., administrator: bool = ...) -> None: ...

class WatchStatusRequest(_message.Message):
    __slots__ = ["interval"]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    interval: _duration_pb2.Duration
    def __init__(self, interval: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...
