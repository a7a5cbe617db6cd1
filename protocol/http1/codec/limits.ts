/** The limits of HTTP/1.1 requests, and their defaults. */

/** Sizes in bytes, but for `fields`. Each is refused with a status of its own. */
export interface Http1Limits {
  /** The request target: 414 above. 8 KiB, as nginx's large_client_header_buffers and Apache's LimitRequestLine. */
  target: number
  /** Request line and header fields together: 431 above. */
  head: number
  /** Number of header fields: 431 above. */
  fields: number
  /** The request's body, decoded: 413 above. Infinity: none. */
  body: number
  /** Chunk extensions, padded chunk sizes and trailers of one body: 413 (trailers: 431) above. 16 KiB, as Node's (CVE-2024-22019). */
  chunkOverhead: number
  /** Bytes of request body, or of pipelined requests, that are read ahead of the application; beyond, the socket is not read. */
  readAhead: number
  /** An unread request body up to this size is dropped to keep the connection; beyond, it closes. */
  discard: number
}

export const defaultLimits: Http1Limits = {
  target: 8 * 1024,
  head: 64 * 1024,
  fields: 256,
  body: Number.POSITIVE_INFINITY,
  chunkOverhead: 16 * 1024,
  readAhead: 64 * 1024,
  discard: 64 * 1024,
}
