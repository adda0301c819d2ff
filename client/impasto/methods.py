"""The methods of the service."""

from __future__ import annotations

from google.protobuf.empty_pb2 import Empty

from impasto.transport import Method
from impasto.v1 import style_transfer_pb2 as pb

_SERVICE = "/impasto.v1.StyleTransfer/"
STYLIZE = Method(_SERVICE + "Stylize", pb.StylizeRequest, pb.StylizeResponse)
CREATE_JOB = Method(_SERVICE + "CreateJob", pb.CreateJobRequest, pb.Job)
ESTIMATE_JOB = Method(_SERVICE + "EstimateJob", pb.EstimateJobRequest, pb.EstimateJobResponse)
GET_JOB = Method(_SERVICE + "GetJob", pb.GetJobRequest, pb.Job)
LIST_JOBS = Method(_SERVICE + "ListJobs", pb.ListJobsRequest, pb.ListJobsResponse)
UPDATE_JOB = Method(_SERVICE + "UpdateJob", pb.UpdateJobRequest, pb.Job)
PAUSE_JOB = Method(_SERVICE + "PauseJob", pb.PauseJobRequest, pb.Job)
RESUME_JOB = Method(_SERVICE + "ResumeJob", pb.ResumeJobRequest, pb.Job)
CANCEL_JOB = Method(_SERVICE + "CancelJob", pb.CancelJobRequest, pb.Job)
DELETE_JOB = Method(_SERVICE + "DeleteJob", pb.DeleteJobRequest, Empty)
WATCH_JOB = Method(_SERVICE + "WatchJob", pb.WatchJobRequest, pb.JobEvent)
WATCH_JOBS = Method(_SERVICE + "WatchJobs", pb.WatchJobsRequest, pb.WatchJobsResponse)
GET_PREVIEW = Method(_SERVICE + "GetPreview", pb.GetPreviewRequest, pb.GetPreviewResponse)
UPLOAD_IMAGE = Method(_SERVICE + "UploadImage", pb.UploadImageRequest, pb.UploadImageResponse)
CREATE_IMAGE_LINKS = Method(
    _SERVICE + "CreateImageLinks", pb.CreateImageLinksRequest, pb.CreateImageLinksResponse
)
DOWNLOAD_IMAGE = Method(_SERVICE + "DownloadImage", pb.DownloadImageRequest, pb.ImageChunk, bulk=True)
LIST_STYLES = Method(_SERVICE + "ListStyles", pb.ListStylesRequest, pb.ListStylesResponse)
GET_SERVER_INFO = Method(_SERVICE + "GetServerInfo", pb.GetServerInfoRequest, pb.GetServerInfoResponse)
