/** The pages of a site's own for errors, by status, and how one is answered with. When one is due is not known here. */

import { readFileSync, statSync } from 'node:fs'
import { STATUS_CODES } from 'node:http'
import { extname } from 'node:path'
import mime from 'mime-types'
import type { Application, Body, Environ, Headers, StartResponse } from '../protocol/application.ts'
import { DerivedContext } from '../protocol/derived-context.ts'
import { errorPage as plainPage, prefersJson } from '../protocol/error-page.ts'
import { RequestInput } from '../protocol/input.ts'
import { setHeader } from '../protocol/request-headers.ts'

/** A status from 400 to 599, or a class of them. */
export type PageKey = number | '4xx' | '5xx'

/** Files are kept in memory; a page of an error is no download. */
const FILE_MAX = 1024 * 1024

export class ErrorPages {
  readonly #pages: Map<string, Application> = new Map()

  /** @throws TypeError for a key or page that is none; the error of node:fs for a file that cannot be read */
  constructor(pages: Readonly<Partial<Record<PageKey, string | Application>>>) {
    for (const [key, page] of Object.entries(pages)) {
      if (!/^[45](?:\d\d|xx)$/.test(key)) {
        throw new TypeError(`errorPage: pages are for statuses from 400 to 599, or '4xx' and '5xx', got ${key}`)
      }
      if (typeof page === 'string') this.#pages.set(key, filePage(page))
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
   * @param status its code alone, or with a reason, which is then kept
   * @param headers of the error's: what is not about a body is kept (WWW-Authenticate, Allow, Retry-After, Set-Cookie)
   * @param excInfo for a head that was set before
   * @param failed told of a page that fails
   */
  answer(
    environ: Environ,
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
      startResponse(line, all, ownInfo ?? again)
      // Whoever comes after this one replaces it.
      again ??= new Error('the error page failed')
      // Given with the body: that of the response may be iterated already, and then nothing may be written.
      return async (chunk) => void written.push(chunk)
    }
    const plain = (): Body | Promise<Body> => plainPage(Number(code))(environ, start)
    const page = this.#pages.get(code) ?? this.#pages.get(`${code[0]}xx`)
    if (!page) return plain()
    try {
      const body = page(pageEnviron(environ, code), start)
      if (typeof (body as Promise<Body>)?.then !== 'function') return preceded(written, body as Body)
      return (body as Promise<Body>).then(
        (late) => preceded(written, late),
        (error: unknown) => {
          failed(error)
          return plain()
        },
      )
    } catch (error) {
      failed(error)
      return plain()
    }
  }
}

function preceded(written: readonly Uint8Array[], body: Body): Body {
  if (written.length === 0) return body
  return {
    async *[Symbol.asyncIterator]() {
      yield* written
      yield* body
    },
    close: () => body.close?.(),
  }
}

/** Fields that speak of the body that is replaced. */
function isOfBody(name: string): boolean {
  return /^(?:content-(?!security-policy)|etag$|last-modified$|accept-ranges$|digest$|repr-digest$)/i.test(name)
}

/** What would make the page another one than the whole. */
const CONDITIONS = ['If-Match', 'If-None-Match', 'If-Modified-Since', 'If-Unmodified-Since', 'If-Range', 'Range']

/** The request as the page's application sees it: of the same path, without a body and without conditions. */
function pageEnviron(environ: Environ, code: string): Environ {
  const own: Environ = Object.assign(Object.create(Object.getPrototypeOf(environ)), environ)
  own.gantry = new DerivedContext(environ.gantry)
  own['wsgi.input'] = new RequestInput(null)
  if (own.REQUEST_METHOD !== 'HEAD') own.REQUEST_METHOD = 'GET'
  own['REDIRECT_STATUS'] = code
  for (const name of ['Content-Length', 'Content-Type', ...CONDITIONS]) setHeader(own, name, undefined)
  return own
}

function filePage(path: string): Application {
  const { size } = statSync(path)
  if (size > FILE_MAX) throw new TypeError(`errorPage: ${path} has ${size} bytes; a page has at most ${FILE_MAX}`)
  const bytes = readFileSync(path)
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
