/** The site's own error pages by status, and how one of them answers. `error-page.ts` decides when. */

import { readFileSync, statSync } from 'node:fs'
import { STATUS_CODES } from 'node:http'
import { extname, resolve } from 'node:path'
import mime from 'mime-types'
import type { Application, Body, Environ, Headers, StartResponse } from '../../protocol/contract/application.ts'
import { Context } from '../../protocol/contract/context.ts'
import { DerivedContext } from '../../protocol/contract/derived-context.ts'
import { RequestInput } from '../../protocol/contract/input.ts'
import { OpenBody } from '../../protocol/contract/open-body.ts'
import { setHeader } from '../../protocol/contract/request-headers.ts'
import { statusPage as plainPage, prefersJson } from '../../protocol/contract/status-page.ts'
import { headerOf } from '../shared/response-fields.ts'

/** A status from 400 to 599, or a class of them. */
export type PageKey = number | '4xx' | '5xx'

/**
 * The parts of a request that inner middleware may change before a page is needed (`mount` the path, `timeout` the
 * context).
 */
export type OriginalRequest = Pick<Environ, 'REQUEST_METHOD' | 'SCRIPT_NAME' | 'PATH_INFO' | 'QUERY_STRING' | 'gantry'>

/** Largest page file, bytes: page files are kept in memory. */
const FILE_MAX = 1024 * 1024

export class CustomPages {
  readonly #pages: Map<string, Application> = new Map()

  /** @throws TypeError if a key or page is invalid, or a file cannot be read; its cause is then the error of node:fs */
  constructor(pages: Readonly<Partial<Record<PageKey, string | Application>>>) {
    for (const [key, page] of Object.entries(pages)) {
      if (!/^[45](?:\d\d|xx)$/.test(key)) {
        throw new TypeError(`errorPage: pages are for statuses from 400 to 599, or '4xx' and '5xx', got ${key}`)
      }
      if (typeof page === 'string') this.#pages.set(key, filePage(key, page))
      else if (typeof page === 'function') this.#pages.set(key, page)
      else
        throw new TypeError(
          `errorPage: expected the path of a file or an application as page, got ${typeof page} for ${key}`,
        )
    }
  }

  /** Whether there are pages besides the plain one. */
  get hasOwn(): boolean {
    return this.#pages.size > 0
  }

  /**
   * Answers with the page for `status`, or with the plain page if that page fails before its first byte.
   *
   * @param original the request before inner middleware
   * @param status a code alone, or with a reason phrase, which is kept
   * @param headers fields of the error; those that do not describe a body are kept (WWW-Authenticate, Allow,
   *   Retry-After, Set-Cookie)
   * @param excInfo replaces an earlier head
   * @param failed called if the page fails
   */
  answer(
    environ: Environ,
    original: OriginalRequest,
    status: string,
    headers: Headers,
    startResponse: StartResponse,
    excInfo: unknown,
    failed: (error: unknown) => void,
  ): Body | Promise<Body> {
    const code = status.slice(0, 3)
    const line = status.length > 4 ? status : `${code} ${STATUS_CODES[code] ?? 'Error'}`
    const kept = headers.filter(([name]) => !describesBody(name))
    let nextExcInfo = excInfo
    const written: Uint8Array[] = []
    const start: StartResponse = (_status, fields, ownInfo) => {
      const own = new Set(fields.map(([name]) => name.toLowerCase()))
      const all = [...kept.filter(([name]) => !own.has(name.toLowerCase())), ...fields]
      if (headerOf(all, 'x-request-id') === undefined) all.push(['X-Request-Id', environ.gantry.requestId])
      startResponse(line, all, ownInfo ?? nextExcInfo)
      // A later head replaces this one.
      nextExcInfo ??= new Error('the error page failed')
      // Collected and sent with the body: the response's body may be iterated already, and then write() is not allowed.
      return async (chunk) => void written.push(chunk)
    }
    const plain = (): Body | Promise<Body> => plainPage(Number(code))(environ, start)
    const page = this.#pages.get(code) ?? this.#pages.get(`${code[0]}xx`)
    if (!page) return plain()
    const instead = (error: unknown): Body | Promise<Body> => {
      failed(error)
      return plain()
    }
    try {
      const body = page(pageEnviron(environ, original, code), start)
      if (typeof (body as Promise<Body>)?.then !== 'function') return pageBody(written, body as Body, instead, failed)
      return (body as Promise<Body>).then((late) => pageBody(written, late, instead, failed), instead)
    } catch (error) {
      return instead(error)
    }
  }
}

