/**
 * A `Request` that is made of an environ without the platform's constructor (6 to 16 µs in Node 24): its URL, method, headers, signal and
 * whole body are given straight from the environ, and anything else that is asked of it makes it a real one, which it is from then on.
 *
 * It is an object of the platform's own prototype, whose accessors `light.ts` makes know it. Only a gateway makes one: `new Request()`
 * gives the real thing.
 */

import { markAsUncloneable } from 'node:worker_threads'
import type { Environ } from '../../protocol/contract/application.ts'
import { ReturnOverride } from './return-override.ts'
import { copyHeaders, headersFrom } from './headers.ts'

export const RealRequest: typeof Request = globalThis.Request

/** Makes the real one. */
export type MakeRequest = (
  environ: Environ,
  url: string,
  method: string,
  bodyless: boolean,
  headers?: Headers,
) => Request

/** Marks a `globalThis.Request` that recognises this copy's light requests. */
export const KNOWS_LIGHT: unique symbol = Symbol('knows light requests')

const decoder = new TextDecoder()

interface Shell extends Request {}
const Shell = function Shell() {} as unknown as new () => Shell
Shell.prototype = RealRequest.prototype

/** The private side; its statics are all that can see it. */
export class LightRequest extends ReturnOverride {
  readonly #environ: Environ
  readonly #url: string
  readonly #method: string
  readonly #bodyless: boolean
  readonly #make: MakeRequest
  /** Handed out: they stay its headers, also once it is real. */
  #headers: Headers | undefined
  #signal: AbortSignal | undefined
  #real: Request | undefined
  /** Its body was read without a stream. */
  #read = false

  constructor(environ: Environ, url: string, method: string, bodyless: boolean, make: MakeRequest) {
    super(new Shell())
    markAsUncloneable(this)
    this.#environ = environ
    this.#url = url
    this.#method = method
    this.#bodyless = bodyless
    this.#make = make
  }

  static is(value: unknown): value is LightRequest {
    return typeof value === 'object' && value !== null && #environ in value
  }

  static url(light: LightRequest): string {
    return light.#url
  }

  static method(light: LightRequest): string {
    return light.#method
  }

  static headers(light: LightRequest): Headers {
    if (light.#headers) return light.#headers
    light.#headers = light.#real ? light.#real.headers : headersFrom(light.#environ)
    return light.#headers
  }

  static signal(light: LightRequest): AbortSignal {
    light.#signal ??= light.#environ.gantry.signal
    return light.#signal
  }

  static bodyUsed(light: LightRequest): boolean {
    return light.#read || (light.#real?.bodyUsed ?? false)
  }

  /** The real one. What was changed in the headers that were handed out is changed in it. */
  static real(light: LightRequest): Request {
    const made = light.#real
    if (made) {
      if (light.#headers && light.#headers !== made.headers) copyHeaders(light.#headers, made.headers)
      return made
    }
    const real = light.#make(light.#environ, light.#url, light.#method, light.#bodyless, light.#headers)
    light.#real = real
    // What was read already looks read: nothing of the input is left for it.
    if (light.#read) real.bytes().catch(ignore)
    return real
  }

  /** The whole body, where nothing else has it; undefined when the real one is to be asked. */
  static whole(light: LightRequest): Promise<Uint8Array> | undefined {
    if (light.#real || light.#read || light.#bodyless) return undefined
    light.#read = true
    return light.#environ['wsgi.input'].read()
  }
}

/** Undefined where light requests are not known: also where somebody's subclass is the global one, of which it is to be an instance. */
export function lightRequest(...args: ConstructorParameters<typeof LightRequest>): Request | undefined {
  return Object.hasOwn(globalThis.Request, KNOWS_LIGHT) ? (new LightRequest(...args) as unknown as Request) : undefined
}

export function text(bytes: Uint8Array): string {
  return decoder.decode(bytes)
}

function ignore(): void {}
