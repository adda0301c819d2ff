#!/usr/bin/env ruby
# frozen_string_literal: true

# Paints a photograph in the style of a painting on an Impasto server. See README.md.
require 'digest'
require 'fileutils'
require 'google/protobuf/well_known_types'
require 'google/rpc/error_details_pb'
require 'grpc'
require 'optparse'
require 'securerandom'
$LOAD_PATH.unshift File.join(__dir__, 'lib')
require 'impasto/v1/style_transfer_services_pb'

V1 = Impasto::V1
CALL_TIMEOUT = 30 # of a call with one answer, in seconds
FIRST_PATIENCE = 5 # with a server that has never answered, in seconds
PATIENCE = 300 # with a server that went away, in seconds
FINAL = %i[JOB_STATE_SUCCEEDED JOB_STATE_FAILED JOB_STATE_CANCELLED].freeze

# A job that ended without a picture; `details` is a google.rpc.Status or nil.
class JobError < StandardError
  attr_reader :details

  def initialize(message, details = nil)
    super(message)
    @details = details
  end
end

def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
def seconds(duration) = duration.seconds + duration.nanos / 1e9
def print_line(line) = $stderr.print("\r\e[K", line)
def word(symbol) = symbol.to_s.split('_').last.downcase # JOB_STATE_RUNNING: running

# A detail of an error, such as a Google::Rpc::BadRequest; nil if the error has none.
def detail(error, kind)
  status = error.is_a?(GRPC::BadStatus) ? error.to_rpc_status : error.details
  status&.details&.find { |any| any.is(kind) }&.unpack(kind)
end

# Whether the server is away: the code is UNAVAILABLE, or the connection broke. A broken connection can show
# as other codes, but only the server's own errors have an ErrorInfo.
def away?(error)
  case error
  when GRPC::Unavailable then true
  when GRPC::Cancelled, GRPC::Internal, GRPC::Unknown then detail(error, Google::Rpc::ErrorInfo).nil?
  end
end

def explain(error)
  bad = detail(error, Google::Rpc::BadRequest)
  return bad.field_violations.map { |fault| "#{fault.field} #{fault.description}" } if bad

  [error.is_a?(GRPC::BadStatus) ? error.details : error.message]
end

def show(job)
  at = job.progress
  line = if job.state == :JOB_STATE_RUNNING && at&.evaluation&.positive?
           format('evaluation %d/%d, scale %d/%d, loss %.4g', at.evaluation, at.evaluations, at.scale, at.scales,
                  at.loss) + (at.time_left ? ", #{seconds(at.time_left).ceil} s left" : '')
         else
           word(job.state) + (job.queue_position.positive? ? ", place #{job.queue_position}" : '')
         end
  print_line(line)
end

# The calls of one job. A call is repeated while the server is away.
class Client
  def initialize(server, credentials, token)
    @stub = V1::StyleTransfer::Stub.new(
      server, credentials,
      channel_args: { 'grpc.keepalive_time_ms' => 30_000, 'grpc.max_reconnect_backoff_ms' => 2_000 }
    )
    @metadata = token ? { 'authorization' => "Bearer #{token}" } : {}
    @last_heard = now
    @patience = FIRST_PATIENCE
  end

  def create(request) = persist { @stub.create_job(request, **unary) }
  def cancel(name) = attempt { @stub.cancel_job(V1::CancelJobRequest.new(name: name), **unary) }

  # Watches a job until it is final, and yields its previews. If the stream breaks, it is resumed after the last
  # event.
  def watch(job, omit_previews:)
    sequence = 0
    until FINAL.include?(job.state)
      delay = 0
      persist do
        request = V1::WatchJobRequest.new(name: job.name, after_sequence: sequence, omit_previews: omit_previews)
        @stub.watch_job(request, metadata: @metadata).each do |event|
          heard
          sequence = [sequence, event.sequence].max
          case event.event
          when :job then show(job = event.job)
          when :progress then show(job.tap { |it| it.progress = event.progress })
          when :preview then yield event.preview
          when :resume then delay = event.resume.retry_delay ? seconds(event.resume.retry_delay) : 1
          end
        end
      end
      sleep delay unless FINAL.include?(job.state)
    end
    job
  end

  # Returns the picture of a job and its ImageInfo. If the stream breaks, it is resumed after the last byte.
  def download(name)
    info = nil
    data = String.new
    persist do
      request = V1::DownloadImageRequest.new(result_of: name, offset: data.bytesize)
      @stub.download_image(request, metadata: @metadata).each do |chunk|
        heard
        info ||= chunk.info
        data << chunk.data
      end
    end
    raise JobError, 'the picture was damaged on its way; run it again' if Digest::SHA256.hexdigest(data) != info.sha256

    [data, info]
  end

  private

  def unary = { metadata: @metadata, deadline: Time.now + CALL_TIMEOUT }

  def heard
    @last_heard = now
    @patience = PATIENCE
  end

  # Makes a call. If its connection breaks, grpc sometimes reads the status too early, and raises this instead.
  def attempt
    yield
  rescue GRPC::Core::CallError => e
    raise GRPC::Unavailable, e.message
  end

  # Repeats a call while the server is away.
  def persist(&call)
    attempt(&call).tap { heard }
  rescue GRPC::BadStatus => e
    raise if !away?(e) || now - @last_heard > @patience

    print_line("#{explain(e).first}; trying again")
    retry_info = detail(e, Google::Rpc::RetryInfo)
    sleep(retry_info ? seconds(retry_info.retry_delay) : 1)
    retry
  end
