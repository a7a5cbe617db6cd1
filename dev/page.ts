/**
 * A page about an error for the developer: source lines, stack and environ, as HTML for a browser, else as JSON or
 * text. Only `gantry up --dev` loads this file.
 */

import { createHash, randomBytes } from 'node:crypto'
import { STATUS_CODES } from 'node:http'
import { fileURLToPath } from 'node:url'
import { stripVTControlCharacters } from 'node:util'
import { Youch } from 'youch'
import type { Application, Environ, Headers } from '../protocol/contract/application.ts'
import { ContractError } from '../protocol/contract/lint.ts'
import { EVENTS_PATH, OVERLAY_NAME } from './paths.ts'

export interface ErrorView {
  readonly error: Error
  readonly status: number
  /** One line above the error. */
  readonly title: string
  /** The name of the version that the page shows (`load-state.ts`): the page reloads when it is out of date. */
  readonly shown: string
  /** The environ of the failed request, if a request failed. */
  readonly environ?: Environ | undefined
  /** The method of the request that gets this page. */
  readonly method: string
}

/** Names whose values are hidden, as in Django's debug pages: such pages are copied into tickets and chats. */
const SECRET = /API|AUTH|TOKEN|KEY|SECRET|PASS|SIGNATURE|COOKIE|CREDENTIAL/i

/** The hash of the one inline handler of youch: the button that copies the message (CSP3 §8.3). */
const COPY_HASH = `sha256-${createHash('sha256').update('copyErrorMessage(this)').digest('base64')}`

/** The folder of Gantry's own files, which may be outside node_modules. */
const OWN = fileURLToPath(new URL('../', import.meta.url))

/** An application that responds with `view`, once. */
export async function errorView(view: ErrorView, accept: unknown): Promise<Application> {
  const { status, error } = view
  const form = formOf(accept)
  const nonce = randomBytes(16).toString('base64')
  const type = { html: 'text/html', json: 'application/json', text: 'text/plain' }[form]
  const text = form === 'html' ? await html(view, nonce) : form === 'json' ? json(view) : await plain(view)
  const body = Buffer.from(text)
  const headers: Headers = [
    ['Content-Type', `${type}; charset=utf-8`],
    ['Content-Length', String(body.length)],
    ['Cache-Control', 'no-store'],
    ['X-Content-Type-Options', 'nosniff'],
    ['Cross-Origin-Resource-Policy', 'same-origin'],
  ]
  if (form === 'html') {
    const policy = `default-src 'none'; script-src 'nonce-${nonce}' 'unsafe-hashes' '${COPY_HASH}'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'`
    headers.push(['Content-Security-Policy', policy])
  }
  return (_environ, startResponse) => {
    // With excInfo: the application may have begun a response that was not sent yet.
    startResponse(`${status} ${STATUS_CODES[status] ?? 'Error'}`, headers, error)
    return [body]
  }
}

/** The error as text for a terminal. */
export async function errorText(error: Error, color: boolean): Promise<string> {
  const text = await youch().toANSI(error)
  return color ? text : stripVTControlCharacters(text)
}

function formOf(accept: unknown): 'html' | 'json' | 'text' {
  if (typeof accept !== 'string') return 'text'
  if (/text\/html/i.test(accept)) return 'html'
  return /application\/(?:[\w.+-]+\+)?json/i.test(accept) ? 'json' : 'text'
}

/** youch, set to open the application's first frame. Gantry's frames are removed if the application has any. */
function youch(): Youch {
  return new Youch().useTransformer((parsed) => {
    // The parser makes a frame of the message if the stack has no frames.
    const frames = parsed.frames.filter(({ lineNumber }) => lineNumber !== undefined)
    parsed.frames = frames
    for (const frame of frames) if (frame.fileName !== undefined) frame.fileName = pathOf(frame.fileName)
    for (const frame of frames) if (isOwn(frame.fileName)) frame.type = 'module'
    const others = frames.filter(({ fileName }) => !isOwn(fileName))
    if (others.some(({ type }) => type === 'app')) parsed.frames = others
  })
}

