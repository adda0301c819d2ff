// Paints a photograph in the style of a painting on an Impasto server. See README.md.
import com.google.protobuf.Any;
import com.google.protobuf.ByteString;
import com.google.protobuf.Duration;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import impasto.v1.CancelJobRequest;
import impasto.v1.CreateJobRequest;
import impasto.v1.DownloadImageRequest;
import impasto.v1.Effort;
import impasto.v1.Image;
import impasto.v1.ImageChunk;
import impasto.v1.ImageInfo;
import impasto.v1.Job;
import impasto.v1.JobEvent;
import impasto.v1.JobSpec;
import impasto.v1.JobState;
import impasto.v1.Preview;
import impasto.v1.PreviewOptions;
import impasto.v1.Progress;
import impasto.v1.Recipe;
import impasto.v1.Style;
import impasto.v1.StyleTransferGrpc;
import impasto.v1.StyleTransferGrpc.StyleTransferBlockingStub;
import impasto.v1.WatchJobRequest;
import io.grpc.ChannelCredentials;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.MetadataUtils;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;

public final class Stylize {
  static final String USAGE = """
      usage: stylize CONTENT STYLE OUT.png [--server HOST:PORT] [--size PIXELS]
               [--effort draft|standard|fine | --evaluations N] [--previews DIR]
               [--token-file FILE] [--tls] [--ca FILE]
      """;
  static final long CALL_TIMEOUT = 30; // of a call with one answer, in seconds
  static final long FIRST_PATIENCE = 5; // with a server that has never answered, in seconds
  static final long PATIENCE = 300; // with a server that went away, in seconds

  static final Set<JobState> FINAL =
      Set.of(JobState.JOB_STATE_SUCCEEDED, JobState.JOB_STATE_FAILED, JobState.JOB_STATE_CANCELLED);

  /** A job that ended without a picture, and the job's own error if it has one. */
  static final class JobFailure extends Exception {
    final transient com.google.rpc.Status error;

    JobFailure(String message) {
      this(com.google.rpc.Status.newBuilder().setMessage(message).build());
    }

    JobFailure(com.google.rpc.Status error) {
      super(error.getMessage());
      this.error = error;
    }
  }

  private final ManagedChannel channel;
  private final StyleTransferBlockingStub stub;
  private long lastHeard = System.nanoTime();
  private long patience = FIRST_PATIENCE;
  private volatile String jobName;
  private volatile boolean interrupted;
  private volatile boolean done;

  Stylize(ManagedChannel channel, StyleTransferBlockingStub stub) {
    this.channel = channel;
    this.stub = stub;
  }

  void stylize(Options options) throws IOException, JobFailure, InterruptedException {
    boolean wantsPreviews = options.previews != null;
    if (wantsPreviews) Files.createDirectories(options.previews);
    CreateJobRequest request = CreateJobRequest.newBuilder()
        .setRequestId(UUID.randomUUID().toString()) // makes the call safe to repeat
        .setSpec(JobSpec.newBuilder()
            .setContent(image(options.content))
            .addStyles(Style.newBuilder().setImage(image(options.style)))
            .setRecipe(options.recipe))
        .setPreview(PreviewOptions.newBuilder().setDisabled(!wantsPreviews))
        .build();
    Job job = persist(() -> call().createJob(request));
    jobName = job.getName();
    job = watch(job, options.previews);
    if (job.hasError()) throw new JobFailure(job.getError());
    if (job.getState() == JobState.JOB_STATE_CANCELLED) throw new JobFailure("someone cancelled the job");
    ImageInfo.Builder info = ImageInfo.newBuilder();
    byte[] picture = download(jobName, info);
    Path part = Path.of(options.out + ".part");
    Files.write(part, picture);
    Files.move(part, options.out, StandardCopyOption.REPLACE_EXISTING);
    done = true;
    print(options.out + ": " + info.getWidth() + " x " + info.getHeight() + "\n");
  }

