/**
 * A `Request` made from an environ without the platform's constructor, which takes 6 to 16 µs in Node 24. URL, method,
 * headers, signal and the whole body come directly from the environ; any other use creates a real Request, which serves
 * all later uses. `../README.md` explains the light classes.
 */

import { markAsUncloneable } from 'node:worker_threads'
import type { Environ } from '../../protocol/contract/application.ts'
import { copyHeaders, headersFrom } from './headers.ts'
import { ReturnOverride } from './return-override.ts'

export const RealRequest: typeof Request = globalThis.Request

/** Creates the real Request. */
type MakeRequest = (environ: Environ, url: string, method: string, bodyless: boolean, headers?: Headers) => Request

/** Marks a `globalThis.Request` that recognises this copy's light requests. */
export const KNOWS_LIGHT: unique symbol = Symbol('knows light requests')

const decoder = new TextDecoder()

interface RequestShell extends Request {}
const RequestShell = function RequestShell() {} as unknown as new () => RequestShell
RequestShell.prototype = RealRequest.prototype

/**
 * The private state of a light request, visible only to its static methods. The object has the platform's own
 * prototype, whose accessors `light.ts` replaces. Only a gateway makes one: `new Request()` returns a real Request.
 */
export class LightRequest extends ReturnOverride {
  readonly #environ: Environ
  readonly #url: string
  readonly #method: string
  readonly #bodyless: boolean
  readonly #make: MakeRequest
  /** Once read by the handler, this object stays the headers of the request, even after a real Request was created. */
  #headers: Headers | undefined
  #signal: AbortSignal | undefined
  #real: Request | undefined
  /** Whether the body was read without a stream. */
  #read = false

  constructor(environ: Environ, url: string, method: string, bodyless: boolean, make: MakeRequest) {
    super(new RequestShell())
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

  /** Returns the real Request. Changes to the headers that the handler has read are copied to it. */
  static real(light: LightRequest): Request {
    const made = light.#real
    if (made) {
      if (light.#headers && light.#headers !== made.headers) copyHeaders(light.#headers, made.headers)
      return made
    }
    const real = light.#make(light.#environ, light.#url, light.#method, light.#bodyless, light.#headers)
    light.#real = real
    // If the body was already read, it must look read here too: nothing of the input is left.
    if (light.#read) real.bytes().catch(ignore)
    return real
  }

  /** Reads the whole body; undefined if the real Request must read it. */
  static whole(light: LightRequest): Promise<Uint8Array> | undefined {
    if (light.#real || light.#read || light.#bodyless) return undefined
    light.#read = true
    return light.#environ['wsgi.input'].read()
  }
}

/**
 * Returns undefined if `globalThis.Request` does not recognise light requests, for example if an application has
 * replaced it with a subclass: the request must be an instance of it.
 */
export function lightRequest(...args: ConstructorParameters<typeof LightRequest>): Request | undefined {
  return Object.hasOwn(globalThis.Request, KNOWS_LIGHT) ? (new LightRequest(...args) as unknown as Request) : undefined
}

export function text(bytes: Uint8Array): string {
  return decoder.decode(bytes)
}

function ignore(): void {}
