/**
 * A `Response` that keeps its status, fields and whole body without the platform's constructor, which also makes a
 * stream (6 to 16 µs in Node 24). A gateway takes these parts; any other use creates a real Response, which serves all
 * later uses. `../README.md` explains the light classes.
 */

import { markAsUncloneable } from 'node:worker_threads'
import type { Headers as Fields } from '../../protocol/contract/application.ts'
import { isBodylessStatus } from '../../protocol/contract/bodyless.ts'
import { TOKEN } from '../../protocol/contract/token.ts'
import { copyHeaders } from './headers.ts'
import { ReturnOverride } from './return-override.ts'

export const RealResponse: typeof Response = globalThis.Response
const RealHeaders = globalThis.Headers

/** The parts of a light response that a gateway sends. */
interface ResponseParts {
  readonly status: number
  readonly statusText: string
  readonly fields: Fields
  readonly body: string | Uint8Array | null
}

/** A field value that the platform would neither trim nor refuse. */
const VALUE = /^(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?$/
const REASON = /^[\t\x20-\x7e\x80-\xff]*$/

/** Names that were found valid, in the spelling of Headers. Bounded: an application may generate names. */
const names: Map<string, string> = new Map()
const NAMES_MAX = 1024

interface ResponseShell extends Response {}
const ResponseShell = function ResponseShell() {} as unknown as new () => ResponseShell
ResponseShell.prototype = RealResponse.prototype

/**
 * The private state of a light response, visible only to its static methods. The object has the platform's own
 * prototype, whose accessors `light.ts` replaces. For everything unusual (a stream, a rare value, an invalid argument)
 * the platform's constructor is used from the start, so that errors are the platform's.
 */
export class LightResponse extends ReturnOverride {
  readonly #status: number
  readonly #statusText: string
  #fields: Fields
  #body: string | Uint8Array | null
  /**
   * Once read by the handler, this object stays the headers of the response, even after a real Response was created.
   */
  #headers: Headers | undefined
  #real: Response | undefined
  /** Whether a gateway has taken the body. */
  #taken = false

  constructor(status: number, statusText: string, fields: Fields, body: string | Uint8Array | null) {
    super(new ResponseShell())
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

  /** Returns the real Response. Changes to the headers that the handler has read are copied to it. */
  static real(light: LightResponse): Response {
    const made = light.#real
    if (made) {
      if (light.#headers && light.#headers !== made.headers) copyHeaders(light.#headers, made.headers)
      return made
    }
    // As bytes, which imply no Content-Type: the one of a text may have been deleted.
    const body = typeof light.#body === 'string' ? Buffer.from(light.#body) : light.#body
    const init = { status: light.#status, statusText: light.#statusText, headers: light.#headers ?? light.#fields }
    const real = new RealResponse(body as ConstructorParameters<typeof Response>[0], init)
    light.#real = real
    light.#body = null
    if (light.#taken) real.bytes().catch(ignore)
    return real
  }

  /**
   * Takes the parts of the response, which uses its body as reading would; undefined if a real Response was created or
   * the body was already taken.
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
 * @param type the Content-Type of a text without one
 * @returns undefined if the platform's constructor must be used, for example for invalid arguments
 */
export function lightResponse(
  body: unknown,
  init: unknown,
  type: string = 'text/plain;charset=UTF-8',
): Response | undefined {
  let whole: string | Uint8Array | null
  if (typeof body === 'string') whole = body
  else if (body === undefined || body === null) whole = null
  // A copy, as the platform makes one: the caller may change the bytes.
  else if (body instanceof Uint8Array && isFixedMemory(body.buffer)) whole = new Uint8Array(body)
  else return undefined
  let status = 200
  let statusText = ''
  let fields: Fields = []
  if (init !== undefined) {
    if (!isPlain(init)) return undefined
    const input = init as ResponseInit
    if (input.status !== undefined) {
      status = input.status
      if (!Number.isInteger(status) || status < 200 || status > 599) return undefined
      if (whole !== null && isBodylessStatus(status)) return undefined
    }
    if (input.statusText !== undefined) {
      statusText = input.statusText
      if (typeof statusText !== 'string' || !REASON.test(statusText)) return undefined
    }
    const { headers } = input
    // A copy of all fields as they are now.
    if (headers instanceof RealHeaders) fields = [...headers] as Fields
    else if (headers !== undefined) {
      const read = fieldsOf(headers)
      if (!read) return undefined
      fields = read
    }
  }
  if (typeof body === 'string') {
    if (!fields.some(isContentType)) fields.push(['content-type', type])
  }
  return new LightResponse(status, statusText, fields, whole) as unknown as Response
}

/** The fields of a plain object or a list of pairs; undefined for any other value. */
function fieldsOf(input: unknown): Fields | undefined {
  const fields: Fields = []
  if (Array.isArray(input)) {
    for (const pair of input) {
      if (!Array.isArray(pair) || pair.length !== 2 || !add(fields, pair[0], pair[1])) return undefined
    }
    return fields
  }
  if (!isPlain(input)) return undefined
  for (const name of Reflect.ownKeys(input)) {
    if (!add(fields, name, (input as Record<PropertyKey, unknown>)[name])) return undefined
  }
  return fields
}

function add(fields: Fields, name: unknown, value: unknown): boolean {
  // The platform's record converter drops this name.
  if (typeof name !== 'string' || name === '__proto__') return false
  const lower = names.get(name) ?? validName(name)
  if (lower === undefined) return false
  const text = typeof value === 'number' ? String(value) : value
  if (typeof text !== 'string' || !VALUE.test(text)) return false
  // Repeated fields other than cookies must be joined: the platform does that.
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

/** Whether a value is an object without a class of its own. */
function isPlain(value: unknown): value is object {
  if (typeof value !== 'object' || value === null) return false
  const prototype = Object.getPrototypeOf(value) as unknown
  return prototype === Object.prototype || prototype === null
}

/** Whether the memory belongs to one thread and cannot change its size. */
function isFixedMemory(buffer: ArrayBufferLike): boolean {
  return buffer instanceof ArrayBuffer && !buffer.resizable && !buffer.detached
}

function ignore(): void {}