  /** Watches a job until it is final. If the stream breaks, it is resumed after the last event. */
  private Job watch(Job first, Path previews) throws InterruptedException, IOException {
    Job.Builder job = first.toBuilder();
    WatchJobRequest.Builder request =
        WatchJobRequest.newBuilder().setName(first.getName()).setOmitPreviews(previews == null);
    while (!FINAL.contains(job.getState())) {
      long delay = persist(() -> {
        long pause = 0;
        for (var events = stub.watchJob(request.build()); events.hasNext();) {
          JobEvent event = events.next();
          heard();
          request.setAfterSequence(Math.max(request.getAfterSequence(), event.getSequence()));
          switch (event.getEventCase()) {
            case JOB -> job.clear().mergeFrom(event.getJob());
            case PROGRESS -> job.setProgress(event.getProgress());
            case PREVIEW -> save(event.getPreview(), previews);
            case RESUME -> pause = milliseconds(event.getResume().getRetryDelay());
            default -> { }
          }
          if (event.hasJob() || event.hasProgress()) show(job);
        }
        return pause;
      });
      if (!FINAL.contains(job.getState())) Thread.sleep(delay);
    }
    return job.build();
  }

  /** Fetches the picture of a job. If the stream breaks, it is resumed after the last byte. */
  private byte[] download(String name, ImageInfo.Builder info) throws JobFailure, InterruptedException {
    ByteArrayOutputStream picture = new ByteArrayOutputStream();
    persist(() -> {
      DownloadImageRequest request =
          DownloadImageRequest.newBuilder().setResultOf(name).setOffset(picture.size()).build();
      for (var chunks = stub.downloadImage(request); chunks.hasNext();) {
        ImageChunk chunk = chunks.next();
        heard();
        if (chunk.hasInfo()) info.clear().mergeFrom(chunk.getInfo());
        picture.writeBytes(chunk.getData().toByteArray());
      }
      return null;
    });
    if (!sha256(picture.toByteArray()).equals(info.getSha256())) {
      throw new JobFailure("the picture was damaged on its way; run it again");
    }
    return picture.toByteArray();
  }

  /** Cancels the job at Ctrl-C. Java runs this while it shuts down; the exit code is then 130. */
  private void interrupt() {
    interrupted = true;
    String name = jobName;
    if (done || name == null) return;
    try {
      call().cancelJob(CancelJobRequest.newBuilder().setName(name).build());
      print("cancelled\n");
    } catch (StatusRuntimeException e) {
      print("could not cancel " + name + ": " + message(e) + "\n");
    }
  }

  private StyleTransferBlockingStub call() {
    return stub.withDeadlineAfter(CALL_TIMEOUT, TimeUnit.SECONDS);
  }

  private void heard() {
    lastHeard = System.nanoTime();
    patience = PATIENCE;
  }

  /** Repeats an attempt while the server is away. */
  private <T> T persist(Supplier<T> attempt) throws InterruptedException {
    while (true) {
      try {
        T answer = attempt.get();
        heard();
        return answer;
      } catch (StatusRuntimeException e) {
        boolean patient = System.nanoTime() - lastHeard <= TimeUnit.SECONDS.toNanos(patience);
        if (interrupted || !isAway(e) || !patient) throw e;
        print(message(e) + "; trying again");
        Thread.sleep(detail(e, RetryInfo.class).map(retry -> milliseconds(retry.getRetryDelay())).orElse(1000L));
        channel.resetConnectBackoff();
      }
    }
  }

  /**
   * Whether the server is away: the code is UNAVAILABLE, or the connection broke. A broken connection can show as
   * other codes, but only the server's own errors have an ErrorInfo.
   */
  static boolean isAway(StatusRuntimeException error) {
    return switch (error.getStatus().getCode()) {
      case UNAVAILABLE -> true;
      case CANCELLED, INTERNAL, UNKNOWN -> detail(error, ErrorInfo.class).isEmpty();
      default -> false;
    };
  }

