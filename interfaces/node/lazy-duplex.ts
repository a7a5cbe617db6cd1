/**
 * A Duplex that initialises its stream state only when it is first used as a stream. The `socket` of a request rarely
 * is: a listener reads its addresses, adds listeners, and writes one response. `../README.md` gives the measured gain.
 */

import { EventEmitter } from 'node:events'
import { Duplex, getDefaultHighWaterMark } from 'node:stream'

/** Duplex's prototype without its constructor. */
const DuplexPrototype = function DuplexPrototype(this: EventEmitter & { _events?: object }): void {
  // Listeners are kept here until the stream takes them over. The usual names are set now, so that the object's hidden
  // class stays the same.
  this._events = { close: undefined, error: undefined, timeout: undefined }
  EventEmitter.call(this as never)
} as unknown as new () => Duplex
Object.setPrototypeOf(DuplexPrototype, Duplex)
DuplexPrototype.prototype = Object.create(Duplex.prototype, {
  constructor: { value: DuplexPrototype, writable: true, configurable: true },
})

// Duplex sets this property on the stream itself.
Object.defineProperty(DuplexPrototype.prototype, 'allowHalfOpen', { value: true, writable: true, configurable: true })

/** Listeners of these events use the socket as a stream. */
const STREAM_EVENTS: ReadonlySet<string | symbol> = new Set(['data', 'readable', 'end', 'pause', 'resume'])

type Listener = (...args: never[]) => void
type Callback = (error?: Error | null) => void

interface Item {
  readonly chunk: Uint8Array
  readonly encoding: BufferEncoding
  readonly callback: Callback | undefined
}

export abstract class LazyDuplex extends DuplexPrototype {
  #initialized = false
  #corked = false
  /** Chunks written while corked. */
  #items: Item[] = []
  #bytes = 0
  /** Bytes passed to `_writev` and not taken yet. */
  #writing = 0
  #isWriting = false
  /** Lets the stream continue if it was initialised during a write. */
  #resumeStream: Callback | undefined

  /** Whether the stream state is initialised. */
  get initialized(): boolean {
    return this.#initialized
  }

