#!/usr/bin/env node
// Paints a photograph in the style of a painting on an Impasto server. See README.md.
import { createHash, randomUUID } from 'node:crypto'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import grpc from '@grpc/grpc-js'
import protoLoader from '@grpc/proto-loader'

const USAGE = `usage: stylize.mjs CONTENT STYLE OUT.png [--server HOST:PORT] [--size PIXELS]
         [--effort draft|standard|fine | --evaluations N] [--previews DIR]
         [--token-file FILE] [--tls] [--ca FILE]`
const CALL_TIMEOUT = 30_000 // of a call with one answer, in ms
const FIRST_PATIENCE = 5_000 // with a server that has never answered, in ms
const PATIENCE = 300_000 // with a server that went away, in ms

const { google, impasto } = grpc.loadPackageDefinition(protoLoader.loadSync(
  ['impasto/v1/style_transfer.proto', 'google/rpc/status.proto', 'google/rpc/error_details.proto'],
  {
    includeDirs: [fileURLToPath(new URL('../../../proto', import.meta.url))],
    keepCase: true,
    longs: Number, // sequences stay below 2^53
    enums: String,
    defaults: true,
    oneofs: true
  }
))

const interrupt = new AbortController()
process.once('SIGINT', () => interrupt.abort()) // a second Ctrl-C ends the program at once

let client, metadata
let lastHeard = Date.now()
let patience = FIRST_PATIENCE

const print = (line) => process.stderr.write(`\r\x1b[K${line}`)
const milliseconds = ({ seconds, nanos }) => seconds * 1000 + nanos / 1e6
const word = (value) => value.toLowerCase().split('_').pop() // JOB_STATE_RUNNING: running

function heard () {
  lastHeard = Date.now()
  patience = PATIENCE
}

// The message and the details of an error of a call or a job: { message, BadRequest, RetryInfo, ... }.
function explain (error) {
  const [trailer] = error.metadata?.get('grpc-status-details-bin') ?? []
  const { message, details = [] } = trailer ? google.rpc.Status.deserialize(trailer) : error
  if (typeof details === 'string') return { message: details } // the call ended without details
  const explained = { message }
  for (const { type_url: url, value } of details) {
    const kind = url.split('.').pop()
    if (url.endsWith(`/google.rpc.${kind}`)) explained[kind] = google.rpc[kind]?.deserialize(value)
  }
  return explained
}

// A call with one answer.
const call = (method, request) => new Promise((resolve, reject) => {
  client[method](request, metadata, { deadline: Date.now() + CALL_TIMEOUT },
    (error, answer) => error ? reject(error) : resolve(answer))
})

// Reads a stream of answers. Ctrl-C ends it.
async function receive (stream, take) {
  const leave = () => stream.cancel()
  interrupt.signal.addEventListener('abort', leave)
  try {
    for await (const message of stream) {
      heard()
      await take(message)
    }
  } finally {
    interrupt.signal.removeEventListener('abort', leave)
  }
}

// Whether the server is away: the code is UNAVAILABLE, or the connection broke. A broken connection can show as
// other codes, but only the server's own errors have an ErrorInfo.
function isAway (error) {
  const { CANCELLED, INTERNAL, UNAVAILABLE, UNKNOWN } = grpc.status
  return error.code === UNAVAILABLE || ([CANCELLED, INTERNAL, UNKNOWN].includes(error.code) && !explain(error).ErrorInfo)
}

// Repeats an attempt while the server is away.
async function persist (attempt) {
  for (;;) {
    try {
      interrupt.signal.throwIfAborted()
      const answer = await attempt()
      heard()
      return answer
    } catch (error) {
      interrupt.signal.throwIfAborted()
      if (!isAway(error) || Date.now() - lastHeard > patience) throw error
      const { message, RetryInfo: retry } = explain(error)
      print(`${message}; trying again`)
      await sleep(retry ? milliseconds(retry.retry_delay) : 1000, null, interrupt)
    }
  }
}

function show (job) {
  const { evaluation, evaluations, scale, scales, loss, time_left: left } = job.progress ?? {}
  const running = job.state === 'JOB_STATE_RUNNING' && evaluation
  print(running
    ? `evaluation ${evaluation}/${evaluations}, scale ${scale}/${scales}, loss ${loss.toPrecision(4)}` +
      (left ? `, ${Math.ceil(milliseconds(left) / 1000)} s left` : '')
    : word(job.state) + (job.queue_position ? `, place ${job.queue_position}` : ''))
}

