/**
 * The page that `npm start` shows: the environ of the request, an upload that is hashed while it arrives, and a stream
 * of events. One file without a framework; each route is an application.
 *
 * The page shows everything that the client sent, including credentials: do not serve it on the internet.
 */

import { createHash } from 'node:crypto'
import { hostname } from 'node:os'
import { setTimeout as wait } from 'node:timers/promises'
import type { Application, Environ } from '../protocol/contract/application.ts'

export const application: Application = (environ, startResponse) => {
  const route = Object.hasOwn(routes, environ.PATH_INFO) ? routes[environ.PATH_INFO] : undefined
  if (route === undefined) {
    startResponse('404 Not Found', [['Content-Type', 'text/plain; charset=utf-8']])
    return [Buffer.from('There is nothing here. Try /\n')]
  }
  const [methods, serve] = route
  if (methods.includes(environ.REQUEST_METHOD)) return serve(environ, startResponse)
  startResponse('405 Method Not Allowed', [
    ['Allow', methods.join(', ')],
    ['Content-Type', 'text/plain; charset=utf-8'],
  ])
  return [Buffer.from(`Use ${methods.join(' or ')} here.\n`)]
}

/** An array of one chunk: the gateway adds its Content-Length. */
const page: Application = (environ, startResponse) => {
  startResponse('200 OK', [
    ['Content-Type', 'text/html; charset=utf-8'],
    ['Cache-Control', 'no-store'],
  ])
  return [Buffer.from(html(environ))]
}

/** Reads the body while it arrives: a file of any size takes one window of memory. */
const upload: Application = async (environ, startResponse) => {
  const hash = createHash('sha256')
  let size = 0
  for await (const chunk of environ['wsgi.input']) {
    hash.update(chunk)
    size += chunk.length
  }
  startResponse('200 OK', [['Content-Type', 'text/plain; charset=utf-8']])
  return [Buffer.from(`${size} bytes, sha256 ${hash.digest('hex')}\n`)]
}

/** Server-sent events, one per second, until the client disconnects or the process drains. */
const ticks: Application = async function* (environ, startResponse) {
  const { gantry } = environ
  startResponse('200 OK', [
    ['Content-Type', 'text/event-stream'],
    ['Cache-Control', 'no-store'],
  ])
  for (let tick = 1; !gantry.draining; tick++) {
    yield Buffer.from(`data: tick ${tick} at ${new Date().toISOString()}\n\n`)
    try {
      await wait(1_000, undefined, { signal: gantry.signal })
    } catch {
      return // The client has disconnected.
    }
  }
}

const routes: Readonly<Record<string, [methods: string[], serve: Application]>> = {
  '/': [['GET', 'HEAD'], page],
  '/upload': [['POST', 'PUT'], upload],
  '/ticks': [['GET', 'HEAD'], ticks],
}

function html(environ: Environ): string {
  // Links count from where the application is mounted.
  const base = escaped(encodeURI(text(environ.SCRIPT_NAME)))
  const rows = Object.keys(environ)
    .sort()
    .map((name) => `<tr><th>${escaped(text(name))}<td>${escaped(show(environ[name]))}`)
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Hello from Gantry</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
  table { border-collapse: collapse; font: 13px/1.5 ui-monospace, monospace }
  th, td { text-align: left; vertical-align: top; padding: 2px 1rem 2px 0; border-bottom: 1px solid #8883; overflow-wrap: anywhere }
  th { font-weight: normal; opacity: .7; white-space: nowrap }
  output { font: 13px ui-monospace, monospace; overflow-wrap: anywhere }
  :root { color-scheme: light dark }
</style>
<h1>Hello from Gantry</h1>
<p>Your request came through the proxy, over frames, to the application in <code>examples/hello.ts</code> on <b id="container">${escaped(hostname())}</b>, and this page went the same way back.
<h2>A live stream</h2>
<p><output id="tick">…</output>
<h2>An upload</h2>
<p><input type="file" id="file"> <output id="sum">Choose a file: it is hashed as it comes, and kept nowhere.</output>
<h2>The environ</h2>
<table>
${rows.join('\n')}
</table>
<script>
  const show = (id, text) => { document.getElementById(id).textContent = text }
  new EventSource('${base}/ticks').onmessage = (event) => show('tick', event.data)
  document.getElementById('file').onchange = async ({ target: { files: [file] } }) => {
    if (!file) return
    show('sum', 'sending ' + file.name + ' …')
    try {
      const answer = await fetch('${base}/upload', { method: 'POST', body: file })
      show('sum', file.name + ': ' + await answer.text())
    } catch (error) {
      show('sum', String(error))
    }
  }
</script>
`
}

/** Strings in the environ hold bytes, one in each code unit (PEP 3333 §"Unicode Issues"). Most clients send UTF-8. */
function text(native: string): string {
  return Buffer.from(native, 'latin1').toString('utf8')
}

function show(value: unknown): string {
  if (typeof value === 'string') return text(value)
  if (typeof value === 'function') return '(a function)'
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return JSON.stringify(value) ?? String(value)
  return '(an object)'
}

function escaped(unsafe: string): string {
  return unsafe.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}