  static <T extends Message> Optional<T> detail(StatusRuntimeException error, Class<T> kind) {
    return detail(StatusProto.fromThrowable(error), kind);
  }

  static <T extends Message> Optional<T> detail(com.google.rpc.Status status, Class<T> kind) {
    for (Any detail : status.getDetailsList()) {
      if (detail.is(kind)) {
        try {
          return Optional.of(detail.unpack(kind));
        } catch (InvalidProtocolBufferException e) {
          return Optional.empty();
        }
      }
    }
    return Optional.empty();
  }

  /** The message of an error; for a lost connection, also its first cause. */
  static String message(StatusRuntimeException error) {
    Status status = error.getStatus();
    String text = Optional.ofNullable(status.getDescription()).orElse(status.getCode().name()).lines().findFirst()
        .orElse("");
    Throwable cause = status.getCause();
    if (cause == null) return text;
    while (cause.getCause() != null) cause = cause.getCause();
    return text + ": " + cause.getMessage();
  }

  /** The fields that are wrong and what to do about them, or the message. */
  static List<String> explain(com.google.rpc.Status status, String message) {
    return detail(status, BadRequest.class)
        .map(bad -> bad.getFieldViolationsList().stream()
            .map(violation -> violation.getField() + " " + violation.getDescription()).toList())
        .orElse(List.of(message));
  }

  static void show(Job.Builder job) {
    Progress now = job.getProgress();
    if (job.getState() == JobState.JOB_STATE_RUNNING && now.getEvaluation() > 0) {
      String left = now.hasTimeLeft()
          ? String.format(", %d s left", (milliseconds(now.getTimeLeft()) + 999) / 1000) : "";
      print(String.format(Locale.ROOT, "evaluation %d/%d, scale %d/%d, loss %.4g%s", now.getEvaluation(),
          now.getEvaluations(), now.getScale(), now.getScales(), now.getLoss(), left));
    } else {
      print(word(job.getState()) + (job.getQueuePosition() > 0 ? ", place " + job.getQueuePosition() : ""));
    }
  }

  static void save(Preview preview, Path folder) {
    String name = String.format("%06d.%s", preview.getEvaluation(), word(preview.getFormat()));
    try {
      Files.write(folder.resolve(name), preview.getData().toByteArray());
    } catch (IOException e) {
      throw new java.io.UncheckedIOException(e);
    }
  }

  static void print(String line) {
    System.err.print("\r\u001b[K" + line);
    System.err.flush();
  }

  /** The last word of an enum value: "running" for JOB_STATE_RUNNING. */
  static String word(Enum<?> value) {
    return value.name().substring(value.name().lastIndexOf('_') + 1).toLowerCase(Locale.ROOT);
  }

  static long milliseconds(Duration time) {
    return time.getSeconds() * 1000 + time.getNanos() / 1_000_000;
  }

  static Image image(Path file) throws IOException {
    return Image.newBuilder().setEncoded(ByteString.copyFrom(Files.readAllBytes(file))).build();
  }

