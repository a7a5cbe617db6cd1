/**
 * An error as an answer for the person who is writing the application: source lines, stack and environ, as HTML for a browser, else as JSON or
 * text. Only development loads this file. It knows neither processes nor files that change.
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
  /** One line above the error: what it is about. */
  readonly title: string
  /** What is shown, as the development server names it: the page reloads once that is no more. */
  readonly shown: string
  /** The request that failed, if it was one. */
  readonly environ?: Environ | undefined
  /** Of the request that is answered. */
  readonly method: string
}

/** Django's rule for its debug pages: they end up in tickets and chats. */
const SECRET = /API|AUTH|TOKEN|KEY|SECRET|PASS|SIGNATURE|COOKIE|CREDENTIAL/i

/** Of the one handler that youch writes into an attribute, on the button which copies the message (CSP3 §8.3). */
const COPY_HASH = `sha256-${createHash('sha256').update('copyErrorMessage(this)').digest('base64')}`

/** Gantry's own files: not the application's, although they may not be below node_modules. */
const OWN = fileURLToPath(new URL('../', import.meta.url))

/** An application that answers with `view`, once. */
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
    // With excInfo: the application may have begun a response that has not left yet.
    startResponse(`${status} ${STATUS_CODES[status] ?? 'Error'}`, headers, error)
    return [body]
  }
}

/** A terminal's view of it. */
export async function errorText(error: Error, color: boolean): Promise<string> {
  const text = await youch().toANSI(error)
  return color ? text : stripVTControlCharacters(text)
}

function formOf(accept: unknown): 'html' | 'json' | 'text' {
  if (typeof accept !== 'string') return 'text'
  if (/text\/html/i.test(accept)) return 'html'
  return /application\/(?:[\w.+-]+\+)?json/i.test(accept) ? 'json' : 'text'
}

/** The first frame of the application's own is what is opened; ours say nothing to whoever writes it, unless nothing else is left. */
function youch(): Youch {
  return new Youch().useTransformer((parsed) => {
    // Of a stack without frames the parser makes one of the message.
    const frames = parsed.frames.filter(({ lineNumber }) => lineNumber !== undefined)
    parsed.frames = frames
    for (const frame of frames) if (frame.fileName !== undefined) frame.fileName = pathOf(frame.fileName)
    for (const frame of frames) if (isOwn(frame.fileName)) frame.type = 'module'
    const others = frames.filter(({ fileName }) => !isOwn(fileName))
    if (others.some(({ type }) => type === 'app')) parsed.frames = others
  })
}

/** `at async file:///…`, as V8 writes the top level of a module, is not undone by the parser. */
function pathOf(name: string): string {
  if (!name.startsWith('async file:///')) return name
  try {
    return fileURLToPath(name.slice('async '.length))
  } catch {
    // A stack may be anything.
    return name
  }
}

/** Ours, wherever this package lies: not its examples and tests, which are applications. */
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
  // Sent again by itself is only what may be (RFC 9110 §9.2.1); in a browser the rest would ask its user.
  const again = method === 'GET'
  const script = `<script nonce="${nonce}">(${watch})(${JSON.stringify({ path: `${EVENTS_PATH}?shown=${encodeURIComponent(shown)}`, again, overlay: OVERLAY_NAME })})</script>`
  const end = text.lastIndexOf('</body>')
  return end === -1 ? text + script : text.slice(0, end) + script + text.slice(end)
}

/**
 * Runs in the browser. Listens only while it is seen: a browser has six connections for all the tabs of a site.
 *
 * Written as text, since nothing of it is checked against a browser's types here.
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
      note.textContent = 'The application has been loaded anew. Send the request again.'
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

/** The environ for a person: its variables, and of objects only what they are. Values of names that tell of secrets are left out. */
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
