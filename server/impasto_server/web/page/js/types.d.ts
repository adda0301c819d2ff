// The messages of the contract as they are in JSON, and the calls. `poe page-contract` writes this file from
// the protos: change them, not this.
//
// No field is required: what has its default is left out. In JSON, a whole number of 64 bits is a string, and
// so are `bytes` (base64), times ("2026-11-27T12:00:00Z"), durations ("1.5s") and field masks
// ("title,recipe.color").

export interface StylizeRequest {
  /** What to paint. Required. */
  spec?: JobSpec;
  /** Which previews to make. */
  preview?: PreviewOptions;
  /** As in CreateJobRequest. */
  requestId?: string;
  /** As in CreateJobRequest. */
  title?: string;
  /** As in CreateJobRequest. */
  priority?: number;
  /** True: the job continues when the caller leaves the stream, and `linger` has no effect. */
  keepRunning?: boolean;
  /**
   * How long the job continues after the caller has left the stream, while nobody watches
   * it: 0 to 600 s. Default 0: it is cancelled at once.
   */
  linger?: string;
}

export interface StylizeResponse {
  /**
   * Something happened to the job.
   * (One of `payload`.)
   */
  event?: JobEvent;
  /**
   * A piece of the finished picture.
   * (One of `payload`.)
   */
  result?: ImageChunk;
}

export interface CreateJobRequest {
  /** What to paint. Required. */
  spec?: JobSpec;
  /** Which previews to make. */
  preview?: PreviewOptions;
  /**
   * Makes the call safe to repeat: a string that the tenant has never used before, such as
   * a UUID. At most 128 characters. The server remembers it as long as it has the job, also
   * after the job is final. Empty: every call creates a job.
   *
   * A repeated request is equal, and returns the existing job, if these are the same:
   * `spec`, `preview`, `title`, `priority`, and what happens when the caller leaves. (A
   * Stylize with `keep_running` is equal to a CreateJob; otherwise `linger` must be the
   * same.) An image is compared by the SHA-256 of its bytes, so it may be sent as `encoded`
   * the first time and named by `sha256` the next. All other fields are compared as sent: a
   * field that is not set differs from a field that is set to its default, and the same
   * pixels in another file format are another image. The request is compared with the
   * original request; changes by UpdateJob do not matter. A request that is not equal is
   * refused with INVALID_ARGUMENT.
   */
  requestId?: string;
  /**
   * A title for people, shown in lists. At most 200 characters, without line breaks and
   * other control characters.
   */
  title?: string;
  /**
   * Among the jobs of one tenant, those with a higher priority go first: -100 to 100.
   * Default 0.
   */
  priority?: number;
}

export interface EstimateJobRequest {
  /** What would be painted. Required. */
  spec?: JobSpec;
}

export interface EstimateJobResponse {
  /** The recipe with which the job would be painted, as in `Job.recipe`. */
  recipe?: Recipe;
  /** Width of the result in pixels. */
  width?: number;
  /** Height of the result in pixels. */
  height?: number;
  /** `Device.name` of the device that would paint the job if it came now. */
  device?: string;
  /** How the largest scale would fit into the memory of that device. */
  memoryPlan?: MemoryPlan;
  /** Estimated time that the device would spend on the job. Not set if it cannot be estimated. */
  deviceTime?: string;
  /**
   * Estimated time until the result, with the jobs that share the device now. Not set if it
   * cannot be estimated.
   */
  timeLeft?: string;
  /** Number of unfinished jobs that share that device, or wait for one; all tenants. */
  otherJobs?: number;
}

export interface GetJobRequest {
  /** `Job.name`. */
  name?: string;
}

export interface ListJobsRequest {
  /** Maximum number of jobs in the answer, 1 to 200; there may be fewer. Default 50. */
  pageSize?: number;
  /** `next_page_token` of the previous page. The states and the title MUST be the same as for that page. */
  pageToken?: string;
  /** Lists only jobs in one of these states. Empty: all jobs. */
  states?: JobState[];
  /**
   * Lists only jobs whose title contains this text, in upper or lower case. At most 200
   * characters. Empty: all jobs. It MUST be the same as for the previous page.
   */
  title?: string;
}

export interface ListJobsResponse {
  /** The jobs, without `spec`. */
  jobs?: Job[];
  /** The `page_token` of the next page; empty after the last page. */
  nextPageToken?: string;
}

export interface UpdateJobRequest {
  /**
   * `name` is the job to change. Of the other fields, those that `update_mask` names are
   * used.
   */
  job?: Job;
  /** The fields to change. Required. */
  updateMask?: string;
}

export interface PauseJobRequest {
  /** `Job.name`. */
  name?: string;
}

export interface ResumeJobRequest {
  /** `Job.name`. */
  name?: string;
}

export interface CancelJobRequest {
  /** `Job.name`. */
  name?: string;
}

export interface DeleteJobRequest {
  /** `Job.name`. */
  name?: string;
}

export interface WatchJobRequest {
  /** `Job.name`. */
  name?: string;
  /** `JobEvent.sequence` of the last event that the caller has. 0: it has none. */
  afterSequence?: string;
  /** True: sends no previews on this stream. */
  omitPreviews?: boolean;
}

export interface WatchJobsRequest {
  /** True: sends no previews on this stream. */
  omitPreviews?: boolean;
  /** `Job.name` of the jobs whose previews are sent. Empty: those of all jobs. At most 200. */
  previewsOf?: string[];
}

export interface WatchJobsResponse {
  /** `Job.name` of the job that the event belongs to; empty if it belongs to none. */
  job?: string;
  /**
   * Something happened to the job.
   * (One of `payload`.)
   */
  event?: JobEvent;
  /**
   * All jobs that were unfinished at the beginning have been sent.
   * (One of `payload`.)
   */
  listed?: Listed;
  /**
   * The job was deleted.
   * (One of `payload`.)
   */
  deleted?: Deleted;
}

