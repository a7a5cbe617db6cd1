/**
 * A Duplex that becomes a stream when it is first used as one. The `socket` of a request hardly ever is: it is asked for addresses,
 * listened to, and given a response in one go.
 *
 * Not to save the making, which is cheap. Node's writable state holds a function that V8 puts among the old objects as soon as it is made
 * (it does so with every function literal that is assigned to a property, taking it for a method), from where it keeps its stream, and all
 * that hangs on it, through each collection of young objects: with a Duplex for each request half of what requests had used lived on until
 * a full collection, and serving one of Express's took a quarter more CPU time.
 *
 * It knows nothing of what the stream is for.
 */

import { EventEmitter } from 'node:events'
import { Duplex, getDefaultHighWaterMark } from 'node:stream'

/** Duplex's prototype without its constructor. */
const Unmade = function Unmade(this: EventEmitter & { _events?: object }): void {
  // Listeners are kept here until the stream takes them over. Named, so that the usual ones change no shape.
  this._events = { close: undefined, error: undefined, timeout: undefined }
  EventEmitter.call(this as never)
} as unknown as new () => Duplex
Object.setPrototypeOf(Unmade, Duplex)
Unmade.prototype = Object.create(Duplex.prototype, {
  constructor: { value: Unmade, writable: true, configurable: true },
})

// Duplex sets it on the stream itself.
Object.defineProperty(Unmade.prototype, 'allowHalfOpen', { value: true, writable: true, configurable: true })

/** Who listens for these wants a stream. */
const STREAMED: ReadonlySet<string | symbol> = new Set(['data', 'readable', 'end', 'pause', 'resume'])

type Listener = (...given: never[]) => void
type Callback = (error?: Error | null) => void

interface Item {
  readonly chunk: Uint8Array
  readonly encoding: BufferEncoding
  readonly callback: Callback | undefined
}

export abstract class LazyDuplex extends Unmade {
  #made = false
  #corked = false
  /** Written while corked. */
  #items: Item[] = []
  #bytes = 0
  /** Given to `_writev` and not taken yet. */
  #given = 0
  #giving = false
  /** Lets the stream, which was made meanwhile, go on. */
  #held: Callback | undefined

  /** Whether it is a stream by now. */
  get made(): boolean {
    return this.#made
  }