  static String sha256(byte[] bytes) {
    try {
      return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes));
    } catch (NoSuchAlgorithmException e) {
      throw new AssertionError(e);
    }
  }

  static final class UsageError extends Exception {
    UsageError(String message) {
      super(message);
    }
  }

  static final class Options {
    Path content;
    Path style;
    Path out;
    Path previews;
    Path tokenFile;
    File ca;
    boolean tls;
    String server = Optional.ofNullable(System.getenv("IMPASTO_SERVER")).orElse("localhost:50051");
    final Recipe.Builder recipe = Recipe.newBuilder();

    static Options parse(String[] arguments) throws UsageError {
      Options options = new Options();
      List<Path> files = new ArrayList<>();
      var rest = List.of(arguments).iterator();
      while (rest.hasNext()) {
        String name = rest.next();
        if (name.equals("--tls")) {
          options.tls = true;
        } else if (!name.startsWith("--")) {
          files.add(Path.of(name));
        } else if (!rest.hasNext()) {
          throw new UsageError(name + " is not known, or its value is missing");
        } else {
          options.set(name, rest.next());
        }
      }
      if (files.size() != 3) throw new UsageError("give CONTENT, STYLE and OUT");
      options.content = files.get(0);
      options.style = files.get(1);
      options.out = files.get(2);
      return options;
    }

    private void set(String name, String value) throws UsageError {
      switch (name) {
        case "--server" -> server = value;
        case "--previews" -> previews = Path.of(value);
        case "--token-file" -> tokenFile = Path.of(value);
        case "--ca" -> ca = new File(value);
        case "--size" -> recipe.setLongestSide(natural(name, value));
        case "--effort" -> {
          Effort effort = Map.of("draft", Effort.EFFORT_DRAFT, "standard", Effort.EFFORT_STANDARD,
              "fine", Effort.EFFORT_FINE).get(value);
          if (effort == null) throw new UsageError("--effort " + value + " is not draft, standard or fine");
          checkDuration();
          recipe.setEffort(effort);
        }
        case "--evaluations" -> {
          checkDuration();
          recipe.setEvaluations(natural(name, value));
        }
        default -> throw new UsageError(name + " is not known");
      }
    }

    private void checkDuration() throws UsageError {
      if (recipe.hasEffort() || recipe.hasEvaluations()) {
        throw new UsageError("give --effort or --evaluations, not both");
      }
    }

    private static int natural(String name, String value) throws UsageError {
      if (!value.matches("\\d{1,9}")) throw new UsageError(name + " " + value + " is not a number");
      return Integer.parseInt(value);
    }
  }

  static ManagedChannel connect(Options options) throws IOException {
    ChannelCredentials credentials = InsecureChannelCredentials.create();
    if (options.ca != null) {
      credentials = TlsChannelCredentials.newBuilder().trustManager(options.ca).build();
    } else if (options.tls) {
      credentials = TlsChannelCredentials.create();
    }
    return Grpc.newChannelBuilder(options.server, credentials).keepAliveTime(30, TimeUnit.SECONDS).build();
  }

  static StyleTransferBlockingStub stub(ManagedChannel channel, Options options) throws IOException {
    String token = System.getenv("IMPASTO_TOKEN");
    if (options.tokenFile != null) token = Files.readString(options.tokenFile).strip();
    StyleTransferBlockingStub stub = StyleTransferGrpc.newBlockingStub(channel);
    if (token == null) return stub;
    Metadata metadata = new Metadata();
    metadata.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + token);
    return stub.withInterceptors(MetadataUtils.newAttachHeadersInterceptor(metadata));
  }

  static void fail(List<String> lines) {
    print("");
    lines.forEach(line -> System.err.println("stylize: " + line));
    System.exit(1);
  }

  public static void main(String[] arguments) throws InterruptedException {
    Options options = null;
    try {
      options = Options.parse(arguments);
    } catch (UsageError e) {
      System.err.print("stylize: " + e.getMessage() + "\n" + USAGE);
      System.exit(2);
    }
    Stylize program = null;
    try {
      ManagedChannel channel = connect(options);
      program = new Stylize(channel, stub(channel, options));
      Thread atInterrupt = new Thread(program::interrupt);
      Runtime.getRuntime().addShutdownHook(atInterrupt);
      program.stylize(options);
      Runtime.getRuntime().removeShutdownHook(atInterrupt);
      channel.shutdownNow();
    } catch (StatusRuntimeException e) {
      if (program.end()) fail(explain(StatusProto.fromThrowable(e), message(e)));
    } catch (JobFailure e) {
      if (program.end()) fail(explain(e.error, e.getMessage()));
    } catch (NoSuchFileException e) {
      fail(List.of(e.getMessage() + " does not exist"));
    } catch (IOException | java.io.UncheckedIOException e) {
      fail(List.of(e.getMessage()));
    }
  }

  /** Whether the program ends by itself. After Ctrl-C it does not: Java is shutting down. */
  private boolean end() {
    done = true;
    return !interrupted;
  }
}