/** All jobs that were unfinished at the beginning of a stream have been sent. */
export interface Listed {
}

/** The job does not exist any more. */
export interface Deleted {
}

export interface GetPreviewRequest {
  /** `Job.name`. */
  name?: string;
  /** `GetPreviewResponse.sequence` of the preview that the caller has. 0: it has none. */
  afterSequence?: string;
  /** How long to wait for a newer preview, 0 to 60 s. Default 0. */
  wait?: string;
}

export interface GetPreviewResponse {
  /** The job as it is now. */
  job?: Job;
  /** The newest preview, if it is newer than `after_sequence`. */
  preview?: Preview;
  /** The sequence of that preview; without a preview, the request's `after_sequence`. */
  sequence?: string;
}

export interface UploadImageRequest {
  /**
   * SHA-256 of the whole image, 64 lower-case hexadecimal digits. Required in the first
   * message, ignored in the others.
   */
  sha256?: string;
  /**
   * Length of the whole image in bytes. Required in the first message, ignored in the
   * others.
   */
  sizeBytes?: string;
  /** Position of `data` in the whole, in bytes. */
  offset?: string;
  /** A piece of the image, at most 4 MiB. 256 KiB is a good length. */
  data?: string;
}

export interface UploadImagePieceRequest {
  /** SHA-256 of the whole image, 64 lower-case hexadecimal digits. Required. */
  sha256?: string;
  /** Length of the whole image in bytes. Required. */
  sizeBytes?: string;
  /** Position of `data` in the whole, in bytes. */
  offset?: string;
  /** A piece of the image, at most 4 MiB. */
  data?: string;
}

export interface UploadImageResponse {
  /**
   * How many bytes of the image the server has; `size_bytes` of the request once it is
   * complete.
   */
  committedBytes?: string;
  /** True: the image is complete, and jobs can name it by its digest. */
  complete?: boolean;
}

export interface DownloadImageRequest {
  /**
   * `Job.name` of a job: its result.
   * (One of `source`.)
   */
  resultOf?: string;
  /**
   * `Job.name` of a job that is not final: its newest preview.
   * (One of `source`.)
   */
  previewOf?: string;
  /**
   * SHA-256 of an image that was uploaded or sent with a job: the file as it was sent. An
   * image that was sent as raw pixels comes as a PNG.
   * (One of `source`.)
   */
  sha256?: string;
  /**
   * Format of a result; the default is the format in which it is stored. MUST NOT be set
   * for previews and images. TIFF has as many bits per channel as the stored result. JPEG
   * has no alpha: transparent pixels are laid over white.
   */
  format?: ImageFormat;
  /** The byte to start from. Default 0. */
  offset?: string;
  /**
   * Reduces the picture so that its longer side has at most this many pixels, 16 to 2,048;
   * a smaller picture is not enlarged. 0: the picture as it is. For results and images. The
   * format can then be PNG, JPEG or WebP, also for images; the default is JPEG.
   */
  maxSide?: number;
}

export interface CreateImageLinksRequest {
  /** The pictures, at most 200. `offset` MUST NOT be set. */
  sources?: DownloadImageRequest[];
  /** How long the addresses are valid, 1 s to 1 day. Default 15 minutes. */
  lifetime?: string;
}

export interface CreateImageLinksResponse {
  /** The addresses, in the order of the request. */
  links?: ImageLink[];
  /** When they expire. */
  expireTime?: string;
}

/** An address from which a picture can be loaded. */
export interface ImageLink {
  /**
   * Relative to the address of the server's page, such as "images/…". "?download=NAME" can be
   * added: a browser then saves the picture under this name.
   */
  path?: string;
}

export interface ListStylesRequest {
  /** Maximum number of styles in the answer, 1 to 50; there may be fewer. Default 50. */
  pageSize?: number;
  /** `next_page_token` of the previous page. */
  pageToken?: string;
}

export interface ListStylesResponse {
  /** The styles. */
  styles?: NamedStyle[];
  /** The `page_token` of the next page; empty after the last page. */
  nextPageToken?: string;
}

/** A style that the server offers by name. */
export interface NamedStyle {
  /** "styles/" and an identifier: lower-case letters, digits and hyphens. */
  name?: string;
  /** A title for people. */
  title?: string;
  /** Width in pixels. */
  width?: number;
  /** Height in pixels. */
  height?: number;
  /** A JPEG of at most 16 KiB; its longer side has at most 128 pixels. */
  thumbnail?: string;
}

/** What to paint: the images and the recipe. */
export interface JobSpec {
  /** The photograph. Required, unless `texture` is set. */
  content?: Image;
  /** The paintings. At least one, at most `Limits.max_styles`. */
  styles?: Style[];
  /** How to paint. */
  recipe?: Recipe;
  /**
   * The picture to start from. Required if `recipe.start` is START_IMAGE, refused
   * otherwise. It is resized to the size of the result, so it should have the proportions
   * of the content.
   */
  startImage?: Image;
  /**
   * Paints a texture of this size instead of a content: only the styles decide what it
   * looks like (Gatys, Ecker, Bethge: Texture Synthesis Using Convolutional Neural
   * Networks, 2015). The recipe's content weight MUST then be 0 or not set.
   */
  texture?: TextureSize;
  /**
   * Which part of the content is painted in which style. Empty: all styles are used
   * everywhere. At most `Limits.max_regions`. Not with a texture.
   */
  regions?: Region[];
  /**
   * The part of the content to paint, as a mask: white marks the area that is painted,
   * black the area that stays as it is; grey is a mixture. Not set: all of the content. The
   * mask is resized to the content. Only the box around the area that is not black, and a
   * margin, is worked on. The mask is read like the masks of a `Region`. Not with a texture.
   *
   * If the result has the size of the content, the samples outside the selection are
   * exactly those of the content. A content with more than 8 bits per channel then gives a
   * result with 16.
   */
  selection?: Image;
  /**
   * Format in which the result is stored: IMAGE_FORMAT_PNG (8 bits per channel) or
   * IMAGE_FORMAT_PNG_16 (16 bits per channel). Default IMAGE_FORMAT_PNG. DownloadImage
   * can convert the result to other formats.
   */
  resultFormat?: ImageFormat;
}