  /** Makes the stream, with its listeners and with what was written to it. Without effect afterwards. */
  make(): void {
    if (this.#made) return
    this.#made = true
    ;(Duplex as unknown as { call(self: Duplex): void }).call(this)
    if (this.#giving) {
      // A write of nothing, which ends when what was given is taken: what follows waits behind it.
      const hold = (_chunk: unknown, _encoding: unknown, taken: Callback): void => void (this.#held = taken)
      this._write = hold
      super.write(NOTHING)
      delete (this as { _write?: unknown })._write
    }
    if (!this.#corked) return
    super.cork()
    for (const { chunk, callback } of this.#items) super.write(chunk, callback)
    this.#items = []
    this.#bytes = 0
  }

  override cork(): void {
    // One batch at a time: what follows the first waits in the stream.
    if (this.#giving) this.make()
    if (this.#made) super.cork()
    else this.#corked = true
  }

  override write(chunk: unknown, encoding?: BufferEncoding | Callback | null, callback?: Callback): boolean {
    const called = typeof encoding === 'function' ? encoding : callback
    const coding = typeof encoding === 'string' ? encoding : 'utf8'
    if (!this.#made && this.#corked && (typeof chunk === 'string' || chunk instanceof Uint8Array)) {
      const bytes = typeof chunk === 'string' ? Buffer.from(chunk, coding) : chunk
      if (this.#bytes + bytes.length < getDefaultHighWaterMark(false)) {
        this.#bytes += bytes.length
        this.#items.push({ chunk: bytes, encoding: 'buffer' as BufferEncoding, callback: called })
        return true
      }
    }
    this.make()
    return super.write(chunk, coding, called)
  }

  override uncork(): void {
    if (this.#made) {
      super.uncork()
      return
    }
    this.#corked = false
    const items = this.#items
    if (items.length === 0) return
    this.#items = []
    this.#given = this.#bytes
    this.#bytes = 0
    this.#giving = true
    let now = true
    this._writev!(items, (error) => {
      if (now) process.nextTick(() => this.#taken(items, error))
      else this.#taken(items, error)
    })
    now = false
  }

  // These look at the writable state first, which may be the stand-in's.

  override end(...given: unknown[]): this {
    this.make()
    return super.end(...(given as []))
  }

  override destroy(error?: Error): this {
    this.make()
    return super.destroy(error)
  }

  override setDefaultEncoding(encoding: BufferEncoding): this {
    this.make()
    return super.setDefaultEncoding(encoding)
  }

  #taken(items: Item[], error: Error | null | undefined): void {
    this.#giving = false
    this.#given = 0
    try {
      for (const { callback } of items) callback?.(error)
    } finally {
      // Also where a callback threw: what waits behind goes on.
      if (this.#held) this.#held(error)
      else if (error) this.destroy(error)
    }
  }

  /** @internal What the stream's getters say before it is made. */
  unmade(name: Foretold): unknown {
    switch (name) {
      case 'readable':
      case 'writable':
        return true
      case 'destroyed':
      case 'closed':
      case 'writableNeedDrain':
        return false
      case 'errored':
        return null
      case 'writableCorked':
        return this.#corked ? 1 : 0
      case 'writableLength':
        return this.#bytes + this.#given
      default:
        return getDefaultHighWaterMark(false)
    }
  }

  /** @internal Bytes that the stream does not know of. */
  get apart(): number {
    return this.#given
  }

  /** @internal Node's ServerResponse sets `corked` of its socket's state before it uncorks it for good. */
  get standIn(): object | undefined {
    return this.#corked ? STAND_IN : undefined
  }

  override on(event: string | symbol, listener: Listener): this {
    if (STREAMED.has(event)) this.make()
    if (this.#made) return super.on(event, listener as never)
    EventEmitter.prototype.on.call(this, event, listener as never)
    return this
  }

  override addListener(event: string | symbol, listener: Listener): this {
    return this.on(event, listener)
  }

  override removeListener(event: string | symbol, listener: Listener): this {
    if (this.#made) return super.removeListener(event, listener as never)
    EventEmitter.prototype.removeListener.call(this, event, listener as never)
    return this
  }

  override off(event: string | symbol, listener: Listener): this {
    return this.removeListener(event, listener)
  }
}

const NOTHING: Uint8Array = new Uint8Array(0)
/** One for all: it takes that one assignment and keeps nothing; any other is refused. */
const STAND_IN: object = Object.freeze({
  get corked(): number {
    return 1
  },
  set corked(_corks: number) {},
})

const foretold = [
  'readable',
  'writable',
  'destroyed',
  'closed',
  'errored',
  'writableNeedDrain',
  'writableCorked',
  'writableLength',
  'readableHighWaterMark',
  'writableHighWaterMark',
] as const
type Foretold = (typeof foretold)[number]

// Not in the class: node's types have these as plain properties.
for (const name of foretold) {
  const { get, set } = inherited(name)
  Object.defineProperty(LazyDuplex.prototype, name, {
    configurable: true,
    get(this: LazyDuplex): unknown {
      if (!this.made) return this.unmade(name)
      const said: unknown = get!.call(this)
      return name === 'writableLength' ? (said as number) + this.apart : said
    },
    set(this: LazyDuplex, value: unknown) {
      this.make()
      set?.call(this, value)
    },
  })
}

// All others are the stream's to answer.
for (const name of Object.getOwnPropertyNames(Duplex.prototype)) {
  const { get, set } = Object.getOwnPropertyDescriptor(Duplex.prototype, name)!
  if (!get || (foretold as readonly string[]).includes(name)) continue
  Object.defineProperty(LazyDuplex.prototype, name, {
    configurable: true,
    get(this: LazyDuplex): unknown {
      this.make()
      return get.call(this)
    },
    set(this: LazyDuplex, value: unknown) {
      this.make()
      set?.call(this, value)
    },
  })
}

// The state itself: who asks for it wants a stream, whose constructor sets it.
for (const name of ['_readableState', '_writableState'] as const) {
  Object.defineProperty(LazyDuplex.prototype, name, {
    configurable: true,
    get(this: LazyDuplex & Record<string, unknown>): unknown {
      const { standIn } = this
      if (name === '_writableState' && standIn) return standIn
      this.make()
      return this[name]
    },
    set(this: LazyDuplex, value: unknown) {
      Object.defineProperty(this, name, { value, writable: true, enumerable: true, configurable: true })
    },
  })
}

function inherited(name: string): PropertyDescriptor {
  for (let from: object | null = Duplex.prototype; from; from = Object.getPrototypeOf(from)) {
    const found = Object.getOwnPropertyDescriptor(from, name)
    if (found) return found
  }
  throw new Error(`streams have no ${name}`)
}
