/**
 * Makes the platform's `Request`, `Response` and `fetch` recognise light requests and responses, in a process that
 * serves fetch handlers: the platform's constructors are most of the cost of a small request there. (@hono/node-server
 * replaces the globals for the same reason.)
 */

import { KNOWS_LIGHT, LightRequest, RealRequest, text } from './light-request.ts'
import { LightResponse, lightResponse, RealResponse } from './light-response.ts'

// A performance trick: docs/performance-tricks.md has its gain, and the command that shows it.
/** Marks a `globalThis.Request` that a copy of Gantry has installed. */
const INSTALLED = Symbol.for('gantry.lightFetch')

type Getter = (this: unknown) => unknown
type Method = (this: unknown, ...args: unknown[]) => unknown

/**
 * Installs the light classes in this process.
 *
 * `instanceof`, subclasses, `new Request(request)`, `fetch(request)`, `clone()` and patches of the prototypes work as
 * before. Two things differ: a `Request` or `Response` taken before the installation (`const { Request } = globalThis`)
 * does not accept a light request as its input; and the classes of undici's package never accepted the platform's
 * objects.
 *
 * @returns a function that undoes the installation; do not call it while light objects are in use. If the classes are
 *   installed already, or other code has replaced them, nothing is done or undone.
 * @example
 * ```ts
 * import { installLightFetch } from 'gantry/protocol'
 *
 * const undo = installLightFetch()
 * console.log(new Response('hello') instanceof Response) // true
 * undo()
 * ```
 */
export function installLightFetch(): () => void {
  const { Request, Response, fetch } = globalThis
  if (Request !== RealRequest || Response !== RealResponse) return () => {}
  // Installed by another copy of Gantry: its light objects are ordinary Requests and Responses for this copy.
  if (Object.hasOwn(Request, INSTALLED)) return () => {}
  const undo: (() => void)[] = []
  const define = (on: object, key: PropertyKey, change: PropertyDescriptor): void => {
    const before = Object.getOwnPropertyDescriptor(on, key)!
    Object.defineProperty(on, key, change)
    undo.push(() => Object.defineProperty(on, key, before))
  }
  makeLightAware(
    RealRequest.prototype,
    define,
    LightRequest.is,
    LightRequest.real as (light: object) => object,
    {
      url: LightRequest.url,
      method: LightRequest.method,
      headers: LightRequest.headers,
      signal: LightRequest.signal,
      bodyUsed: LightRequest.bodyUsed,
      text: (light) => LightRequest.whole(light)?.then(text),
      json: (light) => LightRequest.whole(light)?.then((bytes) => JSON.parse(text(bytes)) as unknown),
      bytes: (light) => LightRequest.whole(light)?.then((bytes) => new Uint8Array(bytes)),
      arrayBuffer: (light) => LightRequest.whole(light)?.then((bytes) => new Uint8Array(bytes).buffer),
    } as FastPath<LightRequest>,
  )
  makeLightAware(
    RealResponse.prototype,
    define,
    LightResponse.is,
    LightResponse.real as (light: object) => object,
    {
      status: LightResponse.status,
      statusText: LightResponse.statusText,
      ok: (light) => LightResponse.status(light) >= 200 && LightResponse.status(light) <= 299,
      headers: LightResponse.headers,
      bodyUsed: LightResponse.bodyUsed,
    } as FastPath<LightResponse>,
  )

  const KnowingRequest = lightAwareClass(RealRequest, 1, (args, target) => {
    if (LightRequest.is(args[0])) args[0] = LightRequest.real(args[0])
    return Reflect.construct(RealRequest, args as [string], target)
  })
  Object.defineProperty(KnowingRequest, KNOWS_LIGHT, { value: true })
  Object.defineProperty(KnowingRequest, INSTALLED, { value: true })
  const KnowingResponse = lightAwareClass(RealResponse, 0, (args, target) => {
    const light = target === (RealResponse as unknown) ? lightResponse(args[0], args[1]) : undefined
    return light ?? Reflect.construct(RealResponse, args as [], target)
  })
  Object.defineProperty(KnowingResponse, 'json', {
    ...Object.getOwnPropertyDescriptor(RealResponse, 'json'),
    value: statics.json,
  })
  const knowingFetch = {
    fetch(input: string | URL | Request, init: RequestInit | undefined = undefined): Promise<Response> {
      return fetch(LightRequest.is(input) ? LightRequest.real(input) : input, init)
    },
  }.fetch

  define(RealRequest.prototype, 'constructor', { value: KnowingRequest })
  define(RealResponse.prototype, 'constructor', { value: KnowingResponse })
  define(globalThis, 'Request', { value: KnowingRequest, writable: true, enumerable: false, configurable: true })
  define(globalThis, 'Response', { value: KnowingResponse, writable: true, enumerable: false, configurable: true })
  define(globalThis, 'fetch', { value: knowingFetch, writable: true, enumerable: true, configurable: true })
  return () => {
    for (const step of undo.splice(0).reverse()) step()
  }
}