/** The size of a texture. */
export interface TextureSize {
  /** Width in pixels, 16 to `Limits.max_longest_side`. */
  width?: number;
  /** Height in pixels, 16 to `Limits.max_longest_side`. */
  height?: number;
}

/**
 * A part of the content that takes its style from one painting, or from a part
 * of it (Gatys et al.: Controlling Perceptual Factors in Neural Style Transfer,
 * CVPR 2017, section 4).
 *
 * White marks the area that a mask selects, black the rest; grey makes soft edges. A mask is
 * resized to its image. Any kind of image can be a mask: its luminance (the Y of BT.601) is
 * computed from the coded values, without its colour profile; transparent pixels are laid
 * over black. A mask that is black everywhere is refused.
 */
export interface Region {
  /** The area of the content. Required. */
  contentMask?: Image;
  /**
   * The style of this area: a position in `JobSpec.styles`, from 0. Several regions may
   * share a style.
   */
  style?: number;
  /** The area of that painting to take the style from. Not set: all of it. */
  styleMask?: Image;
}

/** A picture, given in one of several ways. */
export interface Image {
  /**
   * A file in one of the formats that `GetServerInfoResponse.accepted_formats`
   * lists. It is read as viewers show it: upright, with its alpha, and with the colours
   * that its profile (in a PNG also the chunks cICP, sRGB, gAMA and cHRM) defines. Of
   * several pages or frames, the first is used. Grey, palettes, CMYK, L*a*b* and samples
   * of more than 8 bits are accepted. If a kind of file is not accepted, such as the raw
   * files of cameras, the error names it.
   * (One of `source`.)
   */
  encoded?: string;
  /**
   * Uncompressed pixels, for image editors.
   * (One of `source`.)
   */
  raw?: RawPixels;
  /**
   * SHA-256 of an image that this tenant has uploaded or sent with a job, 64 lower-case
   * hexadecimal digits. For raw pixels, use the digest that `Job.spec` shows.
   * (One of `source`.)
   */
  sha256?: string;
  /**
   * `NamedStyle.name` of a style that the server offers. It can be used for any image,
   * not only for styles.
   * (One of `source`.)
   */
  style?: string;
}

/** Uncompressed pixels: sRGB with straight (not premultiplied) alpha. */
export interface RawPixels {
  /** Width in pixels, at least 1. */
  width?: number;
  /** Height in pixels, at least 1. */
  height?: number;
  /**
   * The rows from top to bottom, each pixel as R, G, B, A: 4 · width · height bytes; twice
   * as many with 16 bits per channel.
   */
  rgba?: string;
  /** Bits of each sample: 8, or 16 with the lower byte first. 0 means the default, 8. */
  bitsPerChannel?: number;
}

/** A painting from which the style is taken. */
export interface Style {
  /** The painting. Required. */
  image?: Image;
  /** Its share in proportion to the shares of the other styles, greater than 0. Default 1. */
  weight?: number;
}

/** All settings of how a picture is painted. Every field has a default. */
export interface Recipe {
  /**
   * The formula (loss) that is minimised. Default OBJECTIVE_NEIGHBOURS. Several of the
   * defaults below depend on it.
   */
  objective?: Objective;
  /**
   * Weight of the content, at least 0: a larger weight keeps more of the photograph. It
   * multiplies the content loss. OBJECTIVE_NEIGHBOURS has no content loss; a larger weight
   * gives the content a larger share in the search for the nearest places. Default: report
   * 1; with the others, `Job.recipe` shows it.
   */
  contentWeight?: number;
  /**
   * Weight of the style loss, at least 0. The weights of content and style MUST NOT both be
   * 0; with OBJECTIVE_NEIGHBOURS, this weight MUST NOT be 0. Default: balanced, wasserstein
   * and neighbours 1, report 100; with gatys, `Job.recipe` shows it.
   */
  styleWeight?: number;
  /**
   * Weight of the total variation, at least 0: a larger weight gives smoother areas. Default
   * 0; neighbours 0.005.
   */
  tvWeight?: number;
  /** The method that minimises the loss. Default: OPTIMIZER_LBFGS; report OPTIMIZER_ADAM. */
  optimizer?: Optimizer;
  /**
   * Step length of the optimiser, greater than 0, at most 100. Default: 1 with L-BFGS;
   * with Adam 0.05, report 0.003 (in units of the normalised image).
   */
  learningRate?: number;
  /**
   * A named amount of work. Default EFFORT_STANDARD.
   * (One of `duration`.)
   */
  effort?: Effort;
  /**
   * The number of evaluations of all scales together, 1 to 100,000.
   * (One of `duration`.)
   */
  evaluations?: number;
  /**
   * Longer side of the result in pixels, 16 to `Limits.max_longest_side`. The
   * result has the content's proportions. Default: the content's own longer
   * side, but at most 512 (report: 400).
   */
  longestSide?: number;
  /**
   * The image that the painting starts from. Default START_CONTENT; for a texture
   * START_NOISE.
   */
  start?: Start;
  /**
   * Seed of all random numbers. The same request with the same seed gives the same picture
   * on the same machine. Default 0.
   */
  seed?: number;
  /**
   * Arithmetic of the feature network. Default PRECISION_AUTO. The image, the losses and
   * the optimiser always use float32.
   */
  precision?: Precision;
  /**
   * Size of the styles' strokes in proportion to the content, 0.1 to 4: at 2 they are
   * twice as large. Default 1: a style is scaled to as many pixels as the content has, but
   * never enlarged. Not with report.
   */
  styleScale?: number;
  /**
   * Whether the result has the colours of the styles or of the content. Default
   * COLOR_STYLE.
   */
  color?: Color;
  /**
   * Layers at which the content is compared. Empty: the objective's own. Not with report
   * and neighbours.
   */
  contentLayers?: LayerWeight[];
  /**
   * Layers at which the style is compared. Empty: the objective's own. Not with report
   * and neighbours.
   */
  styleLayers?: LayerWeight[];
  /**
   * With Adam: the weight of earlier images in a moving average, 0 (no average) to 0.9999.
   * The picture is this average, which has less noise than the newest image. Default: Adam
   * 0.99, report 0. No effect with L-BFGS.
   */
  averaging?: number;
  /**
   * Whether a scale ends early when its loss has almost stopped falling. Default true;
   * report false.
   */
  stopOnPlateau?: boolean;
}

