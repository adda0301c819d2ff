// Paints a photograph in the style of a painting on an Impasto server, from a web page. See README.md.

const CALL_TIMEOUT = 60_000 // of a call, in ms; longer than PREVIEW_WAIT
const PREVIEW_WAIT = '30s'
const PATIENCE = 300_000 // with a server that went away, in ms
const FINAL = ['JOB_STATE_SUCCEEDED', 'JOB_STATE_FAILED', 'JOB_STATE_CANCELLED']

const byId = (id) => document.getElementById(id)
const say = (text) => { byId('status').textContent = text }
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

// The server refused a call: `code` says why, and `message` what to do.
class CallError extends Error {
  constructor (code, message) {
    super(message)
    this.code = code
  }
}

// Makes a call. Over HTTP, a message is JSON, and the address ends with the name of the call.
async function call (method, message) {
  const token = byId('token').value.trim()
  const response = await fetch(new URL(`impasto.v1.StyleTransfer/${method}`, byId('server').value), {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...(token && { Authorization: `Bearer ${token}` }) },
    body: JSON.stringify(message),
    signal: AbortSignal.timeout(CALL_TIMEOUT)
  })
  // A proxy in front of the server may answer with something else.
  const answer = await response.json().catch(() => ({ code: 'unavailable', message: `HTTP ${response.status}` }))
  if (!response.ok) throw new CallError(answer.code, answer.message)
  return answer
}

// Repeats a call while the server is away: `fetch` then throws a TypeError.
async function persist (method, message) {
  const begin = Date.now()
  for (;;) {
    try {
      return await call(method, message)
    } catch (error) {
      const away = error instanceof CallError ? error.code === 'unavailable' : true
      if (!away || Date.now() - begin > PATIENCE) throw error
      say(`${error.message}; trying again`)
      await sleep(1000)
    }
  }
}

// The bytes of a file as base64, which stands for bytes in JSON.
async function encoded (file) {
  const reader = new FileReader()
  await new Promise((resolve, reject) => {
    reader.onload = resolve
    reader.onerror = () => reject(reader.error)
    reader.readAsDataURL(file)
  })
  return reader.result.slice(reader.result.indexOf(',') + 1)
}

async function listStyles () {
  byId('style').replaceChildren()
  try {
    const { styles = [] } = await call('ListStyles', {})
    byId('style').replaceChildren(...styles.map(({ name, title }) => new Option(title || name, name)))
    say('')
  } catch (error) {
    say(`The styles cannot be listed: ${error.message}`)
  }
}

function show (job) {
  const { evaluation, evaluations, timeLeft } = job.progress ?? {}
  const state = job.state.replace('JOB_STATE_', '').toLowerCase()
  say(job.state === 'JOB_STATE_RUNNING' && evaluation
    ? `evaluation ${evaluation}/${evaluations}` + (timeLeft ? `, ${Math.ceil(parseFloat(timeLeft))} s left` : '')
    : state + (job.queuePosition ? `, place ${job.queuePosition}` : ''))
}

// Shows a job until it is final. Each call waits for a newer preview, so there is no stream to keep.
async function watch (job) {
  let sequence = '0' // 64-bit integers are texts in JSON
  while (!FINAL.includes(job.state)) {
    const answer = await persist('GetPreview', { name: job.name, afterSequence: sequence, wait: PREVIEW_WAIT })
    sequence = answer.sequence ?? sequence
    job = answer.job
    show(job)
    if (answer.preview) {
      const type = answer.preview.format.replace('IMAGE_FORMAT_', 'image/').toLowerCase()
      byId('picture').src = `data:${type};base64,${answer.preview.data}`
      byId('picture').hidden = false
    }
  }
  return job
}

// Shows the picture of a job with a link, an address that needs no token until it expires.
async function showResult (job) {
  const { links: [link] } = await persist('CreateImageLinks', { sources: [{ resultOf: job.name }] })
  const address = new URL(link.path, byId('server').value)
  byId('picture').src = address
  byId('picture').hidden = false
  byId('download').href = `${address}?download=painted.png`
  byId('download').hidden = false
}

async function paint () {
  byId('picture').hidden = byId('download').hidden = true
  const spec = {
    content: { encoded: await encoded(byId('photo').files[0]) },
    styles: [{ image: { style: byId('style').value } }],
    recipe: { longestSide: Number(byId('size').value) }
  }
  // With this, a repeated call does not make a second job.
  const requestId = crypto.getRandomValues(new Uint32Array(4)).join('-')
  let job = await persist('CreateJob', { spec, requestId })
  const cancel = () => call('CancelJob', { name: job.name }).catch((error) => say(error.message))
  byId('cancel').addEventListener('click', cancel)
  byId('cancel').disabled = false
  try {
    job = await watch(job)
  } finally {
    byId('cancel').removeEventListener('click', cancel)
    byId('cancel').disabled = true
  }
  if (job.state === 'JOB_STATE_SUCCEEDED') await showResult(job)
  else if (job.error) say(job.error.message)
}

byId('form').addEventListener('submit', async (event) => {
  event.preventDefault()
  byId('paint').disabled = true
  try {
    await paint()
  } catch (error) {
    say(error.message)
  } finally {
    byId('paint').disabled = false
  }
})
for (const id of ['server', 'token']) byId(id).addEventListener('change', listStyles)
listStyles()