const statics = {
  json(data: unknown, ...rest: [init?: ResponseInit]): Response {
    const body = JSON.stringify(data) as string | undefined
    const light = body === undefined ? undefined : lightResponse(body, rest[0], 'application/json')
    return light ?? RealResponse.json(data, ...rest)
  },
}

/** Answers without a real object. If a method returns undefined, the real object is asked. */
type FastPath<T> = Readonly<Record<string, (light: T) => unknown>>

/**
 * Makes each accessor and method of a prototype recognise light objects. Their names, lengths and enumerability stay.
 */
function makeLightAware<T extends object>(
  prototype: object,
  define: (on: object, key: PropertyKey, change: PropertyDescriptor) => void,
  is: (value: unknown) => value is T,
  real: (light: T) => object,
  fastPath: FastPath<T>,
): void {
  for (const [key, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
    if (key === 'constructor') continue
    const answer = Object.hasOwn(fastPath, key) ? fastPath[key] : undefined
    if (descriptor.get) {
      const get = descriptor.get as Getter
      const { get: made } = Object.getOwnPropertyDescriptor(
        {
          get [key]() {
            if (!is(this)) return get.call(this)
            return answer ? answer(this) : get.call(real(this))
          },
        },
        key,
      ) as { get: Getter }
      define(prototype, key, { get: made })
    } else if (typeof descriptor.value === 'function') {
      const method = descriptor.value as Method
      const made = {
        [key](this: unknown, ...args: unknown[]): unknown {
          if (!is(this)) return method.apply(this, args)
          return answer?.(this) ?? method.apply(real(this), args)
        },
      }[key]!
      Object.defineProperty(made, 'length', { value: method.length, configurable: true })
      define(prototype, key, { value: made })
    }
  }
}

/** The constructor that `new` was called with. */
type Target = new (...args: never[]) => object

/**
 * Returns a class that constructs objects with `make`, has the prototype of `real`, and can be extended as `real` can.
 */
function lightAwareClass<T extends { prototype: object; name: string }>(
  real: T,
  length: number,
  make: (args: unknown[], target: Target) => object,
): T {
  const made = function (this: unknown, ...args: unknown[]): object {
    if (new.target === undefined) {
      throw new TypeError(`Class constructor ${real.name} cannot be invoked without 'new'`)
    }
    return make(args, (new.target === (made as unknown) ? real : new.target) as unknown as Target)
  }
  made.prototype = real.prototype
  Object.defineProperty(made, 'prototype', { writable: false })
  Object.defineProperty(made, 'name', { value: real.name, configurable: true })
  Object.defineProperty(made, 'length', { value: length, configurable: true })
  for (const [key, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(real))) {
    if (!Object.hasOwn(made, key)) Object.defineProperty(made, key, descriptor)
  }
  return made as unknown as T
}
