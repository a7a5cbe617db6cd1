/**
 * One call of a remote application: sends the request, receives the response, and settles the call's promise. `Caller`
 * knows the state of the link.
 */

import { pipeline } from 'node:stream'
import type { Body, Environ, Headers, Outcome, StartResponse } from '../contract/application.ts'
import { localError } from '../contract/coded-errors.ts'
import { AbortError, LocalProtocolError } from '../contract/errors.ts'
import { pairs, RequestInput } from '../contract/input.ts'
import { CallError, type CallErrorCode } from './call-error.ts'
import type { FrameEvent } from './codec/connection.ts'
import { Reset } from './codec/constants.ts'
import type { RequestFields } from './codec/head.ts'
import type { FrameStream } from './codec/stream.ts'
import type { Link } from './link.ts'
import type { ReplayableBody, SendAttempt } from './replayable-body.ts'
import { ResponseBody, type ResponseBodySource } from './response-body.ts'
import { UpgradedStream } from './upgraded-stream.ts'

/** The call's view of its `Caller`. */
export interface CallOwner {
  readonly link: Link
  /** The call's slot is free. Called once. */
  released(): void
  /** The call has become a raw connection. */
  upgradeStarted(): void
  /** The raw connection has closed. */
  upgradeEnded(): void
}

/** The request that holds a call's slot. It is notified before the call's owner that the slot is free. */
export interface SlotUser {
  /** Called once, when the slot is free. */
  released(): void
}

const EMPTY: Uint8Array = new Uint8Array(0)
const EXPECT = /^100-continue$/i

export class FrameCall implements SendAttempt, ResponseBodySource {
  readonly promise: Promise<Body>
  readonly #owner: CallOwner
  readonly #environ: Environ
  readonly #startResponse: StartResponse
  readonly #body: ReplayableBody
  readonly #user: SlotUser | undefined
  #stream: FrameStream | undefined
  #resolve: (body: Body) => void = nothing
  #reject: (error: unknown) => void = nothing
  /** Whether the promise is settled. */
  #settled = false
  #holdsSlot = true
  /** Whether the connection has the whole request. */
  #sent = false
  #response: ResponseBody | undefined
  #duplex: UpgradedStream | undefined

  constructor(
    owner: CallOwner,
    environ: Environ,
    startResponse: StartResponse,
    body: ReplayableBody,
    user: SlotUser | undefined,
  ) {
    this.#owner = owner
    this.#user = user
    this.#environ = environ
    this.#startResponse = startResponse
    this.#body = body
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
  }