/** A layer of the feature network, and its share in a loss. */
export interface LayerWeight {
  /** Name of the layer: "relu1_1", "relu1_2", "relu2_1", … up to "relu5_1". */
  layer?: string;
  /** Share of the layer, greater than 0, in proportion to the sum of all shares. */
  weight?: number;
}

/** Which previews are made. */
export interface PreviewOptions {
  /** True: no previews are made. */
  disabled?: boolean;
  /** Format of the previews: PNG, JPEG or WebP. Default IMAGE_FORMAT_JPEG. */
  format?: ImageFormat;
  /**
   * Maximum longer side in pixels, 16 to 2,048. Default 512. A preview is never larger
   * than the scale that is being painted.
   */
  maxSide?: number;
  /**
   * Maximum size in bytes, 4,096 to 524,288. Default 98,304. To fit, a preview is compressed
   * more or made smaller.
   */
  maxBytes?: number;
  /**
   * Shortest time between two previews, 0.1 s to 60 s. Default 0.25 s. Previews are made only
   * while someone watches the job or waits in GetPreview.
   */
  minInterval?: string;
}

/** A request that the server has accepted and stored. */
export interface Job {
  /** Name of the job: "jobs/" and an identifier that cannot be guessed. */
  name?: string;
  /** State of the job. */
  state?: JobState;
  /**
   * The recipe with which the job is painted, with all defaults filled in. `effort` is never
   * set: `evaluations` is set instead, and is never less than the number of evaluations that
   * are made. `content_layers` and `style_layers` are empty if the objective's own layers are
   * used. `precision` can be PRECISION_AUTO until the job first gets a device.
   */
  recipe?: Recipe;
  /** Width of the result in pixels. */
  width?: number;
  /** Height of the result in pixels. */
  height?: number;
  /** The newest progress. Not set until there is some. */
  progress?: Progress;
  /**
   * Why the job failed. Set in state FAILED only. A job that needs more memory than its
   * device has fails with RESOURCE_EXHAUSTED and a BadRequest that names the fields to
   * reduce.
   */
  error?: Status;
  /** Why the optimisation ended. Set in final states if work had begun. */
  stopReason?: StopReason;
  /** `stop_reason` in a sentence for people. */
  stopMessage?: string;
  /** When the server accepted the job. */
  createTime?: string;
  /** When the job first got a device. Not set before that. */
  startTime?: string;
  /** When the job reached a final state. */
  endTime?: string;
  /** The feature network with which the job is painted. Set once work has begun. */
  network?: FeatureNetwork;
  /** `Device.name` of the device that paints the job. Set once work has begun. */
  device?: string;
  /** True if the feature network runs in bfloat16. */
  bfloat16?: boolean;
  /** How the largest scale fits into the memory of the device. Set once work has begun. */
  memoryPlan?: MemoryPlan;
  /** Which previews are made. */
  preview?: PreviewOptions;
  /** As in CreateJobRequest. */
  priority?: number;
  /** As in CreateJobRequest. */
  title?: string;
  /** While QUEUED: the place of the job among the tenant's queued jobs, from 1. */
  queuePosition?: number;
  /** The result. Set in state SUCCEEDED. */
  result?: ImageInfo;
  /**
   * The specification of the job, without the recipe. Each image is named by its SHA-256.
   * Set in the answer of GetJob only.
   */
  spec?: JobSpec;
  /**
   * When a final job will be deleted; sooner if the server needs the space. Set in the
   * answers of GetJob, ListJobs, UpdateJob, PauseJob, ResumeJob and CancelJob.
   */
  expireTime?: string;
  /**
   * True: an administrator holds the job. It is PAUSED, and ResumeJob is refused, until the
   * administrator releases it.
   */
  held?: boolean;
}

/** How an evaluation fits into the memory of the device. */
export interface MemoryPlan {
  /** The method that saves memory. */
  method?: MemoryMethod;
  /** Estimated peak memory of the job in bytes, without the network. */
  estimatedBytes?: string;
  /** Side of a tile in pixels, without its overlap. Set with MEMORY_METHOD_TILED. */
  tileSide?: number;
}

/** Something that happened to a job. */
export interface JobEvent {
  /**
   * Grows by at least 1 from event to event of one job, also across restarts of the server.
   * A heartbeat and a resume have the sequence of the previous event. Below 2^53.
   */
  sequence?: string;
  /**
   * The job as it is now: sent first, at each change of state and after each UpdateJob.
   * (One of `event`.)
   */
  job?: Job;
  /**
   * Numbers about the painting in progress.
   * (One of `event`.)
   */
  progress?: Progress;
  /**
   * A small picture of the painting in progress.
   * (One of `event`.)
   */
  preview?: Preview;
  /**
   * Nothing else happened for a while; the stream still works.
   * (One of `event`.)
   */
  heartbeat?: Heartbeat;
  /**
   * The last event of a stream that the server ends before the job is final.
   * (One of `event`.)
   */
  resume?: Resume;
  /** How many previews of this stream were replaced by a newer one before they were sent. */
  skippedPreviews?: string;
}

/** The message that is sent when nothing else happens. */
export interface Heartbeat {
}

