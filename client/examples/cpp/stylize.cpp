// Paints a photograph in the style of a painting on an Impasto server. See README.md.
#include <getopt.h>
#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>
#include <grpcpp/grpcpp.h>
#include <openssl/evp.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <mutex>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>

#include "impasto/v1/style_transfer.grpc.pb.h"

namespace fs = std::filesystem;
namespace pb = impasto::v1;
using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr std::chrono::seconds CALL_TIMEOUT{30};  // of a call with one answer
constexpr Seconds FIRST_PATIENCE{5};              // with a server that has never answered
constexpr Seconds PATIENCE{300};                  // with a server that went away
constexpr char USAGE[] =
    "usage: stylize CONTENT STYLE OUT.png [--server HOST:PORT] [--size PIXELS]\n"
    "         [--effort draft|standard|fine | --evaluations N] [--previews DIR]\n"
    "         [--token-file FILE] [--tls] [--ca FILE]\n";

struct UsageError : std::runtime_error {
  using runtime_error::runtime_error;
};

struct Interrupted {};

// The error of a call or of a job.
struct RemoteError {
  explicit RemoteError(const grpc::Status& call) {
    if (!status.ParseFromString(call.error_details())) status.Clear();
    if (status.message().empty()) status.set_message(call.error_message());
    status.set_code(call.error_code());
  }
  explicit RemoteError(const google::rpc::Status& job) : status(job) {}

  // Whether the server is away: the code is UNAVAILABLE, or the connection broke. A broken connection can show
  // as other codes, but only the server's own errors have an ErrorInfo.
  bool is_away() const {
    google::rpc::ErrorInfo info;
    switch (status.code()) {
      case grpc::UNAVAILABLE: return true;
      case grpc::CANCELLED: case grpc::INTERNAL: case grpc::UNKNOWN: return !unpack(&info);
      default: return false;
    }
  }

  template <typename Detail>
  bool unpack(Detail* detail) const {
    return std::any_of(status.details().begin(), status.details().end(),
                       [&](const auto& any) { return any.UnpackTo(detail); });
  }

  google::rpc::Status status;
};

// Ctrl-C ends the current stream and wakes a sleeping thread. A second Ctrl-C ends the program at once.
// Must be created before any other thread, so that the signal is blocked in all threads.
class Interrupt {
 public:
  Interrupt() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    std::thread([this, signals] {
      int number;
      sigwait(&signals, &number);
      {
        std::lock_guard lock(mutex_);
        came_ = true;
        if (stream_) stream_->TryCancel();
        changed_.notify_all();
      }
      sigwait(&signals, &number);
      std::_Exit(130);
    }).detach();
  }

  bool came() {
    std::lock_guard lock(mutex_);
    return came_;
  }

  void sleep(Seconds time) {
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, time, [this] { return came_; })) throw Interrupted();
  }

  // Sets the stream that Ctrl-C ends; null for none.
  void watch_over(grpc::ClientContext* stream) {
    std::lock_guard lock(mutex_);
    stream_ = stream;
    if (came_ && stream) stream->TryCancel();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool came_ = false;
  grpc::ClientContext* stream_ = nullptr;
};

void print(const std::string& line) { std::cerr << "\r\x1b[K" << line << std::flush; }

Seconds seconds(const google::protobuf::Duration& time) {
  return Seconds(time.seconds() + time.nanos() / 1e9);
}

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(file), {}};
  if (!file) throw std::runtime_error("cannot read " + path.string());
  return bytes;
}

void write_file(const fs::path& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary);
  if (!file.write(bytes.data(), bytes.size()).flush()) throw std::runtime_error("cannot write " + path.string());
}

std::string sha256(const std::string& bytes) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  EVP_Digest(bytes.data(), bytes.size(), digest, &length, EVP_sha256(), nullptr);
  std::string text;
  char two[3];
  for (unsigned int i = 0; i < length; i++) text += (std::snprintf(two, 3, "%02x", digest[i]), two);
  return text;
}

std::string random_id() {
  std::random_device device;
  std::ostringstream text;
  for (int i = 0; i < 4; i++) text << std::hex << device() << "-";
  return text.str();
}

bool is_final(const pb::Job& job) {
  return job.state() == pb::JOB_STATE_SUCCEEDED || job.state() == pb::JOB_STATE_FAILED ||
         job.state() == pb::JOB_STATE_CANCELLED;
}

// The last word of an enum value: "running" for JOB_STATE_RUNNING.
std::string word(const std::string& name) {
  std::string last = name.substr(name.rfind('_') + 1);
  std::transform(last.begin(), last.end(), last.begin(), [](unsigned char c) { return std::tolower(c); });
  return last;
}

void show(const pb::Job& job) {
  const pb::Progress& now = job.progress();
  std::ostringstream line;
  if (job.state() == pb::JOB_STATE_RUNNING && now.evaluation()) {
    line << "evaluation " << now.evaluation() << "/" << now.evaluations() << ", scale " << now.scale() << "/"
         << now.scales() << ", loss " << now.loss();
    if (now.has_time_left()) line << ", " << std::ceil(seconds(now.time_left()).count()) << " s left";
  } else {
    line << word(pb::JobState_Name(job.state()));
    if (job.queue_position()) line << ", place " << job.queue_position();
  }
  print(line.str());
}

