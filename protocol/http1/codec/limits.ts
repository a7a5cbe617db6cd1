/** The limits of HTTP/1.1 requests, and their defaults. */

/** Sizes in bytes, except `fields`. A request above a limit is refused with the status given there. */
export interface Http1Limits {
  /** Request target; above: 414. 8 KiB, as nginx's large_client_header_buffers and Apache's LimitRequestLine. */
  target: number
  /** Request line and header fields together; above: 431. */
  head: number
  /** Number of header fields; above: 431. */
  fields: number
  /** Body of the request, decoded; above: 413. Infinity: no limit. */
  body: number
  /**
   * Chunk extensions, padding of chunk sizes, and trailers of one body; above: 413 (trailers: 431). 16 KiB, as in Node
   * (CVE-2024-22019).
   */
  chunkOverhead: number
  /** Body, or pipelined requests, that are read ahead of the application; above: the socket is not read. */
  readAhead: number
  /** An unread body up to this size is discarded to keep the connection; above: the connection is closed. */
  discard: number
}

/** The default limits of HTTP/1.1 connections, in bytes unless a member says otherwise. */
export const defaultLimits: Http1Limits = {
  target: 8 * 1024,
  head: 64 * 1024,
  fields: 256,
  body: Number.POSITIVE_INFINITY,
  chunkOverhead: 16 * 1024,
  readAhead: 64 * 1024,
  discard: 64 * 1024,
}
