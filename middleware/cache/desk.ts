/**
 * The way of one request for what may be cached: from the store, behind another's, or to the application. What may be stored and served is
 * decided by `stored.ts`, kept by `store.ts`; a call of the application is `flight.ts`.
 *
 * A client never gets what the application made for another unless the head of that response says that it may be shared and its `Vary` fits:
 * who waits for another's is told by that head, and goes itself when it does not fit.
 */

import type { Application, Body, Environ, Headers, StartResponse } from '../../protocol/contract/application.ts'
import type { OtherCode } from '../../protocol/contract/error-codes.ts'
import { statusPage } from '../../protocol/contract/status-page.ts'
import type { Logger } from '../../protocol/log/logger.ts'
import { headerOf } from '../filter/response-fields.ts'
import { unchangedHeaders } from '../static/preconditions.ts'
import { answer, copied, unchanged } from './answer.ts'
import { type Call, fieldsOf } from './call.ts'
import { Flight, type FlightHost, type Reader, type Verdict } from './flight.ts'
import { FlightBody, finishedBody } from './flight-body.ts'
import { Flights } from './flights.ts'
import { Gather } from './gather.ts'
import { forClient, forNobody } from './inner-environ.ts'
import { restOf, uriOf } from './key.ts'
import type { CacheSettings } from './options.ts'
import { type Forward, Reporter } from './report.ts'
import { Entry, Marks, Store } from './store.ts'
import { ageOf, Judge, mayHideError, type StoredHead, selects, useOf } from './stored.ts'

/** How often a request waits for others' before it goes itself: each time it has learned what they vary on. */
const WAITS = 3
/** After a background request that failed, the next is not begun for this long, ms: one that is down is not asked by every client. */
const RETRY = 1_000
/** What `stale-if-error` covers (RFC 5861 §4). */
const FAILURES: ReadonlySet<number> = new Set([500, 502, 503, 504])

/** What a cache has done since it was made. */
export interface CacheStats {
  /** Answered from memory, fresh. */
  readonly hits: number
  /** Answered from memory, stale: while revalidating, at the client's wish, or in place of a failure. */
  readonly stale: number
  /** Answered by the application. */
  readonly misses: number
  /** Answered from memory after the application had said that nothing has changed. */
  readonly revalidated: number
  /** Answered with another request's response. */
  readonly collapsed: number
  /** Requests that a cache has nothing to do with: other methods, upgrades, parts of what is not stored… */
  readonly passed: number
  /** Responses stored. */
  readonly stored: number
  /** Stored responses that had to go for others. */
  readonly evicted: number
  /** Taken now, with what is being gathered. */
  readonly bytes: number
  readonly entries: number
}

export class Desk {
  readonly #settings: CacheSettings
  readonly #store: Store
  readonly #judge: Judge
  readonly #marks: Marks = new Marks()
  readonly #flights: Flights = new Flights()
  readonly #reporter: Reporter
  readonly #count = { hits: 0, stale: 0, misses: 0, revalidated: 0, collapsed: 0, passed: 0, stored: 0 }
  #background = 0

  constructor(settings: CacheSettings) {
    this.#settings = settings
    this.#store = new Store(settings)
    this.#judge = new Judge(settings)
    this.#reporter = new Reporter(settings)
  }

