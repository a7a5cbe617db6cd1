/**
 * One stream: what is known of a request on a link, its credit in both directions, and what of its body waits to be
 * sent. Does not know frames; only `Connection` changes it.
 */

export class Stream {
  readonly id: number
  /** Whatever the I/O side keeps with it. */
  owner: unknown = undefined
  /** The next in its bucket: the table's own. */
  next: Stream | undefined = undefined

  /** Its request has no credit until its reader wants it (Expect: 100-continue). */
  held = false
  /** Asked for another protocol. */
  readonly upgrade: boolean
  /** Was answered with 101: DATA goes both ways, each ends by itself. */
  upgraded = false
  /** The final head has been sent (server) or has come (caller). */
  responded = false
  /** The application is known to run (caller), or STARTED or something stronger was written (server). */
  started = false
  /** Nothing more is sent (after what is queued), nothing more comes. */
  localEnded = false
  remoteEnded = false
  /** No longer in the table: every call for it is without effect. */
  closed = false
  /** INFORM frames so far, and their bytes. */
  informs = 0
  informBytes = 0

  /** Body bytes that may be sent. */
  credit: number
  /** Body bytes the peer may send. */
  window: number
  /** Bytes the reader took that were not given back as credit. */
  owed = 0

  /** Waits for credit or for room on the line, oldest first. The first `offset` bytes of the first are sent. */
  readonly queue: Uint8Array[] = []
  offset = 0
  queued = 0
  /** The END, or what comes instead, that follows the queue. */
  ending = false
  trailers: string[] | undefined
  /** In the line for the next write. */
  ready = false
  /** `send` answered that there was no room: whoever asked is to be told. */
  waiting = false

  constructor(id: number, upgrade: boolean, credit: number, window: number) {
    this.id = id
    this.upgrade = upgrade
    this.credit = credit
    this.window = window
  }

  /** Whether something can be sent now. */
  get sendable(): boolean {
    return this.queued > 0 ? this.credit > 0 : this.ending
  }
}
