from google.protobuf import duration_pb2 as _duration_pb2
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
DEVICE_STATE_READY: DeviceState
DEVICE_STATE_STARTING: DeviceState
DEVICE_STATE_UNSPECIFIED: DeviceState
EFFORT_DRAFT: Effort
EFFORT_FINE: Effort
EFFORT_STANDARD: Effort
EFFORT_UNSPECIFIED: Effort
IMAGE_FORMAT_JPEG: ImageFormat
IMAGE_FORMAT_PNG: ImageFormat
IMAGE_FORMAT_TIFF: ImageFormat
IMAGE_FORMAT_UNSPECIFIED: ImageFormat
IMAGE_FORMAT_WEBP: ImageFormat
JOB_STATE_CANCELLED: JobState
JOB_STATE_FAILED: JobState
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

class Device(_message.Message):
    __slots__ = ["auto_precision", "description", "memory_bytes", "name", "resident_jobs", "restarts", "state"]
    AUTO_PRECISION_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_JOBS_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    auto_precision: Precision
    description: str
    memory_bytes: int
    name: str
    resident_jobs: int
    restarts: int
    state: DeviceState
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., state: _Optional[_Union[DeviceState, str]] = ..., auto_precision: _Optional[_Union[Precision, str]] = ..., resident_jobs: _Optional[int] = ..., restarts: _Optional[int] = ..., memory_bytes: _Optional[int] = ...) -> None: ...

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