class Client {
 public:
  Client(const std::string& server, std::shared_ptr<grpc::ChannelCredentials> credentials,
         const std::string& token, Interrupt& interrupt)
      : token_(token), interrupt_(interrupt) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2'000);
    channel_ = grpc::CreateCustomChannel(server, credentials, arguments);
    stub_ = pb::StyleTransfer::NewStub(channel_);
  }

  pb::Job create(const pb::CreateJobRequest& request) {
    pb::Job job;
    persist([&] {
      auto context = call();
      return stub_->CreateJob(context.get(), request, &job);
    });
    return job;
  }

  void cancel(const std::string& name) {
    pb::CancelJobRequest request;
    request.set_name(name);
    pb::Job job;
    grpc::Status status = stub_->CancelJob(call().get(), request, &job);
    if (!status.ok()) throw RemoteError(status);
  }

  // Watches a job until it is final. If the stream breaks, it is resumed after the last event.
  void watch(pb::Job& job, const fs::path& previews) {
    pb::WatchJobRequest request;
    request.set_name(job.name());
    request.set_omit_previews(previews.empty());
    while (!is_final(job)) {
      Seconds delay{0};
      persist([&] {
        auto context = stream();
        return receive<pb::JobEvent>(*context, stub_->WatchJob(context.get(), request), [&](pb::JobEvent& event) {
          request.set_after_sequence(std::max(request.after_sequence(), event.sequence()));
          if (event.has_job()) job = event.job();
          if (event.has_progress()) *job.mutable_progress() = event.progress();
          if (event.has_job() || event.has_progress()) show(job);
          if (event.has_preview()) save(event.preview(), previews);
          if (event.has_resume()) delay = seconds(event.resume().retry_delay());
        });
      });
      if (!is_final(job)) interrupt_.sleep(delay);
    }
  }

  // Fetches the picture of a job. If the stream breaks, it is resumed after the last byte.
  std::string download(const std::string& name, pb::ImageInfo* info) {
    std::string data;
    pb::DownloadImageRequest request;
    request.set_result_of(name);
    persist([&] {
      request.set_offset(data.size());
      auto context = stream();
      return receive<pb::ImageChunk>(*context, stub_->DownloadImage(context.get(), request),
                                     [&](pb::ImageChunk& chunk) {
                                       if (chunk.has_info()) *info = chunk.info();
                                       data += chunk.data();
                                     });
    });
    if (sha256(data) != info->sha256()) throw std::runtime_error("the picture was damaged on its way; run it again");
    return data;
  }

 private:
  std::unique_ptr<grpc::ClientContext> stream() const {
    auto context = std::make_unique<grpc::ClientContext>();
    if (!token_.empty()) context->AddMetadata("authorization", "Bearer " + token_);
    return context;
  }

  std::unique_ptr<grpc::ClientContext> call() const {
    auto context = stream();
    context->set_deadline(std::chrono::system_clock::now() + CALL_TIMEOUT);
    return context;
  }

  void heard() {
    last_heard_ = Clock::now();
    patience_ = PATIENCE;
  }

  // Reads the messages of a stream until it ends. Ctrl-C ends it.
  template <typename Message, typename Take>
  grpc::Status receive(grpc::ClientContext& context, std::unique_ptr<grpc::ClientReader<Message>> reader, Take take) {
    interrupt_.watch_over(&context);
    Message message;
    try {
      while (reader->Read(&message)) {
        heard();
        take(message);
      }
    } catch (...) {
      context.TryCancel();
      interrupt_.watch_over(nullptr);
      reader->Finish();
      throw;
    }
    interrupt_.watch_over(nullptr);
    return reader->Finish();
  }

  // Repeats an attempt while the server is away.
  template <typename Attempt>
  void persist(Attempt attempt) {
    for (;;) {
      if (interrupt_.came()) throw Interrupted();
      grpc::Status status = attempt();
      if (status.ok()) return heard();
      if (interrupt_.came()) throw Interrupted();
      RemoteError error(status);
      if (!error.is_away() || Clock::now() - last_heard_ > patience_) throw error;
      google::rpc::RetryInfo retry;
      print(error.status.message() + "; trying again");
      interrupt_.sleep(error.unpack(&retry) ? seconds(retry.retry_delay()) : Seconds(0.5));
      // A channel connects only while a caller waits on it.
      channel_->WaitForConnected(std::chrono::system_clock::now() + std::chrono::milliseconds(500));
    }
  }

  static void save(const pb::Preview& preview, const fs::path& folder) {
    char number[16];
    std::snprintf(number, sizeof number, "%06u.", preview.evaluation());
    write_file(folder / (number + word(pb::ImageFormat_Name(preview.format()))), preview.data());
  }

  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<pb::StyleTransfer::Stub> stub_;
  std::string token_;
  Interrupt& interrupt_;
  Clock::time_point last_heard_ = Clock::now();
  Seconds patience_ = FIRST_PATIENCE;
};