// Watches a job until it is final. If the stream breaks, it is resumed after the last event.
async function watch (job, previews) {
  const isFinal = () => ['succeeded', 'failed', 'cancelled'].includes(word(job.state))
  let sequence = 0
  while (!isFinal()) {
    let delay = 0
    const request = () => ({ name: job.name, after_sequence: sequence, omit_previews: !previews })
    await persist(() => receive(client.watchJob(request(), metadata), async (event) => {
      sequence = Math.max(sequence, event.sequence)
      if (event.job) job = event.job
      if (event.progress) job.progress = event.progress
      if (event.job || event.progress) show(job)
      if (event.preview) {
        const { evaluation, format, data } = event.preview
        await writeFile(join(previews, `${String(evaluation).padStart(6, '0')}.${word(format)}`), data)
      }
      if (event.resume) delay = milliseconds(event.resume.retry_delay ?? { seconds: 1, nanos: 0 })
    }))
    if (!isFinal()) await sleep(delay, null, interrupt)
  }
  return job
}

// Fetches the picture of a job. If the stream breaks, it is resumed after the last byte.
async function download (name) {
  const chunks = []
  let offset = 0
  let info
  await persist(() => receive(client.downloadImage({ result_of: name, offset }, metadata), (chunk) => {
    info ??= chunk.info
    chunks.push(chunk.data)
    offset += chunk.data.length
  }))
  const data = Buffer.concat(chunks)
  if (createHash('sha256').update(data).digest('hex') !== info.sha256) {
    throw new Error('the picture was damaged on its way; run it again')
  }
  return { data, info }
}

async function stylize ({ content, style, out, recipe, previews }) {
  const request = {
    request_id: randomUUID(), // makes the call safe to repeat
    spec: {
      content: { encoded: await readFile(content) },
      styles: [{ image: { encoded: await readFile(style) } }],
      recipe
    },
    preview: { disabled: !previews }
  }
  if (previews) await mkdir(previews, { recursive: true })
  let job = await persist(() => call('createJob', request))
  try {
    job = await watch(job, previews)
    if (job.error) throw job.error
    if (word(job.state) === 'cancelled') throw new Error('someone cancelled the job')
    const { data, info } = await download(job.name)
    await writeFile(`${out}.part`, data)
    await rename(`${out}.part`, out)
    print(`${out}: ${info.width} x ${info.height}\n`)
  } catch (error) {
    if (interrupt.signal.aborted) {
      await call('cancelJob', { name: job.name }).then(
        () => print('cancelled\n'),
        (error) => print(`could not cancel ${job.name}: ${explain(error).message}\n`))
    }
    throw error
  }
}

function parse () {
  const text = { type: 'string' }
  const { values, positionals: [content, style, out, ...rest] } = parseArgs({
    allowPositionals: true,
    options: {
      server: text, size: text, effort: text, evaluations: text, previews: text,
      'token-file': text, tls: { type: 'boolean' }, ca: text
    }
  })
  const natural = (name) => {
    if (!/^\d+$/.test(values[name])) throw new Error(`--${name} ${values[name]} is not a number`)
    return Number(values[name])
  }
  const recipe = {}
  if (!out || rest.length) throw new Error('give CONTENT, STYLE and OUT')
  if (values.effort && values.evaluations) throw new Error('give --effort or --evaluations, not both')
  if (values.effort && !['draft', 'standard', 'fine'].includes(values.effort)) {
    throw new Error(`--effort ${values.effort} is not draft, standard or fine`)
  }
  if (values.size) recipe.longest_side = natural('size')
  if (values.effort) recipe.effort = `EFFORT_${values.effort.toUpperCase()}`
  if (values.evaluations) recipe.evaluations = natural('evaluations')
  return { content, style, out, recipe, ...values }
}

async function main () {
  let options
  try {
    options = parse()
  } catch (error) {
    console.error(`stylize: ${error.message}\n${USAGE}`)
    return 2
  }
  try {
    const { server, tls, ca, 'token-file': tokenFile } = options
    const token = tokenFile ? (await readFile(tokenFile, 'utf8')).trim() : process.env.IMPASTO_TOKEN
    metadata = new grpc.Metadata()
    if (token) metadata.set('authorization', `Bearer ${token}`)
    client = new impasto.v1.StyleTransfer(
      server || process.env.IMPASTO_SERVER || 'localhost:50051',
      tls || ca ? grpc.credentials.createSsl(ca && await readFile(ca)) : grpc.credentials.createInsecure(),
      { 'grpc.keepalive_time_ms': 30_000, 'grpc.max_reconnect_backoff_ms': 2_000 }
    )
    await stylize(options)
    return 0
  } catch (error) {
    if (interrupt.signal.aborted) return 130
    const { message, BadRequest: bad } = explain(error)
    const lines = bad ? bad.field_violations.map(({ field, description }) => `${field} ${description}`) : [message]
    print(lines.map((line) => `stylize: ${line}\n`).join(''))
    return 1
  } finally {
    client?.close()
  }
}

process.exitCode = await main()
