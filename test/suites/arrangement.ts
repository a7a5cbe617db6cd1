/**
 * What the behaviour suite needs from an arrangement: a path from a client to the fixture applications, and the
 * features that the path lacks.
 */

import type { RequestOptions, Sent } from '../support/client.ts'
import { HttpClient } from '../support/http-client.ts'

/** Features that some arrangements lack. */
export type Feature =
  | 'framing' // the client sees the bytes of Gantry's own HTTP/1.1 writer
  | 'http10' // the client may speak HTTP/1.0 to Gantry
  | 'date' // Date and Server are added
  | 'exact-head' // field order and an unusual reason phrase arrive
  | 'raw-target' // the target arrives unchanged
  | 'star' // OPTIONS * arrives
  | 'absolute-form' // an absolute target arrives
  | 'raw-headers' // header lines keep case and order
  | 'empty-values' // an empty header value arrives as such
  | 'any-method' // unknown methods arrive
  | 'large-head' // 48 KiB of header arrive
  | 'strangers' // the client is no trusted peer
  | 'nominated' // Connection: names arrive at Gantry
  | 'chunked-upload' // a request without a length stays so
  | 'request-trailers'
  | 'response-trailers'
  | 'hints' // 103
  | 'expect' // 100 Continue is Gantry's
  | 'streamed-upload' // an upload reaches the application while it is sent
  | 'duplex' // a response is sent during the upload
  | 'bulk-duplex' // also when both are large
  | 'early' // a response that is sent before the upload was read arrives
  | 'cut' // a truncated response without a length does not look complete
  | 'departure' // a disconnected client is noticed while nothing is sent to it
  | 'upgrade'
  | 'streaming' // a chunk of a response is sent immediately

export interface Arrangement {
  readonly name: string
  /** The features that the arrangement lacks, and why. */
  readonly without?: Partial<Record<Feature, string>>
  /**
   * Sentences that do not hold because one process is of an older release. Their tests run, and must fail; `harm` says
   * why a test must not run. Read after the start.
   */
  readonly lacks?: (sentence: string) => { readonly before: string; readonly harm?: string } | undefined
  /** The reason to skip the arrangement on this machine; a failure if `CI` is set. */
  readonly unavailable?: string | undefined
  /** Serves `test/apps/all.ts`. */
  start(): Promise<Running>
}

export interface Running {
  /** Sends a request, on a new connection if the client has connections. */
  open(options: RequestOptions): Promise<Sent>
  /** A raw connection, if the client speaks HTTP. */
  connect?: () => Promise<HttpClient>
  /** Faults so far: rules broken according to lint, calls of a sink that must not happen, unexpected log lines. */
  broken?: () => string[]
  close(): Promise<void>
}

/** A `Running` over HTTP at an address. */
export function overHttp(address: { port: number } | { path: string }, close: () => Promise<void>): Running {
  const clients: Set<HttpClient> = new Set()
  const surplus: string[] = []
  const connect = async (): Promise<HttpClient> => {
    const client = await HttpClient.connect('path' in address ? address : { ...address, host: '127.0.0.1' })
    clients.add(client)
    client.socket.once('close', () => {
      clients.delete(client)
      if (client.surplus.length > 0) surplus.push(`bytes after a response: ${client.surplus.toString('latin1')}`)
    })
    return client
  }
  return {
    connect,
    async open(options) {
      const client = await connect()
      const sent = client.request(options)
      const whole = async (): ReturnType<Sent['whole']> => {
        const answer = await sent.whole()
        client.destroy()
        return answer
      }
      return { ...sent, whole }
    },
    broken: () => surplus,
    async close() {
      for (const client of clients) client.destroy()
      await close()
    },
  }
}
