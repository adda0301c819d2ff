from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DeviceLoad(_message.Message):
    __slots__ = ["description", "jobs", "memory_bytes", "name", "places", "restarts", "state"]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PLACES_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    description: str
    jobs: int
    memory_bytes: int
    name: str
    places: int
    restarts: int
    state: str
    def __init__(self, name: _Optional[str] = ..., state: _Optional[str] = ..., jobs: _Optional[int] = ..., places: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., restarts: _Optional[int] = ..., description: _Optional[str] = ...) -> None: ...

class DrainMachineRequest(_message.Message):
    __slots__ = ["machine"]
    MACHINE_FIELD_NUMBER: _ClassVar[int]
    machine: str
    def __init__(self, machine: _Optional[str] = ...) -> None: ...

class DrainMachineResponse(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class ListMachinesRequest(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class ListMachinesResponse(_message.Message):
    __slots__ = ["machines", "max_workers", "trouble", "waiting_jobs", "wanted_workers", "workers"]
    MACHINES_FIELD_NUMBER: _ClassVar[int]
    MAX_WORKERS_FIELD_NUMBER: _ClassVar[int]
    TROUBLE_FIELD_NUMBER: _ClassVar[int]
    WAITING_JOBS_FIELD_NUMBER: _ClassVar[int]
    WANTED_WORKERS_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    machines: _containers.RepeatedCompositeFieldContainer[Machine]
    max_workers: int
    trouble: str
    waiting_jobs: int
    wanted_workers: int
    workers: int
    def __init__(self, machines: _Optional[_Iterable[_Union[Machine, _Mapping]]] = ..., workers: _Optional[int] = ..., wanted_workers: _Optional[int] = ..., max_workers: _Optional[int] = ..., waiting_jobs: _Optional[int] = ..., trouble: _Optional[str] = ...) -> None: ...

class Machine(_message.Message):
    __slots__ = ["address", "devices", "name", "resources", "state"]
    class ResourcesEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    address: str
    devices: _containers.RepeatedCompositeFieldContainer[DeviceLoad]
    name: str
    resources: _containers.ScalarMap[str, float]
    state: str
    def __init__(self, name: _Optional[str] = ..., address: _Optional[str] = ..., state: _Optional[str] = ..., devices: _Optional[_Iterable[_Union[DeviceLoad, _Mapping]]] = ..., resources: _Optional[_Mapping[str, float]] = ...) -> None: ...

class UndrainMachineRequest(_message.Message):
    __slots__ = ["machine"]
    MACHINE_FIELD_NUMBER: _ClassVar[int]
    machine: str
    def __init__(self, machine: _Optional[str] = ...) -> None: ...

class UndrainMachineResponse(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...