  /** Sends the request. A failure rejects the promise. */
  begin(fields: RequestFields): void {
    const environ = this.#environ
    const body = this.#body
    // If the client disconnected while the request waited for a slot, nothing is sent.
    environ.gantry.onFinished(this.#exchangeFinished)
    if (this.#settled) return
    try {
      if (!body.whole)
        throw localError('NOT_WHOLE', 'the request body cannot be sent again: its first bytes were dropped')
      body.begin(this)
      // An input of middleware cannot be asked whether it is at its end.
      const bodyless =
        body.atEnd || (environ.REQUEST_METHOD === 'GET' && !(environ['wsgi.input'] instanceof RequestInput))
      const upgrade = environ['HTTP_UPGRADE'] !== undefined && bodyless
      const expect = environ['HTTP_EXPECT']
      const hold = !upgrade && typeof expect === 'string' && EXPECT.test(expect) && body.untouched && !body.atEnd
      // Reading makes a gateway send 100 Continue, so a held body is not read before the container asks for it.
      const first = upgrade || hold ? undefined : body.next()
      // A REQUEST with END and no bytes has no body. An empty body of unknown length ends with a DATA frame instead.
      const isEmptyBody = !first && body.exists && environ.CONTENT_LENGTH === undefined
      const isOver = first === null ? body.trailers.length === 0 : !upgrade && !hold && body.atEnd
      const end = isOver && !isEmptyBody
      const stream = this.#owner.link.connection.request(fields, { end, hold, upgrade }, first ?? undefined)
      stream.owner = this
      this.#stream = stream
      this.#sent = end || upgrade
    } catch (error) {
      this.#body.finish(this)
      this.#fail(this.#localFailure(error))
      return
    }
    if (!this.#sent) this.#pump()
  }

  // ---- events of the stream -----------------------------------------------------------------------------------------

  event(event: FrameEvent): void {
    switch (event.type) {
      case 'started':
        this.#body.started()
        break
      case 'inform':
        this.#inform(event.status, event.headers)
        break
      case 'head':
        this.#head(event.status, event.headers, event.body, event.end)
        break
      case 'data':
        if (this.#duplex) this.#duplex.data(event.bytes, event.end)
        else {
          this.#response?.push(event.bytes)
          if (event.end) this.#end()
        }
        break
      case 'end': {
        const { fields } = event
        this.#environ.gantry.trailers(() => pairs(fields))
        this.#end()
        break
      }
      case 'abort':
        this.#abortedByPeer(event.code, event.text)
        break
      case 'violation':
        this.#fail(this.#error('PROTOCOL', `the container violated the protocol: ${event.text}`, 'maybe'))
    }
  }

  /** There is room for more of the request. */
  resume(stream: FrameStream): void {
    if (this.#duplex) this.#duplex.resumeWriting()
    else if (!stream.closed) this.#pump()
  }

  /** The link is closed. */
  lost(error: Error): void {
    this.#fail(this.#error('LOST', `the link was lost: ${error.message}`, 'maybe', error))
  }

  /** The peer drains and did not accept the request. */
  notTaken(text: string): void {
    this.#fail(this.#error('GOAWAY', `the container drains and did not accept the request: ${text}`, 'no'))
  }

  // ---- SendAttempt and ResponseBodySource ---------------------------------------------------------------------------

  bodyReady(): void {
    this.#pump()
  }

  abort(reason: Error): void {
    this.#abortStream(reason)
    this.#fail(reason)
  }

  get caughtUp(): boolean {
    const stream = this.#stream
    return stream !== undefined && this.#owner.link.connection.isAllRead(stream)
  }

  consumed(bytes: number): void {
    const stream = this.#stream
    if (stream === undefined || stream.closed) return
    this.#owner.link.connection.consumed(stream, bytes)
    this.#owner.link.schedule()
  }

  cancelled(): void {
    this.#abortStream(new AbortError('CLIENT_GONE', 'the response is no longer needed'))
    this.#finish()
  }

  // ---- internals ----------------------------------------------------------------------------------------------------

  /** The exchange of this request has finished. After a disconnect of the client this runs in the same tick. */
  readonly #exchangeFinished = (outcome: Outcome): void => {
    if (!outcome.aborted || this.#stream?.closed) return
    this.#abortStream(outcome.aborted)
    // The exchange's own error: a retry on another container cannot help.
    this.#fail(outcome.aborted)
  }

  /** Passes body to the connection while there is room and body. */
  #pump(): void {
    const stream = this.#stream
    if (stream === undefined || stream.closed || this.#sent) return
    const { link } = this.#owner
    const { connection } = link
    const body = this.#body
    try {
      while (connection.hasRoom(stream)) {
        const chunk = body.next()
        if (chunk === undefined) break
        if (chunk === null) {
          this.#sent = true
          if (body.trailers.length > 0) connection.end(stream, [...body.trailers])
          else connection.end(stream)
          break
        }
        this.#sent = body.atEnd
        connection.data(stream, chunk, this.#sent)
        if (this.#sent) break
      }
    } catch (error) {
      // The input failed: its client has disconnected or sent too much, or the trailers are longer than the peer
      // accepts.
      this.#abortStream(error)
      this.#fail(isTooLarge(error) ? this.#error('TOO_LARGE', error.message, 'maybe', error) : error)
    }
    link.schedule()
  }

  #inform(status: string, headers: Headers): void {
    this.#body.started()
    if (!status.startsWith('103')) return
    try {
      this.#environ.gantry.earlyHints(headers)
    } catch {
      // A request does not fail because its hints cannot be sent.
    }
  }

  #head(status: string, headers: Headers, bytes: Uint8Array | undefined, end: boolean): void {
    this.#body.responded()
    const stream = this.#stream!
    const isUpgraded = status.startsWith('101')
    try {
      const write = this.#startResponse(status, headers)
      // The application sent the head ahead of its body: pass the head on now, not with the first chunk.
      if (bytes === undefined && !end && !isUpgraded) write(EMPTY).catch(nothing)
    } catch (error) {
      if (!stream.closed) this.#abortStream(error)
      this.#fail(
        error instanceof TypeError
          ? this.#error('PROTOCOL', `the container's response is invalid: ${error.message}`, 'maybe', error)
          : error,
      )
      return
    }
    if (this.#settled) return
    if (isUpgraded) {
      this.#upgrade()
      if (bytes !== undefined || end) this.#duplex?.data(bytes ?? EMPTY, end)
      return
    }
    if (end) {
      this.#finish()
      this.#respond(bytes === undefined ? [] : [bytes])
      return
    }
    const response = new ResponseBody(this)
    this.#response = response
    if (bytes !== undefined) response.push(bytes)
    this.#respond(response)
  }

  /** Joins the two raw connections. Each direction ends by itself; an error of one connection destroys both. */
  #upgrade(): void {
    let client: ReturnType<Environ['gantry']['upgrade']>
    try {
      client = this.#environ.gantry.upgrade()
    } catch (error) {
      this.#abortStream(error)
      this.#fail(error)
      return
    }
    if (client.destroyed) {
      // The client's connection was reset. Its 'close' event, which ends the exchange, follows. A pipeline would throw.
      this.#abortStream(new AbortError('CLIENT_GONE', 'the client disconnected'))
      this.#finish()
      this.#respond([])
      return
    }
    const duplex = new UpgradedStream(this.#owner.link, this.#stream!, () => this.#owner.upgradeEnded())
    this.#duplex = duplex
    this.#owner.upgradeStarted()
    this.#finish()
    // The pipeline adds listeners for both of its ends, beside those of the gateway: Node would warn above 10.
    client.setMaxListeners(30)
    pipeline(client, duplex, client, nothing)
    this.#respond([])
  }

  #end(): void {
    this.#finish()
    this.#response?.end()
  }

  #abortedByPeer(code: number, text: string): void {
    const { started, responded } = this.#stream!
    if (code === Reset.REFUSED && !started && !responded) {
      this.#fail(this.#error('REFUSED', `the container refused the request: ${text}`, 'no'))
    } else {
      this.#fail(
        new CallError('RESET', `the container aborted the request: ${text}`, 'maybe', responded, {
          final: FINAL.has(code),
        }),
      )
    }
  }

  /** The stream is closed, and with it the request's body. */
  #finish(): void {
    this.#body.finish(this)
    this.#release()
  }

  #release(): void {
    if (!this.#holdsSlot) return
    this.#holdsSlot = false
    this.#user?.released()
    this.#owner.released()
  }

  #respond(body: Body): void {
    this.#settled = true
    this.#resolve(body)
  }