  stats(): CacheStats {
    const { bytes, entries, evicted } = this.#store
    return { ...this.#count, evicted, bytes, entries }
  }

  invalidate(uri: string): number {
    this.#flights.doom(uri)
    return this.#store.invalidate(uri)
  }

  clear(): void {
    this.#flights.doomAll()
    this.#store.clear()
    this.#marks.clear()
  }

  /** For what passes the cache by. */
  reported(startResponse: StartResponse, why: Forward): StartResponse {
    this.#count.passed++
    if (this.#reporter.silent) return startResponse
    return (status, headers, excInfo) => {
      const fields = [...headers]
      this.#reporter.forwarded(fields, why)
      return startResponse(status, fields, excInfo)
    }
  }

  /** Answers a GET or HEAD, from wherever that may be. */
  serve(application: Application, call: Call): Body | Promise<Body> {
    const { environ, directives, authorised } = call
    const now = this.#settings.clock.now()
    const entry = this.#store.find(call.uri, call.rest, environ, authorised)
    if (entry) {
      const use = useOf(entry.head, now, directives)
      if (use === 'fresh' || use === 'stale') return this.#hit(call, entry, now)
      if (use === 'while-revalidating' && this.#renewing(application, call, entry, now))
        return this.#hit(call, entry, now)
      call.why = directives.size > 0 && useOf(entry.head, now, new Map()) === 'fresh' ? 'request' : 'stale'
    } else if (this.#store.hasKey(call.uri, call.rest)) call.why = 'vary-miss'
    if (directives.has('only-if-cached')) return statusPage(504)(environ, call.startResponse)
    // Parts and heads are not stored, and a stored GET would not be renewed by them.
    if (environ.REQUEST_METHOD === 'HEAD' || environ['HTTP_RANGE'] !== undefined) return this.#alone(application, call)

    const shared = !authorised && !directives.has('no-cache') && directives.get('max-age') !== '0'
    const marked = this.#marks.has(call.mark, now)
    if (marked && !entry) return this.#alone(application, call)
    if (!shared || marked || this.#settings.waitLimit === 0) return this.#lead(application, call, entry, false)
    const flight = this.#flights.joinable(call, () => this.#store.variesOn(call.uri, call.rest))
    if (!flight) return this.#lead(application, call, entry, true)
    if (call.waits >= WAITS) return this.#alone(application, call)
    call.waits++
    return this.#follow(application, call, flight)
  }

  // ---- from the store ----------------------------------------------------------------------------------------------

  #hit(call: Call, entry: Entry, now: number): Body {
    const { head } = entry
    const age = ageOf(head, now)
    const added: Headers = [['Age', String(Math.floor(age))]]
    const left = head.lifetime - age
    this.#reporter.hit(added, left)
    if (left > 0) this.#count.hits++
    else this.#count.stale++
    return this.#answer(call, entry, added)
  }

  #answer(call: Call, entry: Entry, added: Headers): Body {
    const { head, body } = entry
    const whole = { status: head.status, headers: head.headers, body }
    return answer(whole, call.environ, call.startResponse, added, this.#settings.clock)
  }

  /** @returns whether the stale response may be served meanwhile: it is being renewed, or will be by a later request */
  #renewing(application: Application, call: Call, entry: Entry, now: number): boolean {
    const { gantry } = call.environ
    // Only one that says who it is could renew it, and a request of the cache's own is nobody's.
    if (call.authorised || entry.head.fromAuthorised) return false
    const busy = this.#background >= this.#settings.maxBackground
    if (entry.renewing || busy || now < entry.renewAt || gantry.draining) return true
    const environ = forNobody(call.environ, entry, this.#settings.carry)
    // What the key is made of must have come along, or the answer would be somebody else's.
    const own = this.#settings.key === undefined ? '' : this.#settings.key(environ)
    if (own === undefined || restOf(environ, call.place, own) !== call.rest || uriOf(environ) !== call.uri) return false
    if (!selects(entry.head, environ, false)) return false
    entry.renewing = true
    this.#background++
    const flight = this.#launch(application, call, environ, { stale: entry, open: true, background: true })
    flight.run()
    void flight.whenSettled.then(() => {
      entry.renewing = false
      this.#background--
      const { verdict } = flight
      if (flight.entry || (verdict?.kind === 'stored' && verdict.failed === 0)) return
      entry.renewAt = this.#settings.clock.now() + RETRY
      const { requestId } = gantry
      const status =
        verdict?.kind === 'stored' ? verdict.failed : verdict?.kind === 'response' ? verdict.status : undefined
      this.#log(call.environ).warn(
        { requestId, code: 'CACHE_RENEWAL' satisfies OtherCode, status },
        'a stale response could not be renewed',
      )
    })
    return true
  }

  // ---- from the application ----------------------------------------------------------------------------------------

  /** The application is asked for this client alone. What it says may still show that its responses can be shared after all. */
  #alone(application: Application, call: Call): Body | Promise<Body> {
    const { environ, startResponse } = call
    this.#count.misses++
    const ordinary = environ.REQUEST_METHOD === 'GET' && environ['HTTP_RANGE'] === undefined
    return application(environ, (status, headers, excInfo) => {
      if (ordinary) {
        const head = this.#judge.head(call.glance, status, headers)
        if (head && head.lifetime > 0) this.#marks.delete(call.mark)
      }
      if (this.#reporter.silent) return startResponse(status, headers, excInfo)
      const fields = [...headers]
      this.#reporter.forwarded(fields, call.why)
      return startResponse(status, fields, excInfo)
    })
  }

  /** After waiting: only for a client that is still there. */
  #goAlone(application: Application, call: Call): Body | Promise<Body> {
    return call.aborted ? [] : this.#alone(application, call)
  }

  /** The application is asked, and others may have what it gives. @param open whether they may wait for it */
  #lead(application: Application, call: Call, stale: Entry | undefined, open: boolean): Body | Promise<Body> {
    const environ = forClient(call.environ, stale)
    const flight = this.#launch(application, call, environ, { stale, open, background: false })
    const reader = flight.join(true)
    flight.run()
    if (flight.verdict) return this.#led(application, call, flight, reader, flight.verdict)
    return this.#whenLed(application, call, flight, reader)
  }

  async #whenLed(application: Application, call: Call, flight: Flight, reader: Reader): Promise<Body> {
    const { signal } = call.environ.gantry
    const leave = (): void => reader.leave(call.abortReason)
    signal.addEventListener('abort', leave, { once: true })
    if (signal.aborted) leave()
    // Also told when the reader leaves.
    while (!flight.verdict && !signal.aborted) await flight.changed()
    signal.removeEventListener('abort', leave)
    if (signal.aborted || !flight.verdict) {
      // Its slot is free when the application is done, unless others have taken the response over.
      if (!flight.wanted) await flight.whenSettled
      return []
    }
    return this.#led(application, call, flight, reader, flight.verdict)
  }

