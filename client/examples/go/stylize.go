// Paints a photograph in the style of a painting on an Impasto server. See README.md.
package main

//go:generate protoc -I ../../../proto --go_out=. --go-grpc_out=. impasto/v1/style_transfer.proto

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "impasto-example/impasto/v1"
)

const (
	usage = `usage: stylize CONTENT STYLE OUT.png [--server HOST:PORT] [--size PIXELS]
         [--effort draft|standard|fine | --evaluations N] [--previews DIR]
         [--token-file FILE] [--tls] [--ca FILE]`
	callTimeout   = 30 * time.Second // of a call with one answer
	firstPatience = 5 * time.Second  // with a server that has never answered
	patience      = 5 * time.Minute  // with a server that went away
)

var errDamaged = errors.New("the picture was damaged on its way; run it again")
var errCancelled = errors.New("someone cancelled the job")

type options struct {
	content, style, out             string
	server, previews, tokenFile, ca string
	tls                             bool
	recipe                          *pb.Recipe
}

// client makes the calls of one job. A call is repeated while the server is away.
type client struct {
	stub      pb.StyleTransferClient
	lastHeard time.Time
	patience  time.Duration
}

func main() {
	options, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "stylize: %v\n%s\n", err, usage)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	go func() {
		<-ctx.Done()
		stop() // a second Ctrl-C ends the program at once
	}()
	if err := run(ctx, options); err != nil {
		if ctx.Err() != nil {
			os.Exit(130)
		}
		report(err)
		os.Exit(1)
	}
}

func run(ctx context.Context, options *options) error {
	token := os.Getenv("IMPASTO_TOKEN")
	if options.tokenFile != "" {
		text, err := os.ReadFile(options.tokenFile)
		if err != nil {
			return err
		}
		token = strings.TrimSpace(string(text))
	}
	encryption := withoutTLS()
	if options.ca != "" {
		authorities, err := credentials.NewClientTLSFromFile(options.ca, "")
		if err != nil {
			return err
		}
		encryption = grpc.WithTransportCredentials(authorities)
	} else if options.tls {
		encryption = grpc.WithTransportCredentials(credentials.NewClientTLSFromCert(nil, ""))
	}
	delays := backoff.DefaultConfig
	delays.MaxDelay = 2 * time.Second
	connection, err := grpc.Dial(options.server, encryption,
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: delays, MinConnectTimeout: 5 * time.Second}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second}))
	if err != nil {
		return err
	}
	defer connection.Close()
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	client := &client{pb.NewStyleTransferClient(connection), time.Now(), firstPatience}
	return client.stylize(ctx, options)
}

func (c *client) stylize(ctx context.Context, options *options) error {
	content, err := os.ReadFile(options.content)
	if err != nil {
		return err
	}
	style, err := os.ReadFile(options.style)
	if err != nil {
		return err
	}
	if options.previews != "" {
		if err := os.MkdirAll(options.previews, 0o777); err != nil {
			return err
		}
	}
	request := &pb.CreateJobRequest{
		RequestId: randomID(), // makes the call safe to repeat
		Spec: &pb.JobSpec{
			Content: &pb.Image{Source: &pb.Image_Encoded{Encoded: content}},
			Styles:  []*pb.Style{{Image: &pb.Image{Source: &pb.Image_Encoded{Encoded: style}}}},
			Recipe:  options.recipe,
		},
		Preview: &pb.PreviewOptions{Disabled: options.previews == ""},
	}
	var job *pb.Job
	err = c.persist(ctx, func() (err error) {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		job, err = c.stub.CreateJob(call, request)
		return err
	})
	if err != nil {
		return err
	}
	err = c.finish(ctx, job, options)
	if err != nil && ctx.Err() != nil {
		c.cancel(ctx, job.Name)
	}
	return err
}

// Waits for the picture of a job and writes it.
func (c *client) finish(ctx context.Context, job *pb.Job, options *options) error {
	job, err := c.watch(ctx, job, options.previews)
	if err != nil {
		return err
	}
	if job.Error != nil {
		return status.ErrorProto(job.Error)
	}
	if job.State == pb.JobState_JOB_STATE_CANCELLED {
		return errCancelled
	}
	picture, info, err := c.download(ctx, job.Name)
	if err != nil {
		return err
	}
	if err := os.WriteFile(options.out+".part", picture, 0o666); err != nil {
		return err
	}
	if err := os.Rename(options.out+".part", options.out); err != nil {
		return err
	}
	show("%s: %d x %d\n", options.out, info.Width, info.Height)
	return nil
}