  #fail(error: unknown): void {
    this.#finish()
    this.#response?.fail(error as Error)
    if (this.#duplex && !this.#duplex.destroyed) this.#duplex.destroy(error as Error)
    if (this.#settled) return
    this.#settled = true
    this.#reject(error)
  }

  /** Aborts the stream, and sends RESET in this tick. */
  #abortStream(reason: unknown): void {
    const stream = this.#stream
    if (stream === undefined || stream.closed) return
    const { link } = this.#owner
    link.connection.abort(stream, resetOf(reason), reason instanceof Error ? reason.message : '')
    link.flush()
    link.schedule()
  }

  #error(code: CallErrorCode, message: string, ran: 'no' | 'maybe', cause?: unknown): CallError {
    return new CallError(code, message, ran, this.#stream?.responded ?? false, { cause, final: code === 'PROTOCOL' })
  }

  #localFailure(error: unknown): unknown {
    if (isTooLarge(error)) return this.#error('TOO_LARGE', error.message, 'no', error)
    if (!(error instanceof LocalProtocolError)) return error
    if (error.code === 'NOT_OPEN') return this.#error('NOT_READY', error.message, 'no', error)
    return error
  }
}

const nothing = (): void => {}

/** Whether the head or the trailers are longer than the peer's HELLO allows. */
function isTooLarge(error: unknown): error is LocalProtocolError {
  return error instanceof LocalProtocolError && error.code === 'HEAD_TOO_LARGE'
}

/** RESET codes by which the server itself ended the request: a retry would end in the same way (SPEC.md, *Replay*). */
const FINAL: ReadonlySet<number> = new Set([Reset.APPLICATION, Reset.DEADLINE, Reset.PROTOCOL])

/** The RESET code for a call that this side aborts. */
function resetOf(reason: unknown): number {
  const code = (reason as { code?: unknown } | undefined)?.code
  if (code === 'DEADLINE') return Reset.DEADLINE
  if (code === 'DRAIN_TIMEOUT') return Reset.DRAIN_TIMEOUT
  return Reset.CANCELLED
}
