/**
 * What the behaviour suite asks of an arrangement: a way from a client to the fixture applications, and what it cannot
 * do.
 */

import type { RequestOptions, Sent } from '../support/client.ts'
import { HttpClient } from '../support/http-client.ts'

/** What not every way can carry. */
export type Feature =
  | 'framing' // the client sees the bytes of Gantry's own HTTP/1.1 writer
  | 'http10' // the client may speak HTTP/1.0 to Gantry
  | 'date' // Date and Server are added
  | 'exact-head' // field order and an unusual reason phrase arrive
  | 'raw-target' // the target arrives as it was sent
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
  | 'streamed-upload' // an upload reaches the application while it comes
  | 'duplex' // answer and upload at the same time
  | 'bulk-duplex' // also when both are large
  | 'early' // an answer before the upload was read arrives
  | 'cut' // a response without a length that is cut does not look whole
  | 'departure' // a client that disconnects is noticed while it is sent nothing
  | 'upgrade'
  | 'streaming' // a response's chunk is not kept back

export interface Arrangement {
  readonly name: string
  /** Features that are not there, and why. */
  readonly without?: Partial<Record<Feature, string>>
  /**
   * Sentences that do not hold yet, since a process of an older release is part of it: they are tried, and have to
   * fail. `harm` says why one is not tried. Asked once it has started.
   */
  readonly lacks?: (sentence: string) => { readonly before: string; readonly harm?: string } | undefined
  /** Why it cannot run on this machine; a failure where `CI` is set. */
  readonly unavailable?: string | undefined
  /** Serves `test/apps/all.ts`. */
  start(): Promise<Running>
}

export interface Running {
  /** Sends a request, on a connection of its own where there are connections. */
  open(options: RequestOptions): Promise<Sent>
  /** A bare connection, where the client speaks HTTP. */
  connect?: () => Promise<HttpClient>
  /** What was found broken on the way: lint's words, calls of a sink, log lines that should not be. */
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