// Watches a job until it is final. If the stream breaks, it is resumed after the last event.
func (c *client) watch(ctx context.Context, job *pb.Job, previews string) (*pb.Job, error) {
	request := &pb.WatchJobRequest{Name: job.Name, OmitPreviews: previews == ""}
	for !isFinal(job) {
		var delay time.Duration
		take := func(event *pb.JobEvent) error {
			if event.Sequence > request.AfterSequence {
				request.AfterSequence = event.Sequence
			}
			switch event := event.Event.(type) {
			case *pb.JobEvent_Job:
				job = event.Job
				showJob(job)
			case *pb.JobEvent_Progress:
				job.Progress = event.Progress
				showJob(job)
			case *pb.JobEvent_Preview:
				name := fmt.Sprintf("%06d.%s", event.Preview.Evaluation, word(event.Preview.Format))
				return os.WriteFile(filepath.Join(previews, name), event.Preview.Data, 0o666)
			case *pb.JobEvent_Resume:
				delay = event.Resume.RetryDelay.AsDuration()
			}
			return nil
		}
		err := c.persist(ctx, func() error {
			call, cancel := context.WithCancel(ctx)
			defer cancel()
			stream, err := c.stub.WatchJob(call, request)
			for err == nil {
				var event *pb.JobEvent
				if event, err = stream.Recv(); err == nil {
					c.heard()
					err = take(event)
				}
			}
			return unlessEnd(err)
		})
		if err != nil {
			return nil, err
		}
		if !isFinal(job) {
			if err := sleep(ctx, delay); err != nil {
				return nil, err
			}
		}
	}
	return job, nil
}

// Fetches the picture of a job. If the stream breaks, it is resumed after the last byte.
func (c *client) download(ctx context.Context, name string) ([]byte, *pb.ImageInfo, error) {
	var picture bytes.Buffer
	var info *pb.ImageInfo
	err := c.persist(ctx, func() error {
		call, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := c.stub.DownloadImage(call, &pb.DownloadImageRequest{
			Source: &pb.DownloadImageRequest_ResultOf{ResultOf: name},
			Offset: uint64(picture.Len()),
		})
		for err == nil {
			var chunk *pb.ImageChunk
			if chunk, err = stream.Recv(); err == nil {
				c.heard()
				if chunk.Info != nil {
					info = chunk.Info
				}
				picture.Write(chunk.Data)
			}
		}
		return unlessEnd(err)
	})
	if err != nil {
		return nil, nil, err
	}
	digest := sha256.Sum256(picture.Bytes())
	if hex.EncodeToString(digest[:]) != info.GetSha256() {
		return nil, nil, errDamaged
	}
	return picture.Bytes(), info, nil
}

// Cancels a job after Ctrl-C, in a new context: the context of the interrupted calls is done.
func (c *client) cancel(interrupted context.Context, name string) {
	md, _ := metadata.FromOutgoingContext(interrupted)
	ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(context.Background(), md), callTimeout)
	defer cancel()
	if _, err := c.stub.CancelJob(ctx, &pb.CancelJobRequest{Name: name}); err != nil {
		show("could not cancel %s: %s\n", name, status.Convert(err).Message())
	} else {
		show("cancelled\n")
	}
}

func (c *client) heard() {
	c.lastHeard, c.patience = time.Now(), patience
}

// Repeats an attempt while the server is away.
func (c *client) persist(ctx context.Context, attempt func() error) error {
	for {
		err := attempt()
		if err == nil {
			c.heard()
			return nil
		}
		if ctx.Err() != nil || !isAway(err) || time.Since(c.lastHeard) > c.patience {
			return err
		}
		show("%s; trying again", status.Convert(err).Message())
		delay := time.Second
		for _, detail := range status.Convert(err).Details() {
			if retry, ok := detail.(*errdetails.RetryInfo); ok {
				delay = retry.RetryDelay.AsDuration()
			}
		}
		if err := sleep(ctx, delay); err != nil {
			return err
		}
	}
}

// Whether the server is away: the code is UNAVAILABLE, or the connection broke. A broken connection can
// show as other codes, but only the server's own errors have an ErrorInfo.
func isAway(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable:
		return true
	case codes.Canceled, codes.Internal, codes.Unknown:
		_, ofCall := status.FromError(err)
		for _, detail := range status.Convert(err).Details() {
			if _, ok := detail.(*errdetails.ErrorInfo); ok {
				return false
			}
		}
		return ofCall
	}
	return false
}