/** The server ends the stream, not the job. */
export interface Resume {
  /** How long to wait before WatchJob is called again. */
  retryDelay?: string;
}

/** Numbers about a painting in progress, after an evaluation or while a scale is prepared. */
export interface Progress {
  /**
   * Number of evaluations that are made, from 1. While `preparing` is set, those of the
   * previous scales: 0 at the first scale.
   */
  evaluation?: number;
  /** Number of evaluations of the whole job. */
  evaluations?: number;
  /** The scale that is being painted, from 1. Two scales may have the same size. */
  scale?: number;
  /** Number of scales. */
  scales?: number;
  /** Width of this scale in pixels. */
  width?: number;
  /** Height of this scale in pixels. */
  height?: number;
  /**
   * The loss at the last evaluation: the sum of the weighted terms. Comparable within one
   * scale only. 0 before the first evaluation.
   */
  loss?: number;
  /** The content term, without its weight. 0 if the objective has none. */
  contentLoss?: number;
  /** The style term, without its weight. */
  styleLoss?: number;
  /** The total variation, without its weight. */
  tvLoss?: number;
  /** Time that devices have spent on this job. */
  deviceTime?: string;
  /** Estimated time until the result. Not set if it cannot be estimated. */
  timeLeft?: string;
  /**
   * Set while a scale is prepared, before its first evaluation: the share of the preparation
   * that is done, above 0 and below 1. Only some objectives set it, at scales where the
   * preparation takes long.
   */
  preparing?: number;
}

/** A small picture of the painting in progress, without alpha. */
export interface Preview {
  /** The image file. */
  data?: string;
  /** Format of `data`. */
  format?: ImageFormat;
  /** Width in pixels. */
  width?: number;
  /** Height in pixels. */
  height?: number;
  /** The evaluation after which it was made; 0 is the image that the painting started from. */
  evaluation?: number;
  /** The scale at which it was made, from 1. */
  scale?: number;
}

/** A piece of an image file. */
export interface ImageChunk {
  /** Describes the whole image. In the first chunk only. */
  info?: ImageInfo;
  /** Position of `data` in the whole, in bytes. */
  offset?: string;
  /**
   * At most 256 KiB. The image is complete when `offset` plus the length of `data` is
   * `info.size_bytes`.
   */
  data?: string;
}

/** Describes an image file. */
export interface ImageInfo {
  /**
   * Format of the file. A result is a PNG with 8 or 16 bits per channel. It is upright and
   * has the content's alpha and colour profile; its text entry "impasto" says in JSON how
   * it was made.
   */
  format?: ImageFormat;
  /** Width in pixels. */
  width?: number;
  /** Height in pixels. */
  height?: number;
  /** Length of the file in bytes. */
  sizeBytes?: string;
  /** SHA-256 of the file, 64 lower-case hexadecimal digits. */
  sha256?: string;
}

export interface GetServerInfoRequest {
}

export interface GetServerInfoResponse {
  /** Version of the server. */
  version?: string;
  /** Devices of the server. */
  devices?: Device[];
  /** The feature network. Not set until a worker has loaded it. */
  network?: FeatureNetwork;
  /** Formats accepted in `Image.encoded`. */
  acceptedFormats?: ImageFormat[];
  /** Limits of the server. */
  limits?: Limits;
  /** Unfinished jobs, all tenants. */
  unfinishedJobs?: number;
  /**
   * The caller's tenant: the name of its token or certificate. Empty if the server has no
   * tokens.
   */
  tenant?: string;
  /** True: the caller may use the service Admin. */
  administrator?: boolean;
  /** The server's page. Not set if there is none. */
  page?: WebPage;
}

/** The server's page for browsers. */
export interface WebPage {
  /** The address, if the administrator has given one. It ends with "/". */
  url?: string;
  /** Port of the page on the server's host. It has TLS if this server has TLS. */
  port?: number;
}

/** A GPU, or the CPU. */
export interface Device {
  /**
   * Name, unique on the server: "cpu", "cuda:0" or "mps", for example; on a server with
   * several machines "render1/cuda:0".
   */
  name?: string;
  /** Description, such as "NVIDIA H100" or "Intel(R) Xeon(R) Processor, 2 threads". */
  description?: string;
  /** Whether the worker of the device accepts jobs. */
  state?: DeviceState;
  /** What PRECISION_AUTO means on this device. Not set until the worker is ready. */
  autoPrecision?: Precision;
  /** Number of jobs that use memory of the device. */
  residentJobs?: number;
  /** How often the worker was restarted. */
  restarts?: number;
  /** Memory that jobs may use on this device, in bytes. Not set until the worker is ready. */
  memoryBytes?: string;
  /** Name of the machine that has the device. Can be empty until the worker is ready. */
  machine?: string;
}

/** The convolutional network whose features are compared. */
export interface FeatureNetwork {
  /** Architecture: "vgg19" or "vgg16". */
  architecture?: string;
  /** Name of the weights: "vgg19", "builtin", or the name of a file. */
  weights?: string;
  /** Origin and licence of the weights, in a sentence. */
  origin?: string;
  /** SHA-256 of the file with the weights, 64 lower-case hexadecimal digits. */
  sha256?: string;
}

/** Limits of a server. Requests beyond them are refused. */
export interface Limits {
  /** Maximum size of a request in bytes. */
  maxRequestBytes?: string;
  /** Maximum number of pixels of an image in a request, width times height. */
  maxImagePixels?: string;
  /** Maximum of `Recipe.longest_side` in pixels. */
  maxLongestSide?: number;
  /** Maximum number of styles of a job. */
  maxStyles?: number;
  /** Maximum of `Recipe.evaluations`. */
  maxEvaluations?: number;
  /** Maximum unfinished jobs, all tenants. */
  maxUnfinishedJobs?: number;
  /** Maximum number of regions of a job. */
  maxRegions?: number;
  /** Maximum size of an uploaded image in bytes. */
  maxUploadBytes?: string;
  /** Maximum unfinished jobs per tenant. */
  maxUnfinishedJobsOfTenant?: number;
  /**
   * Maximum size in bytes of the images, uploads and results that are kept for one tenant,
   * including the future results of its unfinished jobs. 0: only the disk is the limit.
   */
  maxStoredBytesOfTenant?: string;
}