  #led(application: Application, call: Call, flight: Flight, reader: Reader, verdict: Verdict): Body | Promise<Body> {
    if (verdict.kind === 'alone') {
      reader.leave()
      return this.#goAlone(application, call)
    }
    if (verdict.kind === 'stored') {
      reader.leave()
      if (flight.thrown !== undefined) {
        const { requestId } = call.environ.gantry
        const message = 'the application failed; a stale response was served in its place'
        this.#log(call.environ).error({ requestId, err: flight.thrown }, message)
      }
      return this.#renewed(call, verdict, verdict.extra)
    }
    if (flight.thrown !== undefined) {
      reader.leave()
      throw flight.thrown
    }
    this.#count.misses++
    const { status, headers } = verdict
    const fields = copied(headers, [])
    this.#reporter.forwarded(fields, call.why)
    if (status.startsWith('200') && unchanged(call.environ, headers)) {
      // The client has it; the store has not.
      if (verdict.head) flight.keep()
      reader.leave()
      call.startResponse('304 Not Modified', unchangedHeaders(fields))
      return finishedBody([], flight, reader)
    }
    try {
      const write = call.startResponse(status, fields)
      const whole = flight.atOnce
      if (whole) return finishedBody(whole, flight, reader)
      // A head that came without a chunk is due at once.
      if (flight.bare) write(new Uint8Array(0)).catch(() => {})
    } catch (error) {
      reader.leave()
      throw error
    }
    return new FlightBody(flight, reader, call)
  }

  #renewed(call: Call, { entry, failed }: Verdict & { kind: 'stored' }, extra: Headers): Body {
    const added: Headers = [['Age', String(Math.floor(ageOf(entry.head, this.#settings.clock.now())))], ...extra]
    this.#reporter.renewed(added, failed)
    if (failed > 0) this.#count.stale++
    else this.#count.revalidated++
    return this.#answer(call, entry, added)
  }

  // ---- behind another's --------------------------------------------------------------------------------------------

  async #follow(application: Application, call: Call, flight: Flight): Promise<Body> {
    const reader = flight.join(false)
    const patience = new Patience(call, this.#settings)
    try {
      while (!flight.verdict && !patience.over) await Promise.race([flight.changed(), patience.whenOver])
      const { verdict } = flight
      if (!verdict || patience.over || verdict.kind === 'alone') return this.#goAlone(application, call)
      if (verdict.kind === 'stored') {
        const { head } = verdict.entry
        if (!selects(head, call.environ, call.authorised)) return this.serve(application, call)
        if (verdict.failed === 0 && useOf(head, this.#settings.clock.now(), call.directives) === 'no') {
          return this.#goAlone(application, call)
        }
        return this.#renewed(call, verdict, [])
      }
      const { head } = verdict
      if (!head) return this.#goAlone(application, call)
      if (!selects(head, call.environ, call.authorised)) return this.serve(application, call)
      if (useOf(head, this.#settings.clock.now(), call.directives) !== 'fresh') return this.#goAlone(application, call)
      if (flight.shareable && !flight.over) return this.#followed(call, flight, reader, verdict, head)
      // Its length is not known, so that it may yet turn out too large to be kept: it is read along until that is seen.
      while (!flight.over && verdict.head && !patience.over) await Promise.race([reader.next(), patience.whenOver])
      if (flight.entry) {
        const added: Headers = [['Age', String(Math.floor(ageOf(head, this.#settings.clock.now())))]]
        this.#reporter.collapsed(added)
        this.#count.collapsed++
        return this.#answer(call, flight.entry, added)
      }
      return this.#goAlone(application, call)
    } catch (error) {
      // Cut short before this client has seen anything of it.
      if (!flight.failed) throw error
      return this.#goAlone(application, call)
    } finally {
      patience.end()
      if (!reader.handed) reader.leave(call.abortReason)
    }
  }

  #followed(
    call: Call,
    flight: Flight,
    reader: Reader,
    verdict: Verdict & { kind: 'response' },
    head: StoredHead,
  ): Body {
    const added: Headers = [['Age', String(Math.floor(ageOf(head, this.#settings.clock.now())))]]
    this.#reporter.collapsed(added)
    this.#count.collapsed++
    const fields = copied(head.headers, added)
    if (verdict.status.startsWith('200') && unchanged(call.environ, head.headers)) {
      call.startResponse('304 Not Modified', unchangedHeaders(fields))
      return []
    }
    call.startResponse(verdict.status, fields)
    reader.handed = true
    return new FlightBody(flight, reader, call)
  }

  // ---- flights -----------------------------------------------------------------------------------------------------

  #launch(
    application: Application,
    call: Call,
    environ: Environ,
    { stale, open, background }: { stale: Entry | undefined; open: boolean; background: boolean },
  ): Flight {
    const { uri, rest } = call
    // A request of the cache's own is not the client's: what it has left out must not be taken for what was said.
    const asked = background
      ? { variables: fieldsOf(environ), authorised: false, at: this.#settings.clock.now() }
      : call.asked
    const { gantry, 'wsgi.errors': errors } = call.environ
    const { clock, backgroundTimeout, maxObjectBytes } = this.#settings
    const host: FlightHost = {
      clock,
      log: this.#log(call.environ),
      timeout: backgroundTimeout,
      decide: (flight, status, headers) => this.#decide(call, flight, status, headers),
      gather: (length) => Gather.begin(this.#store, maxObjectBytes, length),
      complete: (flight, head, body) => this.#complete(flight, head, body),
      over: (flight) => this.#flights.delete(flight),
    }
    const plan = { uri, rest, asked, stale, open, background, gantry, errors: background ? undefined : errors }
    const flight = new Flight(application, environ, plan, host)
    this.#flights.add(flight)
    return flight
  }

  /** What becomes of a response, by its head. */
  #decide(call: Call, flight: Flight, status: string, headers: Headers): Verdict {
    const { asked, stale } = flight.plan
    const { clock, passTime } = this.#settings
    const now = clock.now()
    const code = Number(status.slice(0, 3))
    if (stale) {
      if (code === 304) return this.#renew(flight, stale, headers)
      const hides = FAILURES.has(code) && mayHideError(stale.head, now, call.directives)
      if (hides) return { kind: 'stored', entry: stale, extra: [], failed: code }
      // A refusal of one client says nothing of the resource; that it is gone, or another now, does.
      const said = code < 400 || code === 404 || code === 410
      if (said && ageOf(stale.head, now) >= stale.head.lifetime) this.#store.remove(stale)
    }
    const head = this.#judge.head(asked, status, headers)
    // Who comes next need not wait for what cannot be shared. A failure is no property of the resource.
    if (code < 500 && passTime > 0 && !(head && head.lifetime > 0)) this.#marks.set(call.mark, now + passTime)
    else if (head) this.#marks.delete(call.mark)
    return { kind: 'response', status, headers, head }
  }

  #renew(flight: Flight, stale: Entry, headers: Headers): Verdict {
    const head = this.#judge.freshened(stale.head, flight.plan.asked, headers)
    if (head === undefined || head === 'other') {
      this.#store.remove(stale)
      return { kind: 'alone' }
    }
    const extra = headers.filter(([name]) => name.toLowerCase() === 'set-cookie')
    if (!flight.doomed && stale.stored) {
      this.#store.renew(stale, head)
      return { kind: 'stored', entry: stale, extra, failed: 0 }
    }
    return { kind: 'stored', entry: new Entry(stale.uri, stale.rest, head, stale.body), extra, failed: 0 }
  }

  #complete(flight: Flight, head: StoredHead, body: Uint8Array): Entry {
    const { uri, rest, asked } = flight.plan
    const headers =
      head.code === 204 || headerOf(head.headers, 'content-length') !== undefined
        ? head.headers
        : [...head.headers, ['Content-Length', String(body.length)] as [string, string]]
    const entry = new Entry(uri, rest, { ...head, headers }, body)
    if (!flight.doomed && this.#store.add(entry, asked)) this.#count.stored++
    return entry
  }

  /** Without a log of its own: lines of `wsgi.errors`. */
  #log(environ: Environ): Logger {
    if (this.#settings.log) return this.#settings.log
    const errors = environ['wsgi.errors']
    const line = (fields: object, message: string): void => {
      const { err, code } = fields as { err?: unknown; code?: unknown }
      const detail = err instanceof Error ? (err.stack ?? err.message) : (err ?? code)
      errors.write(detail === undefined ? `${message}\n` : `${message}: ${String(detail)}\n`)
    }
    return { debug() {}, info() {}, warn: line, error: line }
  }
}

/** How long a client waits for others: until its time is over, or it has gone. */
class Patience {
  over = false
  readonly whenOver: Promise<void>
  readonly #end: () => void

  constructor(call: Call, { clock, waitLimit }: CacheSettings) {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.whenOver = promise
    const { signal } = call.environ.gantry
    const give = (): void => {
      this.over = true
      resolve()
    }
    // The time it has waited for others before counts.
    const timer = clock.after(Math.max(0, waitLimit - (clock.now() - call.at)), give)
    signal.addEventListener('abort', give, { once: true })
    if (signal.aborted) give()
    this.#end = () => {
      timer.cancel()
      signal.removeEventListener('abort', give)
    }
  }

  end(): void {
    this.#end()
  }
}
