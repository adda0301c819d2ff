#!/usr/bin/env node
// Paints a photograph in the style of a painting on an Impasto server. See README.md.
import { createHash, randomUUID } from 'node:crypto'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { create, type DescMessage, type MessageShape } from '@bufbuild/protobuf'
import { anyUnpack, type Duration } from '@bufbuild/protobuf/wkt'
import { type Client, Code, ConnectError, createClient, type Interceptor } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from './generated/google/rpc/error_details_pb.js'
import type { Status } from './generated/google/rpc/status_pb.js'
import {
  CreateJobRequestSchema, Effort, ImageFormat, type ImageInfo, type Job, JobState, type Recipe, RecipeSchema,
  StyleTransfer
} from './generated/impasto/v1/style_transfer_pb.js'

const USAGE = `usage: stylize CONTENT STYLE OUT.png [--server HOST:PORT] [--size PIXELS]
         [--effort draft|standard|fine | --evaluations N] [--previews DIR]
         [--token-file FILE] [--tls] [--ca FILE]`
const CALL_TIMEOUT = 30_000 // of a call with one answer, in ms
const FIRST_PATIENCE = 5_000 // with a server that has never answered, in ms
const PATIENCE = 300_000 // with a server that went away, in ms
const FINAL = [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED]

interface Options {
  content: string
  style: string
  out: string
  recipe: Recipe
  server: string
  previews?: string
  tokenFile?: string
  tls: boolean
  ca?: string
}

// A job that ended without a picture, with the job's own error if it has one.
class JobError extends Error {
  constructor (message: string, readonly status?: Status) {
    super(message)
  }
}

const interrupt = new AbortController()
process.once('SIGINT', () => interrupt.abort()) // a second Ctrl-C ends the program at once

let lastHeard = Date.now()
let patience = FIRST_PATIENCE

const print = (line: string) => process.stderr.write(`\r\x1b[K${line}`)
const milliseconds = ({ seconds, nanos }: Duration) => Number(seconds) * 1000 + nanos / 1e6
const isFinal = (job: Job) => FINAL.includes(job.state)

function heard (): void {
  lastHeard = Date.now()
  patience = PATIENCE
}

// A detail of an error, of a call or of a job: a BadRequest, for example.
function detail<T extends DescMessage> (error: unknown, kind: T): MessageShape<T> | undefined {
  if (error instanceof ConnectError) return error.findDetails(kind)[0]
  if (!(error instanceof JobError)) return undefined
  return error.status?.details.map((any) => anyUnpack(any, kind)).find((found) => found !== undefined)
}

function message (error: unknown): string {
  if (error instanceof ConnectError) return error.rawMessage
  return error instanceof Error ? error.message : String(error)
}

// Whether the server is away: the code is UNAVAILABLE, or the connection broke. A broken connection can show
// as other codes, but only the server's own errors have an ErrorInfo.
function isAway (error: unknown): boolean {
  if (!(error instanceof ConnectError)) return false
  if (error.code === Code.Unavailable) return true
  const broken = [Code.Aborted, Code.Canceled, Code.Internal, Code.Unknown]
  return broken.includes(error.code) && detail(error, ErrorInfoSchema) === undefined
}

// Repeats an attempt while the server is away.
async function persist<T> (attempt: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      interrupt.signal.throwIfAborted()
      const answer = await attempt()
      heard()
      return answer
    } catch (error) {
      interrupt.signal.throwIfAborted()
      if (!isAway(error) || Date.now() - lastHeard > patience) throw error
      print(`${message(error)}; trying again`)
      const delay = detail(error, RetryInfoSchema)?.retryDelay
      await sleep(delay ? milliseconds(delay) : 1000, null, interrupt)
    }
  }
}

function show (job: Job): void {
  const { progress } = job
  if (job.state === JobState.RUNNING && progress?.evaluation) {
    const { evaluation, evaluations, scale, scales, loss, timeLeft } = progress
    print(`evaluation ${evaluation}/${evaluations}, scale ${scale}/${scales}, loss ${loss.toPrecision(4)}` +
      (timeLeft ? `, ${Math.ceil(milliseconds(timeLeft) / 1000)} s left` : ''))
  } else {
    print(JobState[job.state].toLowerCase() + (job.queuePosition ? `, place ${job.queuePosition}` : ''))
  }
}

// Watches a job until it is final. If the stream breaks, it is resumed after the last event.
async function watch (client: Client<typeof StyleTransfer>, job: Job, previews?: string): Promise<Job> {
  let sequence = 0n
  while (!isFinal(job)) {
    let delay = 0
    await persist(async () => {
      const request = { name: job.name, afterSequence: sequence, omitPreviews: previews === undefined }
      for await (const { event, sequence: number } of client.watchJob(request, interrupt)) {
        heard()
        if (number > sequence) sequence = number
        switch (event.case) {
          case 'job':
            job = event.value
            show(job)
            break
          case 'progress':
            job.progress = event.value
            show(job)
            break
          case 'preview': {
            const { evaluation, format, data } = event.value
            const name = `${String(evaluation).padStart(6, '0')}.${ImageFormat[format].toLowerCase()}`
            await writeFile(join(previews ?? '.', name), data)
            break
          }
          case 'resume':
            delay = event.value.retryDelay ? milliseconds(event.value.retryDelay) : 1000
        }
      }
    })
    if (!isFinal(job)) await sleep(delay, null, interrupt)
  }
  return job
}

