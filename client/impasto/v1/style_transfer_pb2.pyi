from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import empty_pb2 as _empty_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

COLOR_LUMINANCE: Color
COLOR_MATCHED: Color
COLOR_STYLE: Color
COLOR_UNSPECIFIED: Color
DESCRIPTOR: _descriptor.FileDescriptor
DEVICE_STATE_DRAINING: DeviceState
DEVICE_STATE_READY: DeviceState
DEVICE_STATE_STARTING: DeviceState
DEVICE_STATE_UNSPECIFIED: DeviceState
EFFORT_DRAFT: Effort
EFFORT_FINE: Effort
EFFORT_STANDARD: Effort
EFFORT_UNSPECIFIED: Effort
IMAGE_FORMAT_JPEG: ImageFormat
IMAGE_FORMAT_PNG: ImageFormat
IMAGE_FORMAT_PNG_16: ImageFormat
IMAGE_FORMAT_RGBA16: ImageFormat
IMAGE_FORMAT_RGBA8: ImageFormat
IMAGE_FORMAT_TIFF: ImageFormat
IMAGE_FORMAT_UNSPECIFIED: ImageFormat
IMAGE_FORMAT_WEBP: ImageFormat
JOB_STATE_CANCELLED: JobState
JOB_STATE_FAILED: JobState
JOB_STATE_PAUSED: JobState
JOB_STATE_QUEUED: JobState
JOB_STATE_RUNNING: JobState
JOB_STATE_SUCCEEDED: JobState
JOB_STATE_UNSPECIFIED: JobState
MEMORY_METHOD_PLAIN: MemoryMethod
MEMORY_METHOD_RECOMPUTED: MemoryMethod
MEMORY_METHOD_TILED: MemoryMethod
MEMORY_METHOD_UNSPECIFIED: MemoryMethod
OBJECTIVE_BALANCED: Objective
OBJECTIVE_GATYS: Objective
OBJECTIVE_NEIGHBOURS: Objective
OBJECTIVE_REPORT: Objective
OBJECTIVE_UNSPECIFIED: Objective
OBJECTIVE_WASSERSTEIN: Objective
OPTIMIZER_ADAM: Optimizer
OPTIMIZER_LBFGS: Optimizer
OPTIMIZER_UNSPECIFIED: Optimizer
PRECISION_AUTO: Precision
PRECISION_BFLOAT16: Precision
PRECISION_FLOAT32: Precision
PRECISION_UNSPECIFIED: Precision
START_CONTENT: Start
START_IMAGE: Start
START_NOISE: Start
START_UNSPECIFIED: Start
STOP_REASON_CANCELLED: StopReason
STOP_REASON_COMPLETED: StopReason
STOP_REASON_CONVERGED: StopReason
STOP_REASON_NOT_FINITE: StopReason
STOP_REASON_PLATEAU: StopReason
STOP_REASON_UNSPECIFIED: StopReason