struct Options {
  std::string content, style, out, server = "localhost:50051", token, token_file, ca, previews;
  bool tls = false;
  pb::Recipe recipe;
};

uint32_t natural(const std::string& name, const std::string& value) {
  if (value.empty() || value.size() > 9 || value.find_first_not_of("0123456789") != std::string::npos)
    throw UsageError(name + " " + value + " is not a number");
  return std::stoul(value);
}

Options parse(int argc, char** argv) {
  const option known[] = {{"server", required_argument, nullptr, 's'},
                          {"size", required_argument, nullptr, 'z'},
                          {"effort", required_argument, nullptr, 'e'},
                          {"evaluations", required_argument, nullptr, 'n'},
                          {"previews", required_argument, nullptr, 'p'},
                          {"token-file", required_argument, nullptr, 't'},
                          {"tls", no_argument, nullptr, 'l'},
                          {"ca", required_argument, nullptr, 'c'},
                          {}};
  Options options;
  if (const char* server = std::getenv("IMPASTO_SERVER"); server && *server) options.server = server;
  if (const char* token = std::getenv("IMPASTO_TOKEN")) options.token = token;
  for (int name; (name = getopt_long(argc, argv, "", known, nullptr)) != -1;) {
    const std::string value = optarg ? optarg : "";
    switch (name) {
      case 's': options.server = value; break;
      case 'z': options.recipe.set_longest_side(natural("--size", value)); break;
      case 'e':
        if (options.recipe.duration_case()) throw UsageError("give --effort or --evaluations, not both");
        if (value == "draft") options.recipe.set_effort(pb::EFFORT_DRAFT);
        else if (value == "standard") options.recipe.set_effort(pb::EFFORT_STANDARD);
        else if (value == "fine") options.recipe.set_effort(pb::EFFORT_FINE);
        else throw UsageError("--effort " + value + " is not draft, standard or fine");
        break;
      case 'n':
        if (options.recipe.duration_case()) throw UsageError("give --effort or --evaluations, not both");
        options.recipe.set_evaluations(natural("--evaluations", value));
        break;
      case 'p': options.previews = value; break;
      case 't': options.token_file = value; break;
      case 'l': options.tls = true; break;
      case 'c': options.tls = true, options.ca = value; break;
      default: throw UsageError("an option is not known, or its value is missing");
    }
  }
  if (argc - optind != 3) throw UsageError("give CONTENT, STYLE and OUT");
  options.content = argv[optind], options.style = argv[optind + 1], options.out = argv[optind + 2];
  return options;
}

void stylize(Options& options, Interrupt& interrupt) {
  if (!options.token_file.empty()) std::istringstream(read_file(options.token_file)) >> options.token;
  auto credentials = grpc::InsecureChannelCredentials();
  if (options.tls) {
    grpc::SslCredentialsOptions ssl;
    if (!options.ca.empty()) ssl.pem_root_certs = read_file(options.ca);
    credentials = grpc::SslCredentials(ssl);
  }
  pb::CreateJobRequest request;
  request.set_request_id(random_id());  // makes the call safe to repeat
  request.mutable_spec()->mutable_content()->set_encoded(read_file(options.content));
  request.mutable_spec()->add_styles()->mutable_image()->set_encoded(read_file(options.style));
  *request.mutable_spec()->mutable_recipe() = options.recipe;
  request.mutable_preview()->set_disabled(options.previews.empty());
  if (!options.previews.empty()) fs::create_directories(options.previews);

  Client client(options.server, credentials, options.token, interrupt);
  pb::Job job = client.create(request);
  try {
    client.watch(job, options.previews);
    if (job.has_error()) throw RemoteError(job.error());
    if (job.state() == pb::JOB_STATE_CANCELLED) throw std::runtime_error("someone cancelled the job");
    pb::ImageInfo info;
    write_file(options.out + ".part", client.download(job.name(), &info));
    fs::rename(options.out + ".part", options.out);
    print(options.out + ": " + std::to_string(info.width()) + " x " + std::to_string(info.height()) + "\n");
  } catch (const Interrupted&) {
    try {
      client.cancel(job.name());
      print("cancelled\n");
    } catch (const RemoteError& error) {
      print("could not cancel " + job.name() + ": " + error.status.message() + "\n");
    }
    throw;
  }
}

int main(int argc, char** argv) {
  Interrupt interrupt;
  try {
    Options options = parse(argc, argv);
    stylize(options, interrupt);
    return 0;
  } catch (const Interrupted&) {
    return 130;
  } catch (const UsageError& error) {
    std::cerr << "stylize: " << error.what() << "\n" << USAGE;
    return 2;
  } catch (const RemoteError& error) {
    print("");
    google::rpc::BadRequest bad;
    if (!error.unpack(&bad)) std::cerr << "stylize: " << error.status.message() << "\n";
    for (const auto& fault : bad.field_violations())
      std::cerr << "stylize: " << fault.field() << " " << fault.description() << "\n";
  } catch (const std::exception& error) {
    print(std::string("stylize: ") + error.what() + "\n");
  }
  return 1;
}
