/**
 * Content codings (RFC 9110 §8.4.1): compresses a whole body, or a stream chunk by chunk with the output of each chunk
 * at once. `compress.ts` decides when.
 */

// The default import lets a test replace a function of zlib.
import zlib from 'node:zlib'
import type { Filter } from '../filter/filter-response.ts'

/** In order of preference: the best ratio at a similar cost first. */
export const codings = ['br', 'zstd', 'gzip'] as const

export type Coding = (typeof codings)[number]

export type Levels = Readonly<Record<Coding, number>>

/** The valid levels of each coding. */
export const levelRanges: Readonly<Record<Coding, readonly [least: number, most: number]>> = {
  br: [0, 11],
  zstd: [1, 19],
  gzip: [1, 9],
}

/**
 * Window of a stream, as a power of two: 512 KiB, as nginx's brotli_window. With the libraries' defaults of 4 MiB (br)
 * and 2 MiB (zstd), a thousand slow readers would hold gigabytes, and text would gain nothing.
 */
const WINDOW = 19

/**
 * Largest body that is compressed on the event loop, bytes: it takes 0.1 to 0.2 ms, as long as a round trip to zlib's
 * thread. A larger body would delay other requests.
 */
export const SYNC_MAX: number = 8 * 1024

const { constants } = zlib

/**
 * The window as a power of two. A whole body needs no window larger than itself: for 4 KiB this halves the time at the
 * same size.
 *
 * @param size bytes; 0 for a stream
 */
function windowFor(size: number): number {
  return size === 0 ? WINDOW : Math.max(10, Math.min(WINDOW, Math.ceil(Math.log2(size)) + 1))
}

function options(coding: Coding, level: number, stream: boolean, size: number): zlib.ZlibOptions {
  // Each write is flushed, so that its output does not wait for the next write.
  if (coding === 'gzip') return { level, ...(stream ? { flush: constants.Z_SYNC_FLUSH } : {}) }
  const params: Record<number, number> =
    coding === 'br'
      ? {
          [constants.BROTLI_PARAM_QUALITY]: level,
          [constants.BROTLI_PARAM_LGWIN]: windowFor(size),
          [constants.BROTLI_PARAM_SIZE_HINT]: size,
        }
      : { [constants.ZSTD_c_compressionLevel]: level, [constants.ZSTD_c_windowLog]: windowFor(size) }
  const flush = coding === 'br' ? constants.BROTLI_OPERATION_FLUSH : constants.ZSTD_e_flush
  return { params, ...(stream ? { flush } : {}) } as zlib.ZlibOptions
}

/** Compresses a whole body: at once if it is small, otherwise on another thread. */
export function compressWhole(body: Uint8Array, coding: Coding, level: number): Uint8Array | Promise<Uint8Array> {
  const given = options(coding, level, false, body.length)
  if (body.length <= SYNC_MAX) {
    if (coding === 'br') return zlib.brotliCompressSync(body, given as zlib.BrotliOptions)
    if (coding === 'zstd') return zlib.zstdCompressSync(body, given as zlib.ZstdOptions)
    return zlib.gzipSync(body, given)
  }
  return new Promise((resolve, reject) => {
    const done = (error: Error | null, result: Buffer): void => (error ? reject(error) : resolve(result))
    if (coding === 'br') zlib.brotliCompress(body, given as zlib.BrotliOptions, done)
    else if (coding === 'zstd') zlib.zstdCompress(body, given as zlib.ZstdOptions, done)
    else zlib.gzip(body, given, done)
  })
}

type Stream = ReturnType<typeof zlib.createGzip>

function open(coding: Coding, level: number): Stream {
  const given = options(coding, level, true, 0)
  if (coding === 'br') return zlib.createBrotliCompress(given as zlib.BrotliOptions) as unknown as Stream
  if (coding === 'zstd') return zlib.createZstdCompress(given as zlib.ZstdOptions) as unknown as Stream
  return zlib.createGzip(given)
}

/**
 * Compresses chunk by chunk on zlib's threads. The zlib stream is created with the first chunk, and freed by `close()`.
 */
export class CompressStream implements Filter {
  readonly #coding: Coding
  readonly #level: number
  #stream: Stream | undefined
  #output: Uint8Array[] = []
  #failed: ((error: Error) => void) | undefined

  constructor(coding: Coding, level: number) {
    this.#coding = coding
    this.#level = level
  }

  push(chunk: Uint8Array): Promise<Uint8Array> {
    return this.#step((stream, done) => {
      stream.write(chunk, (error) => {
        if (!error) done()
      })
    })
  }

  end(): Promise<Uint8Array> {
    return this.#step((stream, done) => {
      stream.once('end', done)
      stream.end()
    })
  }

  close(): void {
    // zlib finishes a write in progress before it frees its memory.
    this.#stream?.destroy()
    this.#output = []
  }

  #step(begin: (stream: Stream, done: () => void) => void): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      this.#failed = reject
      this.#stream ??= this.#opened()
      const stream = this.#stream
      begin(stream, () => {
        // This passes buffered output to the 'data' listener.
        stream.read()
        const output = this.#output
        this.#output = []
        resolve(output.length === 1 ? output[0]! : Buffer.concat(output))
      })
    })
  }

  #opened(): Stream {
    const stream = open(this.#coding, this.#level)
    stream.on('data', (chunk: Buffer) => this.#output.push(chunk))
    stream.on('error', (error) => this.#failed?.(error))
    return stream
  }
}