  /** Initialises the stream, with its listeners and its buffered chunks. Has no effect the second time. */
  initialize(): void {
    if (this.#initialized) return
    this.#initialized = true
    ;(Duplex as unknown as { call(self: Duplex): void }).call(this)
    if (this.#isWriting) {
      // An empty write that ends when the current write ends: later writes wait behind it.
      const hold = (_chunk: unknown, _encoding: unknown, taken: Callback): void => void (this.#resumeStream = taken)
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
    // One batch at a time: chunks after the first batch wait in the stream.
    if (this.#isWriting) this.initialize()
    if (this.#initialized) super.cork()
    else this.#corked = true
  }

  override write(chunk: unknown, encoding?: BufferEncoding | Callback | null, callback?: Callback): boolean {
    const called = typeof encoding === 'function' ? encoding : callback
    const coding = typeof encoding === 'string' ? encoding : 'utf8'
    if (!this.#initialized && this.#corked && (typeof chunk === 'string' || chunk instanceof Uint8Array)) {
      const bytes = typeof chunk === 'string' ? Buffer.from(chunk, coding) : chunk
      if (this.#bytes + bytes.length < getDefaultHighWaterMark(false)) {
        this.#bytes += bytes.length
        this.#items.push({ chunk: bytes, encoding: 'buffer' as BufferEncoding, callback: called })
        return true
      }
    }
    this.initialize()
    return super.write(chunk, coding, called)
  }

  override uncork(): void {
    if (this.#initialized) {
      super.uncork()
      return
    }
    this.#corked = false
    const items = this.#items
    if (items.length === 0) return
    this.#items = []
    this.#writing = this.#bytes
    this.#bytes = 0
    this.#isWriting = true
    let now = true
    this._writev!(items, (error) => {
      if (now) process.nextTick(() => this.#taken(items, error))
      else this.#taken(items, error)
    })
    now = false
  }

  // These methods use the writable state first, which may still be CORKED_STATE.

  override end(...args: unknown[]): this {
    this.initialize()
    return super.end(...(args as []))
  }

  override destroy(error?: Error): this {
    this.initialize()
    return super.destroy(error)
  }

  override setDefaultEncoding(encoding: BufferEncoding): this {
    this.initialize()
    return super.setDefaultEncoding(encoding)
  }

  #taken(items: Item[], error: Error | null | undefined): void {
    this.#isWriting = false
    this.#writing = 0
    try {
      for (const { callback } of items) callback?.(error)
    } finally {
      // Even if a callback throws, the waiting writes must continue.
      if (this.#resumeStream) this.#resumeStream(error)
      else if (error) this.destroy(error)
    }
  }

  /** @internal The values of the stream's getters before it is initialised. */
  initialValue(name: SimpleGetter): unknown {
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
        return this.#bytes + this.#writing
      default:
        return getDefaultHighWaterMark(false)
    }
  }

  /** @internal Bytes that the stream does not count. */
  get bytesOutsideStream(): number {
    return this.#writing
  }

  /** @internal Node's ServerResponse sets `corked` of its socket's state before the last uncork. */
  get corkedState(): object | undefined {
    return this.#corked ? CORKED_STATE : undefined
  }

  override on(event: string | symbol, listener: Listener): this {
    if (STREAM_EVENTS.has(event)) this.initialize()
    if (this.#initialized) return super.on(event, listener as never)
    EventEmitter.prototype.on.call(this, event, listener as never)
    return this
  }

  override addListener(event: string | symbol, listener: Listener): this {
    return this.on(event, listener)
  }

  override removeListener(event: string | symbol, listener: Listener): this {
    if (this.#initialized) return super.removeListener(event, listener as never)
    EventEmitter.prototype.removeListener.call(this, event, listener as never)
    return this
  }

  override off(event: string | symbol, listener: Listener): this {
    return this.removeListener(event, listener)
  }
}

const NOTHING: Uint8Array = new Uint8Array(0)
/** Shared by all sockets: accepts that one assignment and ignores its value; any other assignment throws. */
const CORKED_STATE: object = Object.freeze({
  get corked(): number {
    return 1
  },
  set corked(_corks: number) {},
})

const simpleGetters = [
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
type SimpleGetter = (typeof simpleGetters)[number]

// Not in the class: Node's types declare these as plain properties.
for (const name of simpleGetters) {
  const { get, set } = inherited(name)
  Object.defineProperty(LazyDuplex.prototype, name, {
    configurable: true,
    get(this: LazyDuplex): unknown {
      if (!this.initialized) return this.initialValue(name)
      const said: unknown = get!.call(this)
      return name === 'writableLength' ? (said as number) + this.bytesOutsideStream : said
    },
    set(this: LazyDuplex, value: unknown) {
      this.initialize()
      set?.call(this, value)
    },
  })
}

// The stream itself answers all other getters.
for (const name of Object.getOwnPropertyNames(Duplex.prototype)) {
  const { get, set } = Object.getOwnPropertyDescriptor(Duplex.prototype, name)!
  if (!get || (simpleGetters as readonly string[]).includes(name)) continue
  Object.defineProperty(LazyDuplex.prototype, name, {
    configurable: true,
    get(this: LazyDuplex): unknown {
      this.initialize()
      return get.call(this)
    },
    set(this: LazyDuplex, value: unknown) {
      this.initialize()
      set?.call(this, value)
    },
  })
}

// Code that reads the state needs a stream, whose constructor sets the state.
for (const name of ['_readableState', '_writableState'] as const) {
  Object.defineProperty(LazyDuplex.prototype, name, {
    configurable: true,
    get(this: LazyDuplex & Record<string, unknown>): unknown {
      const { corkedState } = this
      if (name === '_writableState' && corkedState) return corkedState
      this.initialize()
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