class GetServerInfoRequest(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class GetServerInfoResponse(_message.Message):
    __slots__ = ["accepted_formats", "devices", "limits", "network", "unfinished_jobs", "version"]
    ACCEPTED_FORMATS_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    UNFINISHED_JOBS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    accepted_formats: _containers.RepeatedScalarFieldContainer[ImageFormat]
    devices: _containers.RepeatedCompositeFieldContainer[Device]
    limits: Limits
    network: FeatureNetwork
    unfinished_jobs: int
    version: str
    def __init__(self, version: _Optional[str] = ..., devices: _Optional[_Iterable[_Union[Device, _Mapping]]] = ..., network: _Optional[_Union[FeatureNetwork, _Mapping]] = ..., accepted_formats: _Optional[_Iterable[_Union[ImageFormat, str]]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., unfinished_jobs: _Optional[int] = ...) -> None: ...

class Image(_message.Message):
    __slots__ = ["encoded", "raw"]
    ENCODED_FIELD_NUMBER: _ClassVar[int]
    RAW_FIELD_NUMBER: _ClassVar[int]
    encoded: bytes
    raw: RawPixels
    def __init__(self, encoded: _Optional[bytes] = ..., raw: _Optional[_Union[RawPixels, _Mapping]] = ...) -> None: ...

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

class Job(_message.Message):
    __slots__ = ["bfloat16", "create_time", "device", "end_time", "error", "height", "memory_plan", "name", "network", "progress", "recipe", "start_time", "state", "stop_message", "stop_reason", "width"]
    BFLOAT16_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_PLAN_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STOP_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    STOP_REASON_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    bfloat16: bool
    create_time: _timestamp_pb2.Timestamp
    device: str
    end_time: _timestamp_pb2.Timestamp
    error: _status_pb2.Status
    height: int
    memory_plan: MemoryPlan
    name: str
    network: FeatureNetwork
    progress: Progress
    recipe: Recipe
    start_time: _timestamp_pb2.Timestamp
    state: JobState
    stop_message: str
    stop_reason: StopReason
    width: int
    def __init__(self, name: _Optional[str] = ..., state: _Optional[_Union[JobState, str]] = ..., recipe: _Optional[_Union[Recipe, _Mapping]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., stop_reason: _Optional[_Union[StopReason, str]] = ..., stop_message: _Optional[str] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., network: _Optional[_Union[FeatureNetwork, _Mapping]] = ..., device: _Optional[str] = ..., bfloat16: bool = ..., memory_plan: _Optional[_Union[MemoryPlan, _Mapping]] = ...) -> None: ...

class JobEvent(_message.Message):
    __slots__ = ["job", "preview", "progress", "sequence", "skipped_previews"]
    JOB_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_PREVIEWS_FIELD_NUMBER: _ClassVar[int]
    job: Job
    preview: Preview
    progress: Progress
    sequence: int
    skipped_previews: int
    def __init__(self, sequence: _Optional[int] = ..., job: _Optional[_Union[Job, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., preview: _Optional[_Union[Preview, _Mapping]] = ..., skipped_previews: _Optional[int] = ...) -> None: ...

class JobSpec(_message.Message):
    __slots__ = ["content", "recipe", "regions", "selection", "start_image", "styles", "texture"]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    START_IMAGE_FIELD_NUMBER: _ClassVar[int]
    STYLES_FIELD_NUMBER: _ClassVar[int]
    TEXTURE_FIELD_NUMBER: _ClassVar[int]
    content: Image
    recipe: Recipe
    regions: _containers.RepeatedCompositeFieldContainer[Region]
    selection: Image
    start_image: Image
    styles: _containers.RepeatedCompositeFieldContainer[Style]
    texture: TextureSize
    def __init__(self, content: _Optional[_Union[Image, _Mapping]] = ..., styles: _Optional[_Iterable[_Union[Style, _Mapping]]] = ..., recipe: _Optional[_Union[Recipe, _Mapping]] = ..., start_image: _Optional[_Union[Image, _Mapping]] = ..., texture: _Optional[_Union[TextureSize, _Mapping]] = ..., regions: _Optional[_Iterable[_Union[Region, _Mapping]]] = ..., selection: _Optional[_Union[Image, _Mapping]] = ...) -> None: ...

class LayerWeight(_message.Message):
    __slots__ = ["layer", "weight"]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    layer: str
    weight: float
    def __init__(self, layer: _Optional[str] = ..., weight: _Optional[float] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ["max_evaluations", "max_image_pixels", "max_longest_side", "max_regions", "max_request_bytes", "max_styles", "max_unfinished_jobs"]
    MAX_EVALUATIONS_FIELD_NUMBER: _ClassVar[int]
    MAX_IMAGE_PIXELS_FIELD_NUMBER: _ClassVar[int]
    MAX_LONGEST_SIDE_FIELD_NUMBER: _ClassVar[int]
    MAX_REGIONS_FIELD_NUMBER: _ClassVar[int]
    MAX_REQUEST_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_STYLES_FIELD_NUMBER: _ClassVar[int]
    MAX_UNFINISHED_JOBS_FIELD_NUMBER: _ClassVar[int]
    max_evaluations: int
    max_image_pixels: int
    max_longest_side: int
    max_regions: int
    max_request_bytes: int
    max_styles: int
    max_unfinished_jobs: int
    def __init__(self, max_request_bytes: _Optional[int] = ..., max_image_pixels: _Optional[int] = ..., max_longest_side: _Optional[int] = ..., max_styles: _Optional[int] = ..., max_evaluations: _Optional[int] = ..., max_unfinished_jobs: _Optional[int] = ..., max_regions: _Optional[int] = ...) -> None: ...

class MemoryPlan(_message.Message):
    __slots__ = ["estimated_bytes", "method", "tile_side"]
    ESTIMATED_BYTES_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    TILE_SIDE_FIELD_NUMBER: _ClassVar[int]
    estimated_bytes: int
    method: MemoryMethod
    tile_side: int
    def __init__(self, method: _Optional[_Union[MemoryMethod, str]] = ..., estimated_bytes: _Optional[int] = ..., tile_side: _Optional[int] = ...) -> None: ...

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
    __slots__ = ["content_loss", "device_time", "evaluation", "evaluations", "height", "loss", "scale", "scales", "style_loss", "time_left", "tv_loss", "width"]
    CONTENT_LOSS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_TIME_FIELD_NUMBER: _ClassVar[int]
    EVALUATIONS_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
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
    scale: int
    scales: int
    style_loss: float
    time_left: _duration_pb2.Duration
    tv_loss: float
    width: int
    def __init__(self, evaluation: _Optional[int] = ..., evaluations: _Optional[int] = ..., scale: _Optional[int] = ..., scales: _Optional[int] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., loss: _Optional[float] = ..., content_loss: _Optional[float] = ..., style_loss: _Optional[float] = ..., tv_loss: _Optional[float] = ..., device_time: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., time_left: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RawPixels(_message.Message):
    __slots__ = ["height", "rgba", "width"]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    RGBA_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    height: int
    rgba: bytes
    width: int
    def __init__(self, width: _Optional[int] = ..., height: _Optional[int] = ..., rgba: _Optional[bytes] = ...) -> None: ...

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

class Style(_message.Message):
    __slots__ = ["image", "weight"]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    image: Image
    weight: float
    def __init__(self, image: _Optional[_Union[Image, _Mapping]] = ..., weight: _Optional[float] = ...) -> None: ...

class StylizeRequest(_message.Message):
    __slots__ = ["preview", "spec"]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    preview: PreviewOptions
    spec: JobSpec
    def __init__(self, spec: _Optional[_Union[JobSpec, _Mapping]] = ..., preview: _Optional[_Union[PreviewOptions, _Mapping]] = ...) -> None: ...

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
