/** An application that uses its own copy of Gantry, and reports what its `instanceof` finds. Run it in a folder with that copy. */

import { writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { AbortError, fromFetch, fromNode, HttpError, lint, setHeader } from 'gantry'
import {
  basicAuth,
  bodyLimit,
  cache,
  compose,
  compress,
  conditional,
  errorPage,
  mount,
  requestId,
  signals,
  staticFiles,
  timeout,
} from 'gantry/middleware'
import { fileBody } from 'gantry/protocol'

const text = [['Content-Type', 'text/plain']]
const file = join(import.meta.dirname, 'file.txt')
writeFileSync(file, 'content '.repeat(20_000))

const say = (body) => (_environ, startResponse) => {
  startResponse('200 OK', [...text])
  return [Buffer.from(String(body))]
}
const show = (of) => async (environ, startResponse) => {
  const body = JSON.stringify(await of(environ))
  startResponse('200 OK', [['Content-Type', 'application/json']])
  return [Buffer.from(body)]
}
const slow = () => {
  throw new HttpError(429, 'SLOW', 'slow down', { headers: [['Retry-After', '7']] })
}
const echo = async (environ, startResponse) => {
  const body = await environ['wsgi.input'].read()
  startResponse('200 OK', [...text])
  return [body]
}
const never = (environ) => new Promise((_, reject) => environ.gantry.onFinished(() => reject(new Error('over'))))

let answers = 0
const gone = Promise.withResolvers()
const failed = []
const told = signals()
told.requestFailed.subscribe(({ error }) => failed.push(String(error?.message)))

const routes = {
  '/throw': slow,
  '/reject': async () => slow(),
  '/auth': basicAuth({ realm: 'copies', verify: (_user, password) => password === 'secret' })(say('in')),
  '/limit': bodyLimit({ limit: 10 })(echo),
  '/node-limit': compose(
    bodyLimit({ limit: 10 }),
    fromNode((req, res) => req.pipe(res)),
  ),
  '/timeout': timeout({ firstByte: 20 })(never),
  '/timed': timeout({ firstByte: 60_000 })(
    show(({ gantry }) => gantry.rawHeaders.filter(([name]) => /^x-/i.test(name))),
  ),
  '/cache': cache()((_environ, startResponse) => {
    startResponse('200 OK', [...text, ['Cache-Control', 'max-age=600']])
    return [Buffer.from(`answer ${++answers}`)]
  }),
  '/compress': compose(compress(), conditional(), say('the same '.repeat(1000))),
  '/static': staticFiles(import.meta.dirname),
  '/page': errorPage({ pages: { 429: say('our own page') } })(slow),
  '/node': fromNode((req, res) =>
    res
      .writeHead(201, { 'X-Method': req.method })
      .end(req.rawHeaders.filter((_, at, all) => /^x-case$/i.test(all[at - (at % 2)])).join()),
  ),
  '/node-throw': fromNode(slow),
  '/fetch': fromFetch(
    async (request) =>
      new Response(await request.text(), { status: 202, headers: { 'X-Url': new URL(request.url).pathname } }),
  ),
  '/fetch-throw': fromFetch(slow),
  '/header': show((environ) => {
    setHeader(environ, 'X-Set', 'here')
    return environ.gantry.rawHeaders.filter(([name]) => /^x-(set|case)$/i.test(name))
  }),
  '/id': requestId()(show(({ gantry, HTTP_X_REQUEST_ID }) => gantry.requestId === HTTP_X_REQUEST_ID)),
  '/file': async (_environ, startResponse) => {
    const body = await fileBody(file)
    startResponse('200 OK', [...text, ['Content-Length', String(body.contentLength)]])
    return body
  },
  '/wrapper': async (environ, startResponse) => {
    const handle = await open(file)
    startResponse('200 OK', [...text])
    return environ['wsgi.file_wrapper'](handle)
  },
  '/lint': lint(echo),
  '/broken': lint((_environ, startResponse) => {
    startResponse('200 OK', [...text])
    return 'a string'
  }),
  '/failing': told(slow),
  '/failed': show(() => failed),
  /** Waits until its client disconnects, and keeps the error of the read. */
  '/leave': async (environ, startResponse) => {
    const write = startResponse('200 OK', [...text])
    await write(Buffer.from('first'))
    const reason = await new Promise((resolve) => {
      environ.gantry.signal.addEventListener('abort', () => resolve(environ.gantry.signal.reason))
    })
    gone.resolve([reason instanceof AbortError, reason instanceof HttpError, reason.code])
    return []
  },
  '/left': show(() => gone.promise),
}

export const application = mount(routes)

/** For `--middleware`. */
export const middleware = (inner) =>
  compose(
    errorPage({ pages: { 403: say('the page of a middleware') } }),
    bodyLimit({ limit: 1000 }),
    (environ, startResponse) => {
      if (environ.PATH_INFO === '/forbidden') throw new HttpError(403, 'FORBIDDEN', 'not here')
      return inner(environ, startResponse)
    },
  )
