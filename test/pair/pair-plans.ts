/** The plan of one random request: its client's side, its application's side, and the expected result. */

import type { Application, Environ, Headers, StartResponse } from '../../protocol/contract/application.ts'
import type { Context } from '../../protocol/contract/context.ts'
import type { Answer, Fields, RequestOptions, Sent } from '../support/client.ts'

export interface Plan {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE'
  /** The client asks for an upgrade, and how the application responds. `unasked`: a 101 without an upgrade request. */
  readonly upgrade: 'no' | 'accept' | 'decline' | 'unasked'
  readonly expect: boolean
  /** Bytes of the request's body, -1: none. */
  readonly upload: number
  readonly chunked: boolean
  readonly requestTrailers: boolean
  /** Length of a header's value in each direction, bytes. */
  readonly requestHeader: number
  readonly responseHeader: number
  readonly read: 'none' | 'some' | 'all'
  /** `gate`: responds when the test allows it; `hang`: only when it is aborted; `deaf`: not even then. */
  readonly wait: 'no' | 'gate' | 'hang' | 'deaf'
  readonly hints: number
  readonly status: 200 | 201 | 204 | 205 | 304 | 404
  readonly how: 'array' | 'iterate' | 'write'
  readonly size: number
  readonly length: 'none' | 'right' | 'short' | 'long'
  readonly trailers: boolean
  readonly fails: 'no' | 'before' | 'in callback' | 'after head' | 'midway'
  /** Number of ticks after which its client disconnects. */
  readonly leaves: number | undefined
  /** Its client reads nothing. */
  readonly stalled: boolean
}

const REASONS: Record<number, string> = { 200: 'OK', 201: 'Created', 204: 'None', 205: 'Reset', 304: 'Same', 404: 'No' }

/** Bytes that identify their request. */
export function bytesOf(id: number, size: number): Buffer {
  const bytes = Buffer.alloc(size)
  for (let at = 0; at < size; at++) bytes[at] = (at * 7 + id) % 251
  return bytes
}

/** The same number of latin1 bytes that take two bytes each in a frame's text. */
const value = (id: number, size: number): string => String.fromCharCode(0xc0 + (id % 16)).repeat(size)

// ---- the client ----------------------------------------------------------------------------------------------------

const asksUpgrade = (plan: Plan): boolean => plan.upgrade === 'accept' || plan.upgrade === 'decline'

export function requestOf(id: number, plan: Plan): RequestOptions {
  const headers: Fields = [['X-Big', value(id, plan.requestHeader)]]
  const upgrade = asksUpgrade(plan)
  if (upgrade) headers.push(['Connection', 'Upgrade'], ['Upgrade', 'echo'])
  const body = plan.upload >= 0 && !upgrade
  if (plan.expect && body) headers.push(['Expect', '100-continue'])
  if (body && !plan.chunked) headers.push(['Content-Length', String(plan.upload)])
  return {
    method: upgrade ? 'GET' : plan.method,
    target: `/${id}`,
    headers,
    ...(body ? { body: 'stream' as const, chunked: plan.chunked } : {}),
  }
}

export async function act(id: number, plan: Plan, sent: Sent): Promise<Answer> {
  if (plan.stalled) sent.pause()
  if (plan.upgrade === 'accept') {
    // Rejects if the client or the server has closed the connection.
    sent.head().then(
      ({ status }) => {
        if (status !== 101) return
        void sent.send(bytesOf(id, Math.max(0, plan.upload)))
        sent.finish()
      },
      () => {},
    )
  } else if (plan.upload >= 0 && plan.upgrade !== 'decline') {
    const bytes = bytesOf(id, plan.upload)
    for (let at = 0; at < bytes.length; at += 30_000) void sent.send(bytes.subarray(at, at + 30_000))
    const trailers: Fields = [
      ['X-Sum', `up ${id}`],
      ['X-Pad', value(id, plan.requestHeader)],
    ]
    sent.finish(plan.requestTrailers && plan.chunked ? trailers : [])
  }
  return sent.whole()
}

// ---- the application -----------------------------------------------------------------------------------------------

/** Gates of applications that wait for the test. */
export interface Gate {
  opened: Promise<void>
  /** At the very end. */
  ended: Promise<void>
}