// Prints an error: the fields that are wrong and what to do about them, or its message.
func report(err error) {
	var lines []string
	if called, ok := status.FromError(err); !ok {
		lines = append(lines, err.Error())
	} else {
		for _, detail := range called.Details() {
			if bad, ok := detail.(*errdetails.BadRequest); ok {
				for _, violation := range bad.FieldViolations {
					lines = append(lines, violation.Field+" "+violation.Description)
				}
			}
		}
		if lines == nil {
			lines = append(lines, called.Message())
		}
	}
	show("")
	for _, line := range lines {
		fmt.Fprintf(os.Stderr, "stylize: %s\n", line)
	}
}

func show(format string, values ...interface{}) {
	fmt.Fprintf(os.Stderr, "\r\x1b[K"+format, values...)
}

func showJob(job *pb.Job) {
	now := job.Progress
	if job.State == pb.JobState_JOB_STATE_RUNNING && now.GetEvaluation() > 0 {
		line := fmt.Sprintf("evaluation %d/%d, scale %d/%d, loss %.4g",
			now.Evaluation, now.Evaluations, now.Scale, now.Scales, now.Loss)
		if now.TimeLeft != nil {
			line += fmt.Sprintf(", %.0f s left", math.Ceil(now.TimeLeft.AsDuration().Seconds()))
		}
		show("%s", line)
	} else if job.QueuePosition > 0 {
		show("%s, place %d", word(job.State), job.QueuePosition)
	} else {
		show("%s", word(job.State))
	}
}

// The last word of an enum value: "running" for JOB_STATE_RUNNING.
func word(value fmt.Stringer) string {
	name := value.String()
	return strings.ToLower(name[strings.LastIndex(name, "_")+1:])
}

func isFinal(job *pb.Job) bool {
	switch job.State {
	case pb.JobState_JOB_STATE_SUCCEEDED, pb.JobState_JOB_STATE_FAILED, pb.JobState_JOB_STATE_CANCELLED:
		return true
	}
	return false
}

// The end of a stream is not an error.
func unlessEnd(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

func sleep(ctx context.Context, delay time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(delay):
		return nil
	}
}

func randomID() string {
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		panic(err)
	}
	return hex.EncodeToString(id)
}

func parse(arguments []string) (*options, error) {
	options := &options{recipe: &pb.Recipe{}, server: os.Getenv("IMPASTO_SERVER")}
	if options.server == "" {
		options.server = "localhost:50051"
	}
	var size, effort, evaluations string
	flags := flag.NewFlagSet("stylize", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&options.server, "server", options.server, "")
	flags.StringVar(&size, "size", "", "")
	flags.StringVar(&effort, "effort", "", "")
	flags.StringVar(&evaluations, "evaluations", "", "")
	flags.StringVar(&options.previews, "previews", "", "")
	flags.StringVar(&options.tokenFile, "token-file", "", "")
	flags.BoolVar(&options.tls, "tls", false, "")
	flags.StringVar(&options.ca, "ca", "", "")
	var files []string
	for {
		if err := flags.Parse(arguments); err != nil {
			return nil, err
		}
		if flags.NArg() == 0 {
			break
		}
		files, arguments = append(files, flags.Arg(0)), flags.Args()[1:]
	}
	if len(files) != 3 {
		return nil, errors.New("give CONTENT, STYLE and OUT")
	}
	options.content, options.style, options.out = files[0], files[1], files[2]
	if size != "" {
		number, err := strconv.ParseUint(size, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("--size %s is not a number", size)
		}
		options.recipe.LongestSide = proto.Uint32(uint32(number))
	}
	if effort != "" && evaluations != "" {
		return nil, errors.New("give --effort or --evaluations, not both")
	}
	if effort != "" {
		value, ok := pb.Effort_value["EFFORT_"+strings.ToUpper(effort)]
		if !ok || value == 0 {
			return nil, fmt.Errorf("--effort %s is not draft, standard or fine", effort)
		}
		options.recipe.Duration = &pb.Recipe_Effort{Effort: pb.Effort(value)}
	}
	if evaluations != "" {
		number, err := strconv.ParseUint(evaluations, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("--evaluations %s is not a number", evaluations)
		}
		options.recipe.Duration = &pb.Recipe_Evaluations{Evaluations: uint32(number)}
	}
	return options, nil
}