// Fetches the picture of a job. If the stream breaks, it is resumed after the last byte.
async function download (client: Client<typeof StyleTransfer>, name: string): Promise<[Buffer, ImageInfo]> {
  const chunks: Uint8Array[] = []
  let offset = 0
  let info: ImageInfo | undefined
  await persist(async () => {
    const request = { source: { case: 'resultOf', value: name }, offset: BigInt(offset) } as const
    for await (const chunk of client.downloadImage(request, interrupt)) {
      heard()
      info ??= chunk.info
      chunks.push(chunk.data)
      offset += chunk.data.length
    }
  })
  const data = Buffer.concat(chunks)
  if (info === undefined || createHash('sha256').update(data).digest('hex') !== info.sha256) {
    throw new Error('the picture was damaged on its way; run it again')
  }
  return [data, info]
}

async function stylize (client: Client<typeof StyleTransfer>, options: Options): Promise<void> {
  const { previews, out } = options
  const image = async (file: string) => ({ source: { case: 'encoded', value: await readFile(file) } } as const)
  const request = create(CreateJobRequestSchema, {
    requestId: randomUUID(), // makes the call safe to repeat
    spec: {
      content: await image(options.content),
      styles: [{ image: await image(options.style) }],
      recipe: options.recipe
    },
    preview: { disabled: previews === undefined }
  })
  if (previews !== undefined) await mkdir(previews, { recursive: true })
  const { signal } = interrupt
  let job = await persist(() => client.createJob(request, { signal, timeoutMs: CALL_TIMEOUT }))
  try {
    job = await watch(client, job, previews)
    if (job.error) throw new JobError(job.error.message, job.error)
    if (job.state === JobState.CANCELLED) throw new JobError('someone cancelled the job')
    const [data, info] = await download(client, job.name)
    await writeFile(`${out}.part`, data)
    await rename(`${out}.part`, out)
    print(`${out}: ${info.width} x ${info.height}\n`)
  } catch (error) {
    if (signal.aborted) {
      await client.cancelJob({ name: job.name }, { timeoutMs: CALL_TIMEOUT }).then(
        () => print('cancelled\n'),
        (error) => print(`could not cancel ${job.name}: ${message(error)}\n`))
    }
    throw error
  }
}

function parse (): Options {
  const text = { type: 'string' } as const
  const { values, positionals: [content, style, out, ...rest] } = parseArgs({
    allowPositionals: true,
    options: {
      server: text, size: text, effort: text, evaluations: text, previews: text,
      'token-file': text, tls: { type: 'boolean' }, ca: text
    }
  })
  if (content === undefined || style === undefined || out === undefined || rest.length > 0) {
    throw new Error('give CONTENT, STYLE and OUT')
  }
  const natural = (name: 'size' | 'evaluations', value: string) => {
    if (!/^\d{1,9}$/.test(value)) throw new Error(`--${name} ${value} is not a number`)
    return Number(value)
  }
  const { size, effort, evaluations } = values
  const recipe = create(RecipeSchema)
  if (size !== undefined) recipe.longestSide = natural('size', size)
  if (effort !== undefined && evaluations !== undefined) throw new Error('give --effort or --evaluations, not both')
  if (effort !== undefined) {
    const value = { draft: Effort.DRAFT, standard: Effort.STANDARD, fine: Effort.FINE }[effort]
    if (value === undefined) throw new Error(`--effort ${effort} is not draft, standard or fine`)
    recipe.duration = { case: 'effort', value }
  }
  if (evaluations !== undefined) {
    recipe.duration = { case: 'evaluations', value: natural('evaluations', evaluations) }
  }
  return {
    content,
    style,
    out,
    recipe,
    server: values.server ?? (process.env.IMPASTO_SERVER || 'localhost:50051'),
    previews: values.previews,
    tokenFile: values['token-file'],
    tls: values.tls ?? values.ca !== undefined,
    ca: values.ca
  }
}

async function connect ({ server, tls, ca, tokenFile }: Options): Promise<Client<typeof StyleTransfer>> {
  const token = tokenFile ? (await readFile(tokenFile, 'utf8')).trim() : process.env.IMPASTO_TOKEN
  const withToken: Interceptor = (next) => (request) => {
    if (token) request.header.set('authorization', `Bearer ${token}`)
    return next(request)
  }
  return createClient(StyleTransfer, createGrpcTransport({
    baseUrl: `${tls ? 'https' : 'http'}://${server}`,
    interceptors: [withToken],
    nodeOptions: { ca: ca && await readFile(ca) },
    pingIntervalMs: 30_000
  }))
}

async function main (): Promise<number> {
  let options
  try {
    options = parse()
  } catch (error) {
    console.error(`stylize: ${message(error)}\n${USAGE}`)
    return 2
  }
  try {
    await stylize(await connect(options), options)
    return 0
  } catch (error) {
    if (interrupt.signal.aborted) return 130
    const bad = detail(error, BadRequestSchema)
    const lines = bad?.fieldViolations.map(({ field, description }) => `${field} ${description}`) ?? [message(error)]
    print(lines.map((line) => `stylize: ${line}\n`).join(''))
    return 1
  }
}

process.exit(await main())