export interface GetStatusRequest {
}

export interface WatchStatusRequest {
  /** Time between two messages, 0.5 s to 60 s. Default 2 s. */
  interval?: string;
}

/** The state of a server. */
export interface ServerStatus {
  /** When the state was taken. */
  time?: string;
  /** Version of the server. */
  version?: string;
  /** When the server was started. */
  startTime?: string;
  /** The devices, ordered by name. */
  devices?: DeviceStatus[];
  /**
   * The tenants that have a token, unfinished jobs, or device time since the server was
   * started; ordered by name.
   */
  tenants?: TenantStatus[];
  /** Unfinished jobs by state, all tenants. */
  queuedJobs?: number;
  /** See `queued_jobs`. */
  runningJobs?: number;
  /** See `queued_jobs`. Held jobs are among them. */
  pausedJobs?: number;
  /**
   * How long the job that has waited longest for its first device has waited. Not set if
   * none waits.
   */
  longestWait?: string;
  /** Open calls that stream or wait, all tenants. */
  openStreams?: number;
  /** Memory of the process that answers the calls, in bytes. 0: not known. */
  memoryBytes?: string;
  /** Size of everything that is stored, in bytes. */
  storedBytes?: string;
  /** Free space on the disk of the data folder, in bytes. */
  freeDiskBytes?: string;
  /** What is wrong with the server as a whole, in a sentence; empty if nothing is. */
  trouble?: string;
  /**
   * The newest errors, at most 20, the newest first: jobs that failed, and workers that died
   * since the server was started.
   */
  recentErrors?: RecentError[];
}

/** A device and what it does. */
export interface DeviceStatus {
  /** The device. */
  device?: Device;
  /** Share of the last minute that the device spent on evaluations, 0 to 1. */
  load?: number;
  /** Memory that the jobs on it use by estimate, in bytes. */
  usedMemoryBytes?: string;
  /** `Job.name` of the jobs on it. */
  jobs?: string[];
  /** Evaluations per second in the last minute. */
  evaluationsPerSecond?: number;
}

/** A tenant and what it uses. */
export interface TenantStatus {
  /** Name; empty for the only tenant of a server without tokens. */
  name?: string;
  /** Share of device time relative to other tenants. */
  weight?: number;
  /** Unfinished jobs by state. */
  queuedJobs?: number;
  /** See `queued_jobs`. */
  runningJobs?: number;
  /** See `queued_jobs`. */
  pausedJobs?: number;
  /** Device time since the server was started. */
  deviceTime?: string;
  /** Share of all device time of the last minute, 0 to 1. */
  recentShare?: number;
  /** Size of its stored images, uploads and results, in bytes. */
  storedBytes?: string;
  /** True: its token has the right of an administrator. */
  administrator?: boolean;
}

/** An error that happened on the server. */
export interface RecentError {
  /** When it happened. */
  time?: string;
  /** What happened, in a sentence. */
  message?: string;
  /** `Job.name` of the job that failed; empty if it was no job. */
  job?: string;
  /** Tenant of the job. */
  tenant?: string;
  /** `Device.name` of the device, if there was one. */
  device?: string;
}

export interface ListAllJobsRequest {
  /** Maximum number of jobs in the answer, 1 to 200; there may be fewer. Default 50. */
  pageSize?: number;
  /**
   * `next_page_token` of the previous page. The other fields MUST be the same as for that
   * page.
   */
  pageToken?: string;
  /** Lists only jobs in one of these states. Empty: all jobs. */
  states?: JobState[];
  /** Lists only the jobs of this tenant. Not set: those of all tenants. */
  tenant?: string;
}

export interface ListAllJobsResponse {
  /** The jobs. */
  jobs?: TenantJob[];
  /** The `page_token` of the next page; empty after the last page. */
  nextPageToken?: string;
}

/** A job and its owner. */
export interface TenantJob {
  /** The owner. */
  tenant?: string;
  /** The job, without `spec`. */
  job?: Job;
}

export interface CancelAnyJobRequest {
  /** `Job.name`. */
  name?: string;
}

export interface PauseAnyJobRequest {
  /** `Job.name`. */
  name?: string;
}

export interface ResumeAnyJobRequest {
  /** `Job.name`. */
  name?: string;
}

export interface HoldJobRequest {
  /** `Job.name`. */
  name?: string;
}

export interface ReleaseJobRequest {
  /** `Job.name`. */
  name?: string;
}

/**
 * The `Status` type defines a logical error model that is suitable for
 * different programming environments, including REST APIs and RPC APIs. It is
 * used by [gRPC](https://github.com/grpc). Each `Status` message contains
 * three pieces of data: error code, error message, and error details.
 *
 * You can find out more about this error model and how to work with it in the
 * [API Design Guide](https://cloud.google.com/apis/design/errors).
 */
export interface Status {
  /**
   * The status code, which should be an enum value of
   * [google.rpc.Code][google.rpc.Code].
   */
  code?: number;
  /**
   * A developer-facing error message, which should be in English. Any
   * user-facing error message should be localized and sent in the
   * [google.rpc.Status.details][google.rpc.Status.details] field, or localized
   * by the client.
   */
  message?: string;
  /**
   * A list of messages that carry the error details.  There is a common set of
   * message types for APIs to use.
   */
  details?: { "@type": string, [field: string]: unknown }[];
}

