/** An upstream whose calls the test answers. */

import type { Attempt, Upstream, UpstreamState } from '../../pool/upstream.ts'
import type { Body, Environ, StartResponse } from '../../protocol/contract/application.ts'
import { CallError, type CallErrorCode, type ReplayableBody, type SlotUser } from '../../protocol/frames/caller.ts'
import type { Identity } from '../../protocol/frames/codec/hello.ts'

export class FakeCall {
  readonly upstream: FakeUpstream
  readonly environ: Environ
  readonly startResponse: StartResponse
  readonly body: ReplayableBody
  readonly user: SlotUser
  readonly response: PromiseWithResolvers<Body> = Promise.withResolvers()
  /** The reason with which the pool aborted the call. */
  aborted: Error | undefined
  over = false

  constructor(
    upstream: FakeUpstream,
    environ: Environ,
    startResponse: StartResponse,
    body: ReplayableBody,
    user: SlotUser,
  ) {
    this.upstream = upstream
    this.user = user
    this.environ = environ
    this.startResponse = startResponse
    this.body = body
    this.response.promise.catch(() => {})
  }

  /** Answers with a complete response. */
  answer(status: string = '200 OK', body: Body = [Buffer.from('hello')]): void {
    this.startResponse(status, [])
    this.end()
    this.response.resolve(body)
  }

  /** Answers with an unfinished body; the slot stays in use until `end()`. */
  begin(body: Body, status: string = '200 OK'): void {
    this.startResponse(status, [])
    this.response.resolve(body)
  }

  fail(code: CallErrorCode, ran: 'no' | 'maybe', responded: boolean = false, final: boolean = false): void {
    this.end()
    this.response.reject(new CallError(code, `fake ${code}`, ran, responded, { final }))
  }

  refuse(): void {
    this.fail('REFUSED', 'no')
  }

  end(): void {
    if (this.over) return
    this.over = true
    this.user.released()
    this.upstream.inFlight--
    this.upstream.onChange()
  }
}

export class FakeUpstream implements Upstream {
  readonly name: string
  declare address?: string
  state: UpstreamState = 'connecting'
  grant: number
  inFlight = 0
  demanded = 0
  /** The largest number of calls in flight. */
  peak = 0
  onChange: () => void = () => {}
  readonly calls: FakeCall[] = []
  closed: string | undefined
  closing: string | undefined
  failure: Error | undefined
  peer: Identity | undefined

  constructor(name: string, grant: number = 10) {
    this.name = name
    this.grant = grant
  }

  /** The latest call. */
  get last(): FakeCall {
    const call = this.calls.at(-1)
    if (!call) throw new Error(`${this.name} was not called`)
    return call
  }

  become(state: UpstreamState): this {
    this.state = state
    this.onChange()
    return this
  }

  allow(grant: number): void {
    this.grant = grant
    this.onChange()
  }

  demand(slots: number): void {
    this.demanded = slots
  }

  call(environ: Environ, startResponse: StartResponse, body: ReplayableBody, user: SlotUser): Attempt {
    const call = new FakeCall(this, environ, startResponse, body, user)
    this.calls.push(call)
    this.inFlight++
    this.peak = Math.max(this.peak, this.inFlight)
    this.onChange()
    return {
      response: call.response.promise,
      abort: (reason) => {
        call.aborted = reason
        call.end()
        call.response.reject(new CallError('ABORTED', 'given up', 'maybe', false))
      },
    }
  }

  /** As if the link is lost: every call in flight is lost. */
  die(ran: 'no' | 'maybe' = 'maybe'): void {
    this.state = 'closed'
    for (const call of this.calls) if (!call.over) call.fail('LOST', ran)
    this.onChange()
  }

  close(reason: string): void {
    this.closed = reason
    if (this.state === 'ready' || this.state === 'connecting') this.become(this.inFlight > 0 ? 'draining' : 'closed')
  }

  destroy(): void {
    if (this.state !== 'closed') this.die()
  }
}