end

def stylize(client, content, style, out, recipe, previews)
  request = V1::CreateJobRequest.new(
    request_id: SecureRandom.uuid, # makes the call safe to repeat
    spec: {
      content: { encoded: File.binread(content) },
      styles: [{ image: { encoded: File.binread(style) } }],
      recipe: recipe
    },
    preview: { disabled: previews.nil? }
  )
  FileUtils.mkdir_p(previews) if previews
  job = client.create(request)
  begin
    job = client.watch(job, omit_previews: previews.nil?) do |preview|
      File.binwrite(File.join(previews, format('%06d.%s', preview.evaluation, word(preview.format))), preview.data)
    end
    raise JobError.new(job.error.message, job.error) if job.error
    raise JobError, 'someone cancelled the job' if job.state == :JOB_STATE_CANCELLED

    data, info = client.download(job.name)
    File.binwrite("#{out}.part", data)
    File.rename("#{out}.part", out)
    print_line("#{out}: #{info.width} x #{info.height}\n")
  rescue Interrupt
    begin
      client.cancel(job.name)
      print_line("cancelled\n")
    rescue GRPC::BadStatus => e
      print_line("could not cancel #{job.name}: #{explain(e).first}\n")
    end
    raise
  end
end

options = { server: ENV['IMPASTO_SERVER'] || 'localhost:50051', token: ENV['IMPASTO_TOKEN'] }
recipe = V1::Recipe.new
parser = OptionParser.new('usage: stylize.rb CONTENT STYLE OUT.png [options]') do |it|
  it.on('--server HOST:PORT') { |server| options[:server] = server }
  it.on('--size PIXELS', OptionParser::DecimalInteger) { |size| recipe.longest_side = size }
  it.on('--effort EFFORT', %w[draft standard fine]) { |effort| recipe.effort = :"EFFORT_#{effort.upcase}" }
  it.on('--evaluations N', OptionParser::DecimalInteger) { |count| recipe.evaluations = count }
  it.on('--previews DIR') { |folder| options[:previews] = folder }
  it.on('--token-file FILE') { |file| options[:token] = File.read(file).strip }
  it.on('--tls') { options[:tls] = true }
  it.on('--ca FILE') { |file| options[:tls] = File.read(file) }
end
begin
  content, style, out, *rest = parser.parse(ARGV)
  raise OptionParser::ParseError, 'give CONTENT, STYLE and OUT' if out.nil? || rest.any?
rescue OptionParser::ParseError, RangeError => e
  warn "stylize: #{e.message}", parser.help
  exit 2
end

begin
  credentials = case options[:tls]
                when nil then :this_channel_is_insecure
                when true then GRPC::Core::ChannelCredentials.new
                else GRPC::Core::ChannelCredentials.new(options[:tls])
                end
  client = Client.new(options[:server], credentials, options[:token])
  stylize(client, content, style, out, recipe, options[:previews])
rescue Interrupt
  exit 130
rescue GRPC::BadStatus, JobError => e
  print_line(explain(e).map { |line| "stylize: #{line}\n" }.join)
  exit 1
rescue SystemCallError => e
  print_line("stylize: #{e.message}\n")
  exit 1
end
