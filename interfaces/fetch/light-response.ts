/**
 * A `Response` that remembers what it was made of (a status, fields, a whole body) without the platform's constructor, which makes a
 * stream and more (6 to 16 µs in Node 24). A gateway takes that; anything else that is asked of it makes it a real one, which it is
 * from then on.
 *
 * It is an object of the platform's own prototype, whose accessors `light.ts` makes know it. Whatever is not plainly right (a stream, an unusual
 * value, a fault) is made by the platform's constructor from the start, so that its errors are the platform's.
 */

import { markAsUncloneable } from 'node:worker_threads'
import type { Headers as Fields } from '../../protocol/contract/application.ts'
import { ReturnOverride } from './return-override.ts'
import { copyHeaders } from './headers.ts'

export const RealResponse: typeof Response = globalThis.Response
const RealHeaders = globalThis.Headers

/** What a gateway sends of one. */
export interface ResponseParts {
  readonly status: number
  readonly statusText: string
  readonly fields: Fields
  readonly body: string | Uint8Array | null
}

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/
/** Neither to be trimmed nor refused. */
const VALUE = /^(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?$/
const REASON = /^[\t\x20-\x7e\x80-\xff]*$/

/** Names that were found good, as Headers spell them. Bounded: an application may make names up. */
const names: Map<string, string> = new Map()
const NAMES_MAX = 1024

interface Shell extends Response {}
const Shell = function Shell() {} as unknown as new () => Shell
Shell.prototype = RealResponse.prototype

/** The private side; its statics are all that can see it. */
export class LightResponse extends ReturnOverride {
  readonly #status: number
  readonly #statusText: string
  #fields: Fields
  #body: string | Uint8Array | null
  /** Handed out: they stay its headers, also once it is real. */
  #headers: Headers | undefined
  #real: Response | undefined
  /** A gateway has its body. */
  #taken = false

  constructor(status: number, statusText: string, fields: Fields, body: string | Uint8Array | null) {
    super(new Shell())
    markAsUncloneable(this)
    this.#status = status
    this.#statusText = statusText
    this.#fields = fields
    this.#body = body
  }

  static is(value: unknown): value is LightResponse {
    return typeof value === 'object' && value !== null && #fields in value
  }

  static status(light: LightResponse): number {
    return light.#status
  }

  static statusText(light: LightResponse): string {
    return light.#statusText
  }

  static headers(light: LightResponse): Headers {
    light.#headers ??= light.#real ? light.#real.headers : new RealHeaders(light.#fields)
    return light.#headers
  }

  static bodyUsed(light: LightResponse): boolean {
    return light.#taken || (light.#real?.bodyUsed ?? false)
  }

  /** The real one. What was changed in the headers that were handed out is changed in it. */
  static real(light: LightResponse): Response {
    const made = light.#real
    if (made) {
      if (light.#headers && light.#headers !== made.headers) copyHeaders(light.#headers, made.headers)
      return made
    }
    // Bytes, which bring no Content-Type of their own: the one that text has may have been deleted.
    const body = typeof light.#body === 'string' ? Buffer.from(light.#body) : light.#body
    const init = { status: light.#status, statusText: light.#statusText, headers: light.#headers ?? light.#fields }
    const real = new RealResponse(body as ConstructorParameters<typeof Response>[0], init)
    light.#real = real
    light.#body = null
    if (light.#taken) real.bytes().catch(ignore)
    return real
  }

  /**
   * What it is made of, which is used then, as by reading it; undefined when it has become a real one.
   *
   * @throws TypeError when its body was taken already
   */
  static take(light: LightResponse): ResponseParts | undefined {
    if (light.#real) return undefined
    if (light.#taken) return undefined
    if (light.#body !== null) light.#taken = true
    const fields = light.#headers ? ([...light.#headers] as Fields) : light.#fields
    return { status: light.#status, statusText: light.#statusText, fields, body: light.#body }
  }
}

/**
 * @param type the Content-Type of a body that has none
 * @returns undefined for what only the platform's constructor does right, its refusals among them
 */
export function lightResponse(
  body: unknown,
  init: unknown,
  type: string = 'text/plain;charset=UTF-8',
): Response | undefined {
  let whole: string | Uint8Array | null
  if (typeof body === 'string') whole = body
  else if (body === undefined || body === null) whole = null
  // A copy, as the platform makes one: the bytes are the caller's to change.
  else if (body instanceof Uint8Array && isOrdinary(body.buffer)) whole = new Uint8Array(body)
  else return undefined
  let status = 200
  let statusText = ''
  let fields: Fields = []
  if (init !== undefined) {
    if (!isPlain(init)) return undefined
    const given = init as ResponseInit
    if (given.status !== undefined) {
      status = given.status
      if (!Number.isInteger(status) || status < 200 || status > 599) return undefined
      if (whole !== null && (status === 204 || status === 205 || status === 304)) return undefined
    }
    if (given.statusText !== undefined) {
      statusText = given.statusText
      if (typeof statusText !== 'string' || !REASON.test(statusText)) return undefined
    }
    const { headers: set } = given
    // Complete, and as they are now.
    if (set instanceof RealHeaders) fields = [...set] as Fields
    else if (set !== undefined) {
      const read = fieldsOf(set)
      if (!read) return undefined
      fields = read
    }
  }
  if (typeof body === 'string') {
    if (!fields.some(isContentType)) fields.push(['content-type', type])
  }
  return new LightResponse(status, statusText, fields, whole) as unknown as Response
}

/** The fields of an object or a list that is as everybody writes it; undefined for any other. */
function fieldsOf(given: unknown): Fields | undefined {
  const fields: Fields = []
  if (Array.isArray(given)) {
    for (const pair of given) {
      if (!Array.isArray(pair) || pair.length !== 2 || !add(fields, pair[0], pair[1])) return undefined
    }
    return fields
  }
  if (!isPlain(given)) return undefined
  for (const name of Reflect.ownKeys(given)) {
    if (!add(fields, name, (given as Record<PropertyKey, unknown>)[name])) return undefined
  }
  return fields
}

function add(fields: Fields, name: unknown, value: unknown): boolean {
  // The platform's record converter loses that name.
  if (typeof name !== 'string' || name === '__proto__') return false
  const lower = names.get(name) ?? validName(name)
  if (lower === undefined) return false
  const text = typeof value === 'number' ? String(value) : value
  if (typeof text !== 'string' || !VALUE.test(text)) return false
  // Repeated fields are put together, but for cookies: the platform does that.
  if (lower !== 'set-cookie') for (const [other] of fields) if (other === lower) return false
  fields.push([lower, text])
  return true
}

function validName(name: string): string | undefined {
  if (!TOKEN.test(name)) return undefined
  const lower = name.toLowerCase()
  if (names.size < NAMES_MAX) names.set(name, lower)
  return lower
}

function isContentType([name]: readonly [string, string]): boolean {
  return name === 'content-type'
}

/** An object that has no behaviour of its own. */
function isPlain(value: unknown): value is object {
  if (typeof value !== 'object' || value === null) return false
  const prototype = Object.getPrototypeOf(value) as unknown
  return prototype === Object.prototype || prototype === null
}

/** Memory of one thread, that stays as long as it is. */
function isOrdinary(buffer: ArrayBufferLike): boolean {
  return buffer instanceof ArrayBuffer && !buffer.resizable && !buffer.detached
}

function ignore(): void {}