/**
 * Whether the result has the colours of the styles or of the content.
 *
 *   COLOR_UNSPECIFIED: The default: COLOR_STYLE.
 *   COLOR_STYLE: The colours of the styles.
 *   COLOR_LUMINANCE: The colours of the content: only the lightness is painted, and the content's chroma is
 * put back (Gatys et al. 2017, section 5.1).
 *   COLOR_MATCHED: The colours of the content: before painting, the mean and covariance of the styles'
 * colours are matched to those of the content (Gatys et al. 2017, section 5.2).
 */
export type Color =
  | "COLOR_UNSPECIFIED"
  | "COLOR_STYLE"
  | "COLOR_LUMINANCE"
  | "COLOR_MATCHED";

/**
 * The formula (loss) that is minimised.
 *
 *   OBJECTIVE_UNSPECIFIED: The default: OBJECTIVE_NEIGHBOURS.
 *   OBJECTIVE_BALANCED: Content and style loss as Gatys, but each term is a relative error, so that a weight
 * means the same at every size and for every network. The content is compared at relu4_2,
 * the style at relu1_1 … relu5_1.
 *   OBJECTIVE_GATYS: Equations 1 to 7 of Gatys, Ecker, Bethge: Image Style Transfer Using Convolutional
 * Neural Networks, CVPR 2016.
 *   OBJECTIVE_REPORT: Exactly the method of the course report that this project grew out of: Adam, starting
 * from the content, at one size, with mean squared errors at five layers and Gram matrices
 * that are not normalised.
 *   OBJECTIVE_WASSERSTEIN: As balanced, but the means and covariances of the features are compared by the
 * Wasserstein-2 distance of two normal distributions.
 *   OBJECTIVE_NEIGHBOURS: Makes each place of the picture look like the most similar place of a painting (Kolkin
 * et al.: Neural Neighbor Style Transfer, 2022, arXiv 2203.13215). The most similar places
 * are found at the beginning of each scale, by comparing features. For this comparison, the
 * picture so far and the content are mixed; the content has the share w / (w + a constant),
 * where w is `Recipe.content_weight`. There is no content term. A last pass at the largest
 * size makes the strokes crisp; it counts as a scale. It finds the most similar places for
 * each layer separately, and for the picture alone. A draft of more than about 500 pixels
 * has no last pass.
 */
export type Objective =
  | "OBJECTIVE_UNSPECIFIED"
  | "OBJECTIVE_BALANCED"
  | "OBJECTIVE_GATYS"
  | "OBJECTIVE_REPORT"
  | "OBJECTIVE_WASSERSTEIN"
  | "OBJECTIVE_NEIGHBOURS";

/**
 * The method that minimises the loss.
 *
 *   OPTIMIZER_UNSPECIFIED: The default of the objective.
 *   OPTIMIZER_ADAM: Adam (Kingma, Ba 2015).
 *   OPTIMIZER_LBFGS: L-BFGS (Liu, Nocedal 1989).
 */
export type Optimizer =
  | "OPTIMIZER_UNSPECIFIED"
  | "OPTIMIZER_ADAM"
  | "OPTIMIZER_LBFGS";

/**
 * An amount of work by name. The number of evaluations depends on the objective;
 * `Job.recipe` shows it.
 *
 *   EFFORT_UNSPECIFIED: The default: EFFORT_STANDARD.
 *   EFFORT_DRAFT: A quick look, with at most half the work of EFFORT_STANDARD.
 *   EFFORT_STANDARD: A good picture.
 *   EFFORT_FINE: The best quality, with at least two and a half times the work of EFFORT_STANDARD.
 */
export type Effort =
  | "EFFORT_UNSPECIFIED"
  | "EFFORT_DRAFT"
  | "EFFORT_STANDARD"
  | "EFFORT_FINE";

/**
 * The image that the painting starts from.
 *
 *   START_UNSPECIFIED: The default: START_CONTENT.
 *   START_CONTENT: The content image.
 *   START_NOISE: White noise.
 *   START_IMAGE: `JobSpec.start_image`.
 */
export type Start =
  | "START_UNSPECIFIED"
  | "START_CONTENT"
  | "START_NOISE"
  | "START_IMAGE";

/**
 * Arithmetic of the feature network.
 *
 *   PRECISION_UNSPECIFIED: The default: PRECISION_AUTO.
 *   PRECISION_AUTO: The precision that was faster on the server's device when the server measured it at its
 * start. OBJECTIVE_REPORT: float32.
 *   PRECISION_FLOAT32: 32-bit floats.
 *   PRECISION_BFLOAT16: bfloat16 activations and weights, float32 losses. Needs half the memory.
 */
export type Precision =
  | "PRECISION_UNSPECIFIED"
  | "PRECISION_AUTO"
  | "PRECISION_FLOAT32"
  | "PRECISION_BFLOAT16";

/**
 * The format of an image.
 *
 *   IMAGE_FORMAT_UNSPECIFIED: In a request: the default. In an answer: not known.
 *   IMAGE_FORMAT_PNG: PNG.
 *   IMAGE_FORMAT_JPEG: JPEG.
 *   IMAGE_FORMAT_WEBP: WebP.
 *   IMAGE_FORMAT_TIFF: TIFF.
 *   IMAGE_FORMAT_RGBA8: Uncompressed: the rows from top to bottom, each pixel as R, G, B, A with 8 bits per
 * sample, sRGB, straight alpha. For DownloadImage only.
 *   IMAGE_FORMAT_PNG_16: PNG with 16 bits per channel. For results only.
 *   IMAGE_FORMAT_RGBA16: As IMAGE_FORMAT_RGBA8, with 16 bits per sample, the lower byte first. For
 * DownloadImage only.
 */
export type ImageFormat =
  | "IMAGE_FORMAT_UNSPECIFIED"
  | "IMAGE_FORMAT_PNG"
  | "IMAGE_FORMAT_JPEG"
  | "IMAGE_FORMAT_WEBP"
  | "IMAGE_FORMAT_TIFF"
  | "IMAGE_FORMAT_RGBA8"
  | "IMAGE_FORMAT_PNG_16"
  | "IMAGE_FORMAT_RGBA16";