/**
 * The bytes that a page wrote, followed by its body; a generator may write at any step. If the page fails before its
 * first byte, the plain page answers instead.
 */
function pageBody(
  written: Uint8Array[],
  body: Body,
  instead: (error: unknown) => Body | Promise<Body>,
  failed: (error: unknown) => void,
): Body {
  if (typeof body !== 'object' || body === null || (Array.isArray(body) && written.length === 0)) return body
  const open = new OpenBody()
  open.give(body)
  return {
    async *[Symbol.asyncIterator]() {
      let begun = false
      try {
        const iterator = open.iterate()
        for (;;) {
          const step = await iterator.next()
          begun ||= written.length > 0
          yield* written.splice(0)
          if (step.done) break
          begun ||= step.value?.length !== 0
          yield step.value
        }
        open.iterator = undefined
      } catch (error) {
        open.iterator = undefined
        if (begun) throw error
        yield* await instead(error)
      }
    },
    close: () => open.close(failed),
  }
}

/** Whether a field describes the body that is replaced. */
function describesBody(name: string): boolean {
  return /^(?:content-(?!security-policy)|etag$|last-modified$|accept-ranges$|digest$|repr-digest$)/i.test(name)
}

/** Conditions and ranges, which would change the answer of a page. */
const CONDITIONS = ['If-Match', 'If-None-Match', 'If-Modified-Since', 'If-Unmodified-Since', 'If-Range', 'Range']

/** The environ for the page's application: with the original path, without a body and without conditions. */
function pageEnviron(environ: Environ, original: OriginalRequest, code: string): Environ {
  const own: Environ = Object.assign(Object.create(Object.getPrototypeOf(environ)), environ, original)
  const context = new DerivedContext(original.gantry)
  // The header lines that belong to the current variables.
  if (environ.gantry instanceof Context) context.lines = environ.gantry.lines.slice()
  own.gantry = context
  own['wsgi.input'] = new RequestInput(null)
  if (own.REQUEST_METHOD !== 'HEAD') own.REQUEST_METHOD = 'GET'
  own['REDIRECT_STATUS'] = code
  for (const name of ['Content-Length', 'Content-Type', ...CONDITIONS]) setHeader(own, name, undefined)
  return own
}

function filePage(key: string, path: string): Application {
  const bytes = readPage(key, path)
  const type = mime.contentType(extname(path)) || 'application/octet-stream'
  const json = type.startsWith('application/json')
  return (environ, startResponse) => {
    if (!json && prefersJson(environ['HTTP_ACCEPT'])) {
      return plainPage(Number(environ['REDIRECT_STATUS']))(environ, startResponse)
    }
    startResponse('200 OK', [
      ['Content-Type', type],
      ['Content-Length', String(bytes.length)],
      ['Cache-Control', 'no-store'],
    ])
    return [bytes]
  }
}

function readPage(key: string, path: string): Buffer {
  const label = `errorPage: the page for ${key}, ${resolve(path)},`
  try {
    const { size } = statSync(path)
    if (size <= FILE_MAX) return readFileSync(path)
    throw new TypeError(`${label} has ${size} bytes; a page has at most ${FILE_MAX}`)
  } catch (cause) {
    if (cause instanceof TypeError) throw cause
    throw new TypeError(`${label} cannot be read: ${(cause as Error).message}; correct its path or permissions`, {
      cause,
    })
  }
}