export function applicationOf(planOf: (id: number) => Plan, ran: (id: number) => void, gate: () => Gate): Application {
  return async (environ, startResponse) => {
    const id = Number(environ.PATH_INFO.slice(1))
    const plan = planOf(id)
    ran(id)
    const { gantry } = environ
    const input = environ['wsgi.input']
    if (plan.fails === 'in callback') {
      const fail = (): never => {
        throw new Error('a callback of the application')
      }
      ;(gantry as Context).onAbort(fail)
      gantry.onFinished(fail)
    }
    for (let count = 0; count < plan.hints; count++) gantry.earlyHints([['Link', `</${count}>`]])
    const headers: Headers = [['X-Big', value(id, plan.responseHeader)]]
    if (plan.read === 'all') {
      const bytes = Buffer.from(await input.read())
      headers.push(['X-Read', `${bytes.length} ${bytes.equals(bytesOf(id, bytes.length)) ? 'right' : 'wrong'}`])
      headers.push(['X-Trailers', shownTrailers(await input.trailers)])
    } else if (plan.read === 'some') await input.read1(1000)
    if (plan.wait === 'gate') await gate().opened
    else if (plan.wait === 'hang') await aborted(environ)
    else if (plan.wait === 'deaf') await gate().ended
    if (plan.fails === 'before') throw new Error('before its head')
    if (plan.upgrade === 'accept' || plan.upgrade === 'unasked') return upgraded(plan, environ, startResponse)
    if (plan.trailers) gantry.trailers(() => trailersOf(id, plan))
    if (plan.length !== 'none') {
      const off = plan.length === 'short' ? -1 : plan.length === 'long' ? 1 : 0
      headers.push(['Content-Length', String(Math.max(0, plan.size + off))])
    }
    const write = startResponse(`${plan.status} ${REASONS[plan.status]}`, headers)
    if (plan.fails === 'after head') {
      await write(new Uint8Array(0))
      throw new Error('after its head')
    }
    const bytes = bytesOf(id, plan.size)
    if (plan.fails === 'midway') return failing(bytes)
    if (plan.how === 'array') return bytes.length > 0 ? [bytes] : []
    if (plan.how === 'iterate') return pieces(bytes)
    for (const piece of pieces(bytes)) await write(piece)
    return []
  }
}

function aborted({ gantry: { signal } }: Environ): Promise<never> {
  return new Promise((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason)
    else signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
}

function upgraded(plan: Plan, environ: Environ, startResponse: StartResponse): [] {
  environ['HTTP_UPGRADE'] ??= 'echo'
  startResponse('101 Switching Protocols', [['Upgrade', 'echo']])
  const connection = environ.gantry.upgrade()
  connection.on('error', () => {})
  connection.on('data', (chunk: Buffer) => {
    if (plan.fails === 'midway') throw new Error('a listener of the application')
    connection.write(chunk)
  })
  connection.on('end', () => connection.end())
  return []
}

function* pieces(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += 20_000) yield bytes.subarray(at, at + 20_000)
}

async function* failing(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes.subarray(0, bytes.length >> 1)
  throw new Error('midway')
}

const trailersOf = (id: number, plan: Plan): Headers => [
  ['X-Sum', `down ${id}`],
  ['X-Pad', value(id, plan.responseHeader)],
]

const shownTrailers = (fields: Headers): string => fields.map(([name, { length }]) => `${name} ${length}`).join()

// ---- the expected result -------------------------------------------------------------------------------------------

/**
 * Whether neither its client nor its application prevents its own right response.
 *
 * @param head the longest head that both sides accept; each character of a plan's values takes two bytes in it
 */
export function isInnocent(plan: Plan, head: number): boolean {
  return (
    2 * Math.max(plan.requestHeader, plan.responseHeader) < head - 2_000 &&
    plan.leaves === undefined &&
    !plan.stalled &&
    plan.fails === 'no' &&
    plan.upgrade !== 'unasked' &&
    (plan.length === 'none' || plan.length === 'right') &&
    (plan.wait === 'no' || plan.wait === 'gate')
  )
}

/** The response that the client of an innocent request got, as text, and the expected one. */
export function compared(id: number, plan: Plan, answer: Answer): [actual: object, expected: object] {
  const { method } = requestOf(id, plan)
  const field = (name: string): string | undefined => answer.headers.find(([other]) => other === name)?.[1]
  const upgrade = plan.upgrade === 'accept'
  const bodyless = method === 'HEAD' || [204, 205, 304].includes(plan.status)
  const body = upgrade ? bytesOf(id, Math.max(0, plan.upload)) : bytesOf(id, bodyless ? 0 : plan.size)
  const trailers = plan.trailers && plan.length === 'none' && !bodyless && !upgrade
  const uploaded = asksUpgrade(plan) ? 0 : Math.max(0, plan.upload)
  const whole = plan.read === 'all' && !upgrade
  const sums = plan.requestTrailers && plan.chunked && plan.upload >= 0 && !asksUpgrade(plan)
  return [
    {
      complete: answer.complete,
      status: answer.status,
      body: answer.body.equals(body) ? 'right' : `${answer.body.length} bytes`,
      trailers: answer.trailers,
      hints: answer.informational.filter(({ status }) => status === 103).length,
      big: field('X-Big'),
      read: field('X-Read'),
      readTrailers: field('X-Trailers'),
    },
    {
      complete: true,
      status: upgrade ? 101 : plan.status,
      body: 'right',
      trailers: trailers ? trailersOf(id, plan) : [],
      hints: Math.min(16, plan.hints),
      big: upgrade ? undefined : value(id, plan.responseHeader),
      read: whole ? `${uploaded} right` : undefined,
      readTrailers: whole
        ? sums
          ? shownTrailers([
              ['X-Sum', `up ${id}`],
              ['X-Pad', value(id, plan.requestHeader)],
            ])
          : ''
        : undefined,
    },
  ]
}
