/** The pages of a site's own for errors, by status, and how one is answered with. When one is due is not known here. */

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

/** What of a request middleware further in may have changed by the time a page is due (`mount` its path, `timeout` its context). */
export type Asked = Pick<Environ, 'REQUEST_METHOD' | 'SCRIPT_NAME' | 'PATH_INFO' | 'QUERY_STRING' | 'gantry'>

/** Files are kept in memory; a page of an error is no download. */
const FILE_MAX = 1024 * 1024

export class ErrorPages {
  readonly #pages: Map<string, Application> = new Map()

  /** @throws TypeError for a key or page that is none, and a file that cannot be read, with the error of node:fs as its cause */
  constructor(pages: Readonly<Partial<Record<PageKey, string | Application>>>) {
    for (const [key, page] of Object.entries(pages)) {
      if (!/^[45](?:\d\d|xx)$/.test(key)) {
        throw new TypeError(`errorPage: pages are for statuses from 400 to 599, or '4xx' and '5xx', got ${key}`)
      }
      if (typeof page === 'string') this.#pages.set(key, filePage(key, page))
      else if (typeof page === 'function') this.#pages.set(key, page)
      else
        throw new TypeError(`errorPage: a page is the path of a file or an application, got ${typeof page} for ${key}`)
    }
  }

  /** Whether there are any beside the plain one. */
  get own(): boolean {
    return this.#pages.size > 0
  }

  /**
   * Answers with the page for `status`, and with the plain one when that fails before its head.
   *
   * @param asked of the request as it came
   * @param status its code alone, or with a reason, which is then kept
   * @param headers of the error's: what is not about a body is kept (WWW-Authenticate, Allow, Retry-After, Set-Cookie)
   * @param excInfo for a head that was set before
   * @param failed told of a page that fails
   */
  answer(
    environ: Environ,
    asked: Asked,
    status: string,
    headers: Headers,
    startResponse: StartResponse,
    excInfo: unknown,
    failed: (error: unknown) => void,
  ): Body | Promise<Body> {
    const code = status.slice(0, 3)
    const line = status.length > 4 ? status : `${code} ${STATUS_CODES[code] ?? 'Error'}`
    const kept = headers.filter(([name]) => !isOfBody(name))
    let again = excInfo
    const written: Uint8Array[] = []
    const start: StartResponse = (_status, fields, ownInfo) => {
      const own = new Set(fields.map(([name]) => name.toLowerCase()))
      const all = [...kept.filter(([name]) => !own.has(name.toLowerCase())), ...fields]
      if (headerOf(all, 'x-request-id') === undefined) all.push(['X-Request-Id', environ.gantry.requestId])
      startResponse(line, all, ownInfo ?? again)
      // Whoever comes after this one replaces it.
      again ??= new Error('the error page failed')
      // Given with the body: that of the response may be iterated already, and then nothing may be written.
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
      const body = page(pageEnviron(environ, asked, code), start)
      if (typeof (body as Promise<Body>)?.then !== 'function') return pageBody(written, body as Body, instead, failed)
      return (body as Promise<Body>).then((late) => pageBody(written, late, instead, failed), instead)
    } catch (error) {
      return instead(error)
    }
  }
}

/**
 * What a page wrote, and what it gives after that: also what a generator writes in its midst. Another stands in for it when it fails
 * before its first byte.
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

/** Fields that speak of the body that is replaced. */
function isOfBody(name: string): boolean {
  return /^(?:content-(?!security-policy)|etag$|last-modified$|accept-ranges$|digest$|repr-digest$)/i.test(name)
}

/** What would make the page another one than the whole. */
const CONDITIONS = ['If-Match', 'If-None-Match', 'If-Modified-Since', 'If-Unmodified-Since', 'If-Range', 'Range']

/** The request as the page's application sees it: of the path it came with, without a body and without conditions. */
function pageEnviron(environ: Environ, asked: Asked, code: string): Environ {
  const own: Environ = Object.assign(Object.create(Object.getPrototypeOf(environ)), environ, asked)
  const context = new DerivedContext(asked.gantry)
  // The lines that the variables are derived from by now.
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