/**
 * A method that saves memory. The results of all methods are the same, except for rounding.
 *
 *   MEMORY_METHOD_UNSPECIFIED: Not known.
 *   MEMORY_METHOD_PLAIN: None. The fastest.
 *   MEMORY_METHOD_RECOMPUTED: No longer used. Some features were computed twice instead of being kept.
 *   MEMORY_METHOD_TILED: The image is evaluated tile by tile, in two passes, with the exact gradient.
 */
export type MemoryMethod =
  | "MEMORY_METHOD_UNSPECIFIED"
  | "MEMORY_METHOD_PLAIN"
  | "MEMORY_METHOD_RECOMPUTED"
  | "MEMORY_METHOD_TILED";

/**
 * The state of a job: QUEUED → RUNNING → SUCCEEDED, FAILED or CANCELLED. PauseJob makes a job
 * PAUSED, ResumeJob makes it QUEUED again. A running job also returns to QUEUED when its worker
 * dies and when it makes room for other jobs. Its work is kept in all these cases.
 *
 *   JOB_STATE_UNSPECIFIED: Never sent.
 *   JOB_STATE_QUEUED: Accepted; waiting for a device.
 *   JOB_STATE_RUNNING: Being painted on a device.
 *   JOB_STATE_PAUSED: Paused by PauseJob; waiting for ResumeJob.
 *   JOB_STATE_SUCCEEDED: Final: the result can be downloaded.
 *   JOB_STATE_FAILED: Final: `Job.error` says why.
 *   JOB_STATE_CANCELLED: Final: someone cancelled it.
 */
export type JobState =
  | "JOB_STATE_UNSPECIFIED"
  | "JOB_STATE_QUEUED"
  | "JOB_STATE_RUNNING"
  | "JOB_STATE_PAUSED"
  | "JOB_STATE_SUCCEEDED"
  | "JOB_STATE_FAILED"
  | "JOB_STATE_CANCELLED";

/**
 * Why an optimisation ended.
 *
 *   STOP_REASON_UNSPECIFIED: It has not ended.
 *   STOP_REASON_COMPLETED: All evaluations were made.
 *   STOP_REASON_CONVERGED: The optimiser could not improve the image any more; the result is the best image.
 *   STOP_REASON_NOT_FINITE: The loss became infinite or not a number and could not be brought back; the
 * result is the best image before that.
 *   STOP_REASON_CANCELLED: The job was cancelled.
 *   STOP_REASON_PLATEAU: The loss had almost stopped falling.
 */
export type StopReason =
  | "STOP_REASON_UNSPECIFIED"
  | "STOP_REASON_COMPLETED"
  | "STOP_REASON_CONVERGED"
  | "STOP_REASON_NOT_FINITE"
  | "STOP_REASON_CANCELLED"
  | "STOP_REASON_PLATEAU";

/**
 * Whether the worker of a device accepts jobs.
 *
 *   DEVICE_STATE_UNSPECIFIED: Never sent.
 *   DEVICE_STATE_STARTING: The worker is starting or restarting, or does not answer. Jobs wait.
 *   DEVICE_STATE_READY: The worker accepts jobs.
 *   DEVICE_STATE_DRAINING: The worker accepts no more jobs, and its jobs move to other devices: an administrator
 * takes its machine out of use, or the server needs fewer devices.
 */
export type DeviceState =
  | "DEVICE_STATE_UNSPECIFIED"
  | "DEVICE_STATE_STARTING"
  | "DEVICE_STATE_READY"
  | "DEVICE_STATE_DRAINING";

/** Calls with one answer, by their name in `connect.js`. */
export interface UnaryCalls {
  CreateJob: { request: CreateJobRequest; response: Job };
  EstimateJob: { request: EstimateJobRequest; response: EstimateJobResponse };
  GetJob: { request: GetJobRequest; response: Job };
  ListJobs: { request: ListJobsRequest; response: ListJobsResponse };
  UpdateJob: { request: UpdateJobRequest; response: Job };
  PauseJob: { request: PauseJobRequest; response: Job };
  ResumeJob: { request: ResumeJobRequest; response: Job };
  CancelJob: { request: CancelJobRequest; response: Job };
  DeleteJob: { request: DeleteJobRequest; response: Record<string, never> };
  GetPreview: { request: GetPreviewRequest; response: GetPreviewResponse };
  UploadImagePiece: { request: UploadImagePieceRequest; response: UploadImageResponse };
  CreateImageLinks: { request: CreateImageLinksRequest; response: CreateImageLinksResponse };
  ListStyles: { request: ListStylesRequest; response: ListStylesResponse };
  GetServerInfo: { request: GetServerInfoRequest; response: GetServerInfoResponse };
  "Admin/GetStatus": { request: GetStatusRequest; response: ServerStatus };
  "Admin/ListAllJobs": { request: ListAllJobsRequest; response: ListAllJobsResponse };
  "Admin/CancelAnyJob": { request: CancelAnyJobRequest; response: TenantJob };
  "Admin/PauseAnyJob": { request: PauseAnyJobRequest; response: TenantJob };
  "Admin/ResumeAnyJob": { request: ResumeAnyJobRequest; response: TenantJob };
  "Admin/HoldJob": { request: HoldJobRequest; response: TenantJob };
  "Admin/ReleaseJob": { request: ReleaseJobRequest; response: TenantJob };
}

/** Calls that stream their answers. */
export interface StreamCalls {
  Stylize: { request: StylizeRequest; response: StylizeResponse };
  WatchJob: { request: WatchJobRequest; response: JobEvent };
  WatchJobs: { request: WatchJobsRequest; response: WatchJobsResponse };
  DownloadImage: { request: DownloadImageRequest; response: ImageChunk };
  "Admin/WatchStatus": { request: WatchStatusRequest; response: ServerStatus };
}