class CancelJobRequest(_message.Message):
    __slots__ = ["name"]
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class CreateImageLinksRequest(_message.Message):
    __slots__ = ["lifetime", "sources"]
    LIFETIME_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    lifetime: _duration_pb2.Duration
    sources: _containers.RepeatedCompositeFieldContainer[DownloadImageRequest]
    def __init__(self, sources: _Optional[_Iterable[_Union[DownloadImageRequest, _Mapping]]] = ..., lifetime: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class CreateImageLinksResponse(_message.Message):
    __slots__ = ["expire_time", "links"]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    LINKS_FIELD_NUMBER: _ClassVar[int]
    expire_time: _timestamp_pb2.Timestamp
    links: _containers.RepeatedCompositeFieldContainer[ImageLink]
    def __init__(self, links: _Optional[_Iterable[_Union[ImageLink, _Mapping]]] = ..., expire_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CreateJobRequest(_message.Message):
    __slots__ = ["preview", "priority", "request_id", "spec", "title"]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    preview: PreviewOptions
    priority: int
    request_id: str
    spec: JobSpec
    title: str
    def __init__(self, spec: _Optional[_Union[JobSpec, _Mapping]] = ..., preview: _Optional[_Union[PreviewOptions, _Mapping]] = ..., request_id: _Optional[str] = ..., title: _Optional[str] = ..., priority: _Optional[int] = ...) -> None: ...

class DeleteJobRequest(_message.Message):
    __slots__ = ["name"]
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class Deleted(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class Device(_message.Message):
    __slots__ = ["auto_precision", "description", "machine", "memory_bytes", "name", "resident_jobs", "restarts", "state"]
    AUTO_PRECISION_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    MACHINE_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_JOBS_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    auto_precision: Precision
    description: str
    machine: str
    memory_bytes: int
    name: str
    resident_jobs: int
    restarts: int
    state: DeviceState
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., state: _Optional[_Union[DeviceState, str]] = ..., auto_precision: _Optional[_Union[Precision, str]] = ..., resident_jobs: _Optional[int] = ..., restarts: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., machine: _Optional[str] = ...) -> None: ...

class DownloadImageRequest(_message.Message):
    __slots__ = ["format", "max_side", "offset", "preview_of", "result_of", "sha256"]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    MAX_SIDE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_OF_FIELD_NUMBER: _ClassVar[int]
    RESULT_OF_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    format: ImageFormat
    max_side: int
    offset: int
    preview_of: str
    result_of: str
    sha256: str
    def __init__(self, result_of: _Optional[str] = ..., preview_of: _Optional[str] = ..., sha256: _Optional[str] = ..., format: _Optional[_Union[ImageFormat, str]] = ..., offset: _Optional[int] = ..., max_side: _Optional[int] = ...) -> None: ...

class EstimateJobRequest(_message.Message):
    __slots__ = ["spec"]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    spec: JobSpec
    def __init__(self, spec: _Optional[_Union[JobSpec, _Mapping]] = ...) -> None: ...

class EstimateJobResponse(_message.Message):
    __slots__ = ["device", "device_time", "height", "memory_plan", "other_jobs", "recipe", "time_left", "width"]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_TIME_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_PLAN_FIELD_NUMBER: _ClassVar[int]
    OTHER_JOBS_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    TIME_LEFT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    device: str
    device_time: _duration_pb2.Duration
    height: int
    memory_plan: MemoryPlan
    other_jobs: int
    recipe: Recipe
    time_left: _duration_pb2.Duration
    width: int
    def __init__(self, recipe: _Optional[_Union[Recipe, _Mapping]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., device: _Optional[str] = ..., memory_plan: _Optional[_Union[MemoryPlan, _Mapping]] = ..., device_time: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., time_left: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., other_jobs: _Optional[int] = ...) -> None: ...

class FeatureNetwork(_message.Message):
    __slots__ = ["architecture", "origin", "sha256", "weights"]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    architecture: str
    origin: str
    sha256: str
    weights: str
    def __init__(self, architecture: _Optional[str] = ..., weights: _Optional[str] = ..., origin: _Optional[str] = ..., sha256: _Optional[str] = ...) -> None: ...

class GetJobRequest(_message.Message):
    __slots__ = ["name"]
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetPreviewRequest(_message.Message):
    __slots__ = ["after_sequence", "name", "wait"]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    after_sequence: int
    name: str
    wait: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., after_sequence: _Optional[int] = ..., wait: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GetPreviewResponse(_message.Message):
    __slots__ = ["job", "preview", "sequence"]
    JOB_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    job: Job
    preview: Preview
    sequence: int
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ..., preview: _Optional[_Union[Preview, _Mapping]] = ..., sequence: _Optional[int] = ...) -> None: ...

class GetServerInfoRequest(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class GetServerInfoResponse(_message.Message):
    __slots__ = ["accepted_formats", "administrator", "devices", "limits", "network", "page", "tenant", "unfinished_jobs", "version"]
    ACCEPTED_FORMATS_FIELD_NUMBER: _ClassVar[int]
    ADMINISTRATOR_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    UNFINISHED_JOBS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    accepted_formats: _containers.RepeatedScalarFieldContainer[ImageFormat]
    administrator: bool
    devices: _containers.RepeatedCompositeFieldContainer[Device]
    limits: Limits
    network: FeatureNetwork
    page: WebPage
    tenant: str
    unfinished_jobs: int
    version: str
    def __init__(self, version: _Optional[str] = ..., devices: _Optional[_Iterable[_Union[Device, _Mapping]]] = ..., network: _Optional[_Union[FeatureNetwork, _Mapping]] = ..., accepted_formats: _Optional[_Iterable[_Union[ImageFormat, str]]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., unfinished_jobs: _Optional[int] = ..., tenant: _Optional[str] = ..., administrator: bool = ..., page: _Optional[_Union[WebPage, _Mapping]] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class Image(_message.Message):
    __slots__ = ["encoded", "raw", "sha256", "style"]
    ENCODED_FIELD_NUMBER: _ClassVar[int]
    RAW_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    STYLE_FIELD_NUMBER: _ClassVar[int]
    encoded: bytes
    raw: RawPixels
    sha256: str
    style: str
    def __init__(self, encoded: _Optional[bytes] = ..., raw: _Optional[_Union[RawPixels, _Mapping]] = ..., sha256: _Optional[str] = ..., style: _Optional[str] = ...) -> None: ...

class ImageChunk(_message.Message):
    __slots__ = ["data", "info", "offset"]
    DATA_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    info: ImageInfo
    offset: int
    def __init__(self, info: _Optional[_Union[ImageInfo, _Mapping]] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class ImageInfo(_message.Message):
    __slots__ = ["format", "height", "sha256", "size_bytes", "width"]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    format: ImageFormat
    height: int
    sha256: str
    size_bytes: int
    width: int
    def __init__(self, format: _Optional[_Union[ImageFormat, str]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., size_bytes: _Optional[int] = ..., sha256: _Optional[str] = ...) -> None: ...

class ImageLink(_message.Message):
    __slots__ = ["path"]
    PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    def __init__(self, path: _Optional[str] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ["bfloat16", "create_time", "device", "end_time", "error", "expire_time", "height", "held", "memory_plan", "name", "network", "preview", "priority", "progress", "queue_position", "recipe", "result", "spec", "start_time", "state", "stop_message", "stop_reason", "title", "width"]
    BFLOAT16_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    MEMORY_PLAN_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_POSITION_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STOP_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    STOP_REASON_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    bfloat16: bool
    create_time: _timestamp_pb2.Timestamp
    device: str
    end_time: _timestamp_pb2.Timestamp
    error: _status_pb2.Status
    expire_time: _timestamp_pb2.Timestamp
    height: int
    held: bool
    memory_plan: MemoryPlan
    name: str
    network: FeatureNetwork
    preview: PreviewOptions
    priority: int
    progress: Progress
    queue_position: int
    recipe: Recipe
    result: ImageInfo
    spec: JobSpec
    start_time: _timestamp_pb2.Timestamp
    state: JobState
    stop_message: str
    stop_reason: StopReason
    title: str
    width: int
    def __init__(self, name: _Optional[str] = ..., state: _Optional[_Union[JobState, str]] = ..., recipe: _Optional[_Union[Recipe, _Mapping]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., stop_reason: _Optional[_Union[StopReason, str]] = ..., stop_message: _Optional[str] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., network: _Optional[_Union[FeatureNetwork, _Mapping]] = ..., device: _Optional[str] = ..., bfloat16: bool = ..., memory_plan: _Optional[_Union[MemoryPlan, _Mapping]] = ..., preview: _Optional[_Union[PreviewOptions, _Mapping]] = ..., priority: _Optional[int] = ..., title: _Optional[str] = ..., queue_position: _Optional[int] = ..., result: _Optional[_Union[ImageInfo, _Mapping]] = ..., spec: _Optional[_Union[JobSpec, _Mapping]] = ..., expire_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., held: bool = ...) -> None: ...

class JobEvent(_message.Message):
    __slots__ = ["heartbeat", "job", "preview", "progress", "resume", "sequence", "skipped_previews"]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_PREVIEWS_FIELD_NUMBER: _ClassVar[int]
    heartbeat: Heartbeat
    job: Job
    preview: Preview
    progress: Progress
    resume: Resume
    sequence: int
    skipped_previews: int
    def __init__(self, sequence: _Optional[int] = ..., job: _Optional[_Union[Job, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., preview: _Optional[_Union[Preview, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., resume: _Optional[_Union[Resume, _Mapping]] = ..., skipped_previews: _Optional[int] = ...) -> None: ...

class JobSpec(_message.Message):
    __slots__ = ["content", "recipe", "regions", "result_format", "selection", "start_image", "styles", "texture"]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FORMAT_FIELD_NUMBER: _ClassVar[int]
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    START_IMAGE_FIELD_NUMBER: _ClassVar[int]
    STYLES_FIELD_NUMBER: _ClassVar[int]
    TEXTURE_FIELD_NUMBER: _ClassVar[int]
    content: Image
    recipe: Recipe
    regions: _containers.RepeatedCompositeFieldContainer[Region]
    result_format: ImageFormat
    selection: Image
    start_image: Image
    styles: _containers.RepeatedCompositeFieldContainer[Style]
    texture: TextureSize
    def __init__(self, content: _Optional[_Union[Image, _Mapping]] = ..., styles: _Optional[_Iterable[_Union[Style, _Mapping]]] = ..., recipe: _Optional[_Union[Recipe, _Mapping]] = ..., start_image: _Optional[_Union[Image, _Mapping]] = ..., texture: _Optional[_Union[TextureSize, _Mapping]] = ..., regions: _Optional[_Iterable[_Union[Region, _Mapping]]] = ..., selection: _Optional[_Union[Image, _Mapping]] = ..., result_format: _Optional[_Union[ImageFormat, str]] = ...) -> None: ...

class LayerWeight(_message.Message):
    __slots__ = ["layer", "weight"]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    layer: str
    weight: float
    def __init__(self, layer: _Optional[str] = ..., weight: _Optional[float] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ["max_evaluations", "max_image_pixels", "max_longest_side", "max_regions", "max_request_bytes", "max_stored_bytes_of_tenant", "max_styles", "max_unfinished_jobs", "max_unfinished_jobs_of_tenant", "max_upload_bytes"]
    MAX_EVALUATIONS_FIELD_NUMBER: _ClassVar[int]
    MAX_IMAGE_PIXELS_FIELD_NUMBER: _ClassVar[int]
    MAX_LONGEST_SIDE_FIELD_NUMBER: _ClassVar[int]
    MAX_REGIONS_FIELD_NUMBER: _ClassVar[int]
    MAX_REQUEST_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_STORED_BYTES_OF_TENANT_FIELD_NUMBER: _ClassVar[int]
    MAX_STYLES_FIELD_NUMBER: _ClassVar[int]
    MAX_UNFINISHED_JOBS_FIELD_NUMBER: _ClassVar[int]
    MAX_UNFINISHED_JOBS_OF_TENANT_FIELD_NUMBER: _ClassVar[int]
    MAX_UPLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    max_evaluations: int
    max_image_pixels: int
    max_longest_side: int
    max_regions: int
    max_request_bytes: int
    max_stored_bytes_of_tenant: int
    max_styles: int
    max_unfinished_jobs: int
    max_unfinished_jobs_of_tenant: int
    max_upload_bytes: int
    def __init__(self, max_request_bytes: _Optional[int] = ..., max_image_pixels: _Optional[int] = ..., max_longest_side: _Optional[int] = ..., max_styles: _Optional[int] = ..., max_evaluations: _Optional[int] = ..., max_unfinished_jobs: _Optional[int] = ..., max_regions: _Optional[int] = ..., max_upload_bytes: _Optional[int] = ..., max_unfinished_jobs_of_tenant: _Optional[int] = ..., max_stored_bytes_of_tenant: _Optional[int] = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ["page_size", "page_token", "states", "title"]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    states: _containers.RepeatedScalarFieldContainer[JobState]
    title: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., states: _Optional[_Iterable[_Union[JobState, str]]] = ..., title: _Optional[str] = ...) -> None: ...

class ListJobsResponse(_message.Message):
    __slots__ = ["jobs", "next_page_token"]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    next_page_token: str
    def __init__(self, jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListStylesRequest(_message.Message):
    __slots__ = ["page_size", "page_token"]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListStylesResponse(_message.Message):
    __slots__ = ["next_page_token", "styles"]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STYLES_FIELD_NUMBER: _ClassVar[int]
    next_page_token: str
    styles: _containers.RepeatedCompositeFieldContainer[NamedStyle]
    def __init__(self, styles: _Optional[_Iterable[_Union[NamedStyle, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class Listed(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class MemoryPlan(_message.Message):
    __slots__ = ["estimated_bytes", "method", "tile_side"]
    ESTIMATED_BYTES_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    TILE_SIDE_FIELD_NUMBER: _ClassVar[int]
    estimated_bytes: int
    method: MemoryMethod
    tile_side: int
    def __init__(self, method: _Optional[_Union[MemoryMethod, str]] = ..., estimated_bytes: _Optional[int] = ..., tile_side: _Optional[int] = ...) -> None: ...

class NamedStyle(_message.Message):
    __slots__ = ["height", "name", "thumbnail", "title", "width"]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    THUMBNAIL_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    height: int
    name: str
    thumbnail: bytes
    title: str
    width: int
    def __init__(self, name: _Optional[str] = ..., title: _Optional[str] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., thumbnail: _Optional[bytes] = ...) -> None: ...

class PauseJobRequest(_message.Message):
    __slots__ = ["name"]
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class Preview(_message.Message):
    __slots__ = ["data", "evaluation", "format", "height", "scale", "width"]
    DATA_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    evaluation: int
    format: ImageFormat
    height: int
    scale: int
    width: int
    def __init__(self, data: _Optional[bytes] = ..., format: _Optional[_Union[ImageFormat, str]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., evaluation: _Optional[int] = ..., scale: _Optional[int] = ...) -> None: ...

class PreviewOptions(_message.Message):
    __slots__ = ["disabled", "format", "max_bytes", "max_side", "min_interval"]
    DISABLED_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_SIDE_FIELD_NUMBER: _ClassVar[int]
    MIN_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    disabled: bool
    format: ImageFormat
    max_bytes: int
    max_side: int
    min_interval: _duration_pb2.Duration
    def __init__(self, disabled: bool = ..., format: _Optional[_Union[ImageFormat, str]] = ..., max_side: _Optional[int] = ..., max_bytes: _Optional[int] = ..., min_interval: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ["content_loss", "device_time", "evaluation", "evaluations", "height", "loss", "preparing", "scale", "scales", "style_loss", "time_left", "tv_loss", "width"]
    CONTENT_LOSS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_TIME_FIELD_NUMBER: _ClassVar[int]
    EVALUATIONS_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    PREPARING_FIELD_NUMBER: _ClassVar[int]
    SCALES_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    STYLE_LOSS_FIELD_NUMBER: _ClassVar[int]
    TIME_LEFT_FIELD_NUMBER: _ClassVar[int]
    TV_LOSS_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    content_loss: float
    device_time: _duration_pb2.Duration
    evaluation: int
    evaluations: int
    height: int
    loss: float
    preparing: float
    scale: int
    scales: int
    style_loss: float
    time_left: _duration_pb2.Duration
    tv_loss: float
    width: int
    def __init__(self, evaluation: _Optional[int] = ..., evaluations: _Optional[int] = ..., scale: _Optional[int] = ..., scales: _Optional[int] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., loss: _Optional[float] = ..., content_loss: _Optional[float] = ..., style_loss: _Optional[float] = ..., tv_loss: _Optional[float] = ..., device_time: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., time_left: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., preparing: _Optional[float] = ...) -> None: ...

class RawPixels(_message.Message):
    __slots__ = ["bits_per_channel", "height", "rgba", "width"]
    BITS_PER_CHANNEL_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    RGBA_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    bits_per_channel: int
    height: int
    rgba: bytes
    width: int
    def __init__(self, width: _Optional[int] = ..., height: _Optional[int] = ..., rgba: _Optional[bytes] = ..., bits_per_channel: _Optional[int] = ...) -> None: ...

class Recipe(_message.Message):
    __slots__ = ["averaging", "color", "content_layers", "content_weight", "effort", "evaluations", "learning_rate", "longest_side", "objective", "optimizer", "precision", "seed", "start", "stop_on_plateau", "style_layers", "style_scale", "style_weight", "tv_weight"]
    AVERAGING_FIELD_NUMBER: _ClassVar[int]
    COLOR_FIELD_NUMBER: _ClassVar[int]
    CONTENT_LAYERS_FIELD_NUMBER: _ClassVar[int]
    CONTENT_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    EFFORT_FIELD_NUMBER: _ClassVar[int]
    EVALUATIONS_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    LONGEST_SIDE_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZER_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    STOP_ON_PLATEAU_FIELD_NUMBER: _ClassVar[int]
    STYLE_LAYERS_FIELD_NUMBER: _ClassVar[int]
    STYLE_SCALE_FIELD_NUMBER: _ClassVar[int]
    STYLE_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    TV_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    averaging: float
    color: Color
    content_layers: _containers.RepeatedCompositeFieldContainer[LayerWeight]
    content_weight: float
    effort: Effort
    evaluations: int
    learning_rate: float
    longest_side: int
    objective: Objective
    optimizer: Optimizer
    precision: Precision
    seed: int
    start: Start
    stop_on_plateau: bool
    style_layers: _containers.RepeatedCompositeFieldContainer[LayerWeight]
    style_scale: float
    style_weight: float
    tv_weight: float
    def __init__(self, objective: _Optional[_Union[Objective, str]] = ..., content_weight: _Optional[float] = ..., style_weight: _Optional[float] = ..., tv_weight: _Optional[float] = ..., optimizer: _Optional[_Union[Optimizer, str]] = ..., learning_rate: _Optional[float] = ..., effort: _Optional[_Union[Effort, str]] = ..., evaluations: _Optional[int] = ..., longest_side: _Optional[int] = ..., start: _Optional[_Union[Start, str]] = ..., seed: _Optional[int] = ..., precision: _Optional[_Union[Precision, str]] = ..., style_scale: _Optional[float] = ..., color: _Optional[_Union[Color, str]] = ..., content_layers: _Optional[_Iterable[_Union[LayerWeight, _Mapping]]] = ..., style_layers: _Optional[_Iterable[_Union[LayerWeight, _Mapping]]] = ..., averaging: _Optional[float] = ..., stop_on_plateau: bool = ...) -> None: ...

class Region(_message.Message):
    __slots__ = ["content_mask", "style", "style_mask"]
    CONTENT_MASK_FIELD_NUMBER: _ClassVar[int]
    STYLE_FIELD_NUMBER: _ClassVar[int]
    STYLE_MASK_FIELD_NUMBER: _ClassVar[int]
    content_mask: Image
    style: int
    style_mask: Image
    def __init__(self, content_mask: _Optional[_Union[Image, _Mapping]] = ..., style: _Optional[int] = ..., style_mask: _Optional[_Union[Image, _Mapping]] = ...) -> None: ...

class Resume(_message.Message):
    __slots__ = ["retry_delay"]
    RETRY_DELAY_FIELD_NUMBER: _ClassVar[int]
    retry_delay: _duration_pb2.Duration
    def __init__(self, retry_delay: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ResumeJobRequest(_message.Message):
    __slots__ = ["name"]
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class Style(_message.Message):
    __slots__ = ["image", "weight"]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    image: Image
    weight: float
    def __init__(self, image: _Optional[_Union[Image, _Mapping]] = ..., weight: _Optional[float] = ...) -> None: ...

class StylizeRequest(_message.Message):
    __slots__ = ["keep_running", "linger", "preview", "priority", "request_id", "spec", "title"]
    KEEP_RUNNING_FIELD_NUMBER: _ClassVar[int]
    LINGER_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    keep_running: bool
    linger: _duration_pb2.Duration
    preview: PreviewOptions
    priority: int
    request_id: str
    spec: JobSpec
    title: str
    def __init__(self, spec: _Optional[_Union[JobSpec, _Mapping]] = ..., preview: _Optional[_Union[PreviewOptions, _Mapping]] = ..., request_id: _Optional[str] = ..., title: _Optional[str] = ..., priority: _Optional[int] = ..., keep_running: bool = ..., linger: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class StylizeResponse(_message.Message):
    __slots__ = ["event", "result"]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    event: JobEvent
    result: ImageChunk
    def __init__(self, event: _Optional[_Union[JobEvent, _Mapping]] = ..., result: _Optional[_Union[ImageChunk, _Mapping]] = ...) -> None: ...

class TextureSize(_message.Message):
    __slots__ = ["height", "width"]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    height: int
    width: int
    def __init__(self, width: _Optional[int] = ..., height: _Optional[int] = ...) -> None: ...

class UpdateJobRequest(_message.Message):
    __slots__ = ["job", "update_mask"]
    JOB_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    job: Job
    update_mask: _field_mask_pb2.FieldMask
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class UploadImagePieceRequest(_message.Message):
    __slots__ = ["data", "offset", "sha256", "size_bytes"]
    DATA_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    offset: int
    sha256: str
    size_bytes: int
    def __init__(self, sha256: _Optional[str] = ..., size_bytes: _Optional[int] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class UploadImageRequest(_message.Message):
    __slots__ = ["data", "offset", "sha256", "size_bytes"]
    DATA_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    offset: int
    sha256: str
    size_bytes: int
    def __init__(self, sha256: _Optional[str] = ..., size_bytes: _Optional[int] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class UploadImageResponse(_message.Message):
    __slots__ = ["committed_bytes", "complete"]
    COMMITTED_BYTES_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    committed_bytes: int
    complete: bool
    def __init__(self, committed_bytes: _Optional[int] = ..., complete: bool = ...) -> None: ...

class WatchJobRequest(_message.Message):
    __slots__ = ["after_sequence", "name", "omit_previews"]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    OMIT_PREVIEWS_FIELD_NUMBER: _ClassVar[int]
    after_sequence: int
    name: str
    omit_previews: bool
    def __init__(self, name: _Optional[str] = ..., after_sequence: _Optional[int] = ..., omit_previews: bool = ...) -> None: ...

class WatchJobsRequest(_message.Message):
    __slots__ = ["omit_previews", "previews_of"]
    OMIT_PREVIEWS_FIELD_NUMBER: _ClassVar[int]
    PREVIEWS_OF_FIELD_NUMBER: _ClassVar[int]
    omit_previews: bool
    previews_of: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, omit_previews: bool = ..., previews_of: _Optional[_Iterable[str]] = ...) -> None: ...

class WatchJobsResponse(_message.Message):
    __slots__ = ["deleted", "event", "job", "listed"]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    LISTED_FIELD_NUMBER: _ClassVar[int]
    deleted: Deleted
    event: JobEvent
    job: str
    listed: Listed
    def __init__(self, job: _Optional[str] = ..., event: _Optional[_Union[JobEvent, _Mapping]] = ..., listed: _Optional[_Union[Listed, _Mapping]] = ..., deleted: _Optional[_Union[Deleted, _Mapping]] = ...) -> None: ...

class WebPage(_message.Message):
    __slots__ = ["port", "url"]
    PORT_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    port: int
    url: str
    def __init__(self, url: _Optional[str] = ..., port: _Optional[int] = ...) -> None: ...

class Color(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class Objective(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class Optimizer(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class Effort(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class Start(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class Precision(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class ImageFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class MemoryMethod(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class JobState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class StopReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class DeviceState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []
