/**
 * One call of a remote application: its request on the way out, its response on the way in, and how either can end.
 * Does not know the link's state; `Caller` does.
 */

import { pipeline } from 'node:stream'
import type { Body, Environ, Headers, Outcome, StartResponse } from '../contract/application.ts'
import { localError } from '../contract/coded-errors.ts'
import { AbortError, LocalProtocolError } from '../contract/errors.ts'
import { pairs, RequestInput } from '../contract/input.ts'
import type { Event } from './codec/connection.ts'
import { Reset } from './codec/constants.ts'
import type { RequestFields } from './codec/head.ts'
import type { Stream } from './codec/stream.ts'
import { StreamDuplex } from './duplex.ts'
import type { Link } from './link.ts'
import type { Attempt, ReplayableBody } from './replayable-body.ts'
import { type BodySource, ResponseBody } from './response-body.ts'

/**
 * - `REFUSED`: the peer was above its slots; nothing ran.
 * - `GOAWAY`: the peer drains and did not take this request; nothing ran.
 * - `NOT_READY`: the link was not ready when the call was made; nothing was sent.
 * - `TOO_LARGE`: the head is more than the peer takes (431 is the status to give); nothing was sent.
 * - `LOST`: the link died, or was closed from this side.
 * - `RESET`: the peer gave the request up (its application failed after its head, a deadline, a drain timeout).
 * - `PROTOCOL`: the peer's response is not one.
 *
 * A call that this side gave up (its client is gone, a deadline passed) fails with what it was given up for instead.
 */
export type CallErrorCode = 'REFUSED' | 'GOAWAY' | 'NOT_READY' | 'TOO_LARGE' | 'LOST' | 'RESET' | 'PROTOCOL' | 'ABORTED'

/** A call that did not end well: what happened, and whether the application can have run. */
export class CallError extends Error {
  override readonly name: string = 'CallError'
  readonly code: CallErrorCode
  /** `no`: surely never ran, may be sent elsewhere whatever its method (SPEC.md, *Replay*). */
  readonly ran: 'no' | 'maybe'
  /** Whether a response head had come. */
  readonly responded: boolean
  /** The peer ended the request itself, on a live link: another attempt would end in the same way. */
  readonly final: boolean

  constructor(
    code: CallErrorCode,
    message: string,
    ran: 'no' | 'maybe',
    responded: boolean,
    { final = false, ...options }: ErrorOptions & { readonly final?: boolean } = {},
  ) {
    super(message, options)
    this.code = code
    this.ran = ran
    this.responded = responded
    this.final = final
  }
}

/** What a call tells its caller. */
export interface CallOwner {
  readonly link: Link
  /** It no longer holds a slot. Once. */
  released(): void
  /** It has become a raw connection; that is over. */
  upgradedBegan(): void
  upgradedEnded(): void
}

/** The request that holds a call's slot. It is notified before the call's owner that the slot is free. */
export interface SlotUser {
  /** Called once, when the slot is free. */
  released(): void
}

const EMPTY: Uint8Array = new Uint8Array(0)
const EXPECT = /^100-continue$/i

export class Call implements Attempt, BodySource {
  readonly promise: Promise<Body>
  readonly #owner: CallOwner
  readonly #environ: Environ
  readonly #startResponse: StartResponse
  readonly #body: ReplayableBody
  readonly #user: SlotUser | undefined
  #stream: Stream | undefined
  #resolve: (body: Body) => void = nothing
  #reject: (error: unknown) => void = nothing
  /** The promise is settled. */
  #answered = false
  #holdsSlot = true
  /** All of the request was given to the connection. */
  #sent = false
  #response: ResponseBody | undefined
  #duplex: StreamDuplex | undefined

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

  /** Sends the request. Failures come from the promise. */
  begin(fields: RequestFields): void {
    const environ = this.#environ
    const body = this.#body
    // A client that went while a slot was waited for: nothing is sent.
    environ.gantry.onFinished(this.#exchangeFinished)
    if (this.#answered) return
    try {
      if (!body.whole)
        throw localError('NOT_WHOLE', 'the request body cannot be sent again: a part of it was discarded')
      body.begin(this)
      // What middleware put in an input's place cannot be asked whether it is at its end.
      const bodyless =
        body.atEnd || (environ.REQUEST_METHOD === 'GET' && !(environ['wsgi.input'] instanceof RequestInput))
      const upgrade = environ['HTTP_UPGRADE'] !== undefined && bodyless
      const expect = environ['HTTP_EXPECT']
      const hold = !upgrade && typeof expect === 'string' && EXPECT.test(expect) && body.untouched && !body.atEnd
      // Reading is what makes a gateway send 100 Continue: a held body is not read before the container asks for it.
      const first = upgrade || hold ? undefined : body.next()
      // END with a REQUEST that has no bytes says that there is no body: an empty one of unknown length ends by a frame of its own.
      const isEmptyBody = !first && body.exists && environ.CONTENT_LENGTH === undefined
      const isOver = first === null ? body.trailers.length === 0 : !upgrade && !hold && body.atEnd
      const end = isOver && !isEmptyBody
      const stream = this.#owner.link.connection.request(fields, { end, hold, upgrade }, first ?? undefined)
      stream.owner = this
      this.#stream = stream
      this.#sent = end || upgrade
    } catch (error) {
      this.#body.leave(this)
      this.#fail(this.#localFailure(error))
      return
    }
    if (!this.#sent) this.#pump()
  }

  // ---- what came for it ------------------------------------------------------------------------------------------

  event(event: Event): void {
    switch (event.type) {
      case 'started':
        this.#body.started()
        break
      case 'inform':
        this.#inform(event.status, event.headers)
        break
      case 'response':
        this.#respond(event.status, event.headers, event.body, event.end)
        break
      case 'data':
        if (this.#duplex) this.#duplex.receive(event.bytes, event.end)
        else {
          this.#response?.push(event.bytes)
          if (event.end) this.#end()
        }
        break
      case 'trailers': {
        const { fields } = event
        this.#environ.gantry.trailers(() => pairs(fields))
        this.#end()
        break
      }
      case 'reset':
        this.#reset(event.code, event.text)
        break
      case 'violation':
        this.#fail(this.#error('PROTOCOL', `the container broke the protocol: ${event.text}`, 'maybe'))
    }
  }

  /** There is room for more of the request. */
  relieved(stream: Stream): void {
    if (this.#duplex) this.#duplex.relieved()
    else if (!stream.closed) this.#pump()
  }

  /** The link is gone. */
  lost(error: Error): void {
    this.#fail(this.#error('LOST', `the link was lost: ${error.message}`, 'maybe', error))
  }

  /** The peer drains and did not take it. */
  untaken(text: string): void {
    this.#fail(this.#error('GOAWAY', `the container drains and did not accept the request: ${text}`, 'no'))
  }

  // ---- of Attempt and BodySource -----------------------------------------------------------------------------------

  bodyReady(): void {
    this.#pump()
  }

  abort(reason: Error): void {
    this.#stop(reason)
    this.#fail(reason)
  }

  get caughtUp(): boolean {
    const stream = this.#stream
    return stream !== undefined && this.#owner.link.connection.taken(stream)
  }

  consumed(bytes: number): void {
    const stream = this.#stream
    if (stream === undefined || stream.closed) return
    this.#owner.link.connection.consumed(stream, bytes)
    this.#owner.link.schedule()
  }

  unwanted(): void {
    this.#stop(new AbortError('CLIENT_GONE', 'the response is no longer needed'))
    this.#finish()
  }

  // ---- inside ----------------------------------------------------------------------------------------------------

  /** The exchange behind us is over. If its client went, this is the same tick. */
  readonly #exchangeFinished = (outcome: Outcome): void => {
    if (!outcome.aborted || this.#stream?.closed) return
    this.#stop(outcome.aborted)
    // Its own error: nobody else can mend this by calling another container.
    this.#fail(outcome.aborted)
  }

  /** Gives body to the connection as long as there is room and body. */
  #pump(): void {
    const stream = this.#stream
    if (stream === undefined || stream.closed || this.#sent) return
    const { link } = this.#owner
    const { connection } = link
    const body = this.#body
    try {
      while (connection.room(stream)) {
        const chunk = body.next()
        if (chunk === undefined) break
        if (chunk === null) {
          this.#sent = true
          if (body.trailers.length > 0) connection.trailers(stream, [...body.trailers])
          else connection.send(stream, EMPTY, true)
          break
        }
        this.#sent = body.atEnd
        connection.send(stream, chunk, this.#sent)
        if (this.#sent) break
      }
    } catch (error) {
      // The input failed: its client is gone, or sent too much; trailers may be longer than the peer accepts.
      this.#stop(error)
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
      // Hints that cannot be sent are not worth a request.
    }
  }

  #respond(status: string, headers: Headers, bytes: Uint8Array | undefined, end: boolean): void {
    this.#body.answered()
    const stream = this.#stream!
    try {
      const write = this.#startResponse(status, headers)
      // A head that came alone is one that the application sent ahead of its body: it goes on now, not with the first chunk.
      if (bytes === undefined && !end && !stream.upgraded) write(EMPTY).catch(nothing)
    } catch (error) {
      if (!stream.closed) this.#stop(error)
      this.#fail(
        error instanceof TypeError
          ? this.#error('PROTOCOL', `the response of the container is invalid: ${error.message}`, 'maybe', error)
          : error,
      )
      return
    }
    if (this.#answered) return
    if (stream.upgraded) {
      this.#upgrade()
      if (bytes !== undefined || end) this.#duplex?.receive(bytes ?? EMPTY, end)
      return
    }
    if (end) {
      this.#finish()
      this.#answer(bytes === undefined ? [] : [bytes])
      return
    }
    const response = new ResponseBody(this)
    this.#response = response
    if (bytes !== undefined) response.push(bytes)
    this.#answer(response)
  }

  /** The two raw connections are joined; each direction ends by itself, and a failure of one is a failure of both. */
  #upgrade(): void {
    let client: ReturnType<Environ['gantry']['upgrade']>
    try {
      client = this.#environ.gantry.upgrade()
    } catch (error) {
      this.#stop(error)
      this.#fail(error)
      return
    }
    if (client.destroyed) {
      // It was reset, and its 'close' is still to come, which ends the exchange. A pipeline would throw.
      this.#stop(new AbortError('CLIENT_GONE', 'the client disconnected'))
      this.#finish()
      this.#answer([])
      return
    }
    const duplex = new StreamDuplex(this.#owner.link, this.#stream!, () => this.#owner.upgradedEnded())
    this.#duplex = duplex
    this.#owner.upgradedBegan()
    this.#finish()
    // It stands at both ends of the pipeline, beside its gateway's own listeners: more than the 10 that Node warns of.
    client.setMaxListeners(30)
    pipeline(client, duplex, client, nothing)
    this.#answer([])
  }

  #end(): void {
    this.#finish()
    this.#response?.end()
  }

  #reset(code: number, text: string): void {
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

  /** The stream, and with it the request's body, are over. */
  #finish(): void {
    this.#body.leave(this)
    this.#release()
  }

  #release(): void {
    if (!this.#holdsSlot) return
    this.#holdsSlot = false
    this.#user?.released()
    this.#owner.released()
  }

  #answer(body: Body): void {
    this.#answered = true
    this.#resolve(body)
  }

  #fail(error: unknown): void {
    this.#finish()
    this.#response?.fail(error as Error)
    if (this.#duplex && !this.#duplex.destroyed) this.#duplex.destroy(error as Error)
    if (this.#answered) return
    this.#answered = true
    this.#reject(error)
  }

  /** Tells the peer, in this tick. */
  #stop(reason: unknown): void {
    const stream = this.#stream
    if (stream === undefined || stream.closed) return
    const { link } = this.#owner
    link.connection.reset(stream, resetOf(reason), reason instanceof Error ? reason.message : '')
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

/** A head or trailers above the limit that the peer has named in its HELLO. */
function isTooLarge(error: unknown): error is LocalProtocolError {
  return error instanceof LocalProtocolError && error.code === 'HEAD_TOO_LARGE'
}

/** RESET codes that say that the application, or its deadline, ended the request (SPEC.md, *Replay*). */
const FINAL: ReadonlySet<number> = new Set([Reset.APPLICATION, Reset.DEADLINE, Reset.PROTOCOL])

/** What the container is told of a call that is given up. */
function resetOf(reason: unknown): number {
  const code = (reason as { code?: unknown } | undefined)?.code
  if (code === 'DEADLINE') return Reset.DEADLINE
  if (code === 'DRAIN_TIMEOUT') return Reset.DRAIN_TIMEOUT
  return Reset.CANCELLED
}