/**
 * The path of a frame. The parser does not handle `at async file:///…`, which V8 writes for a module's top level.
 */
function pathOf(name: string): string {
  if (!name.startsWith('async file:///')) return name
  try {
    return fileURLToPath(name.slice('async '.length))
  } catch {
    // A stack may contain any text.
    return name
  }
}

/** Whether a file is Gantry's own. Examples and tests are applications. */
function isOwn(file: string | undefined): boolean {
  if (!file?.startsWith(OWN)) return false
  const path = file.slice(OWN.length)
  return !path.startsWith('examples/') && !path.startsWith('test/')
}

async function html(view: ErrorView, nonce: string): Promise<string> {
  const { error, environ, method, shown, title } = view
  const page = youch()
  if (environ) {
    page.metadata.group('Request', {
      request: [
        { key: 'Request', value: `${environ.REQUEST_METHOD} ${environ.REQUEST_URI}` },
        { key: 'Request id', value: environ.gantry.requestId },
      ],
    })
    page.metadata.group('Environ', { environ: environRows(environ) })
  }
  const text = await page.toHTML(error, { title, cspNonce: nonce })
  // Only a GET is repeated by a reload (RFC 9110 §9.2.1); for other methods the browser would ask the user.
  const again = method === 'GET'
  const script = `<script nonce="${nonce}">(${watch})(${JSON.stringify({ path: `${EVENTS_PATH}?shown=${encodeURIComponent(shown)}`, again, overlay: OVERLAY_NAME })})</script>`
  const end = text.lastIndexOf('</body>')
  return end === -1 ? text + script : text.slice(0, end) + script + text.slice(end)
}

/**
 * Runs in the browser. Listens only while the tab is visible: a browser opens at most six connections to a site.
 *
 * It is a text, since this project has no type checks for browser code.
 */
const watch = `function (options) {
  var source
  function changed() {
    source.close()
    source = null
    if (window.name === options.overlay) parent.location.reload()
    else if (options.again) location.reload()
    else {
      var note = document.createElement('p')
      note.textContent = 'The application was reloaded. Send the request again.'
      note.setAttribute('style', 'position:fixed;inset:0 0 auto 0;margin:0;padding:12px;text-align:center;background:#157347;color:#fff;z-index:9')
      document.body.append(note)
    }
  }
  function listen() {
    if (document.hidden) {
      if (source) source.close()
      source = null
    } else if (source === undefined || source === null) {
      source = new EventSource(options.path)
      source.addEventListener('changed', changed)
    }
  }
  document.addEventListener('visibilitychange', listen)
  listen()
}`

/** The environ for a person: variables, and the classes of objects. Values of names that look secret are hidden. */
function environRows(environ: Environ): { key: string; value: string }[] {
  return Object.keys(environ)
    .sort()
    .map((key) => {
      const value = environ[key]
      if (SECRET.test(key)) return { key, value: '********' }
      if (typeof value === 'string') return { key, value }
      if (typeof value === 'boolean' || typeof value === 'number') return { key, value: String(value) }
      if (Array.isArray(value)) return { key, value: JSON.stringify(value) }
      return { key, value: typeof value === 'function' ? 'a function' : `an object (${value?.constructor?.name})` }
    })
}

function json({ error, status, environ }: ErrorView): string {
  const { name, message, stack, cause } = error
  const rule = error instanceof ContractError ? { code: error.code } : {}
  const because = cause instanceof Error ? { cause: `${cause.name}: ${cause.message}` } : {}
  const title = STATUS_CODES[status]
  const lines = stack?.split('\n')
  return `${JSON.stringify({ status, error: title, requestId: environ?.gantry.requestId, name, message, ...rule, ...because, stack: lines }, undefined, 2)}\n`
}

async function plain({ error, title, environ }: ErrorView): Promise<string> {
  const id = environ ? `\nRequest ${environ.gantry.requestId}\n` : ''
  return `${title}\n${await errorText(error, false)}\n${id}`
}
