import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { Application, Body, Environ, Headers, StartResponse } from '../../../protocol/contract/application.ts'
import { type CallResult, call } from '../../../protocol/contract/call.ts'
import { lint } from '../../../protocol/contract/lint.ts'

/** The plan of an application that keeps every rule. */
interface Plan {
  readonly status: string
  readonly shape: 'array' | 'generator' | 'async generator' | 'iterable' | 'async iterable'
  /** Whether the application is asynchronous. */
  readonly promised: boolean
  /** Whether startResponse waits for the first iteration. */
  readonly late: boolean
  readonly written: readonly Uint8Array[]
  readonly chunks: readonly Uint8Array[]
  readonly length: boolean
  readonly close: boolean
  /** Begins another response first, and replaces that response. */
  readonly replaces: boolean
  readonly hints: boolean
  readonly trailers: boolean
  readonly reads: readonly ('read' | 'some' | 'read1' | 'readline' | 'readlines' | 'iterate')[]
  readonly errors: boolean
  readonly fails: 'never' | 'before' | 'within'
}

const chunk = fc.uint8Array({ maxLength: 40 })
const plans: fc.Arbitrary<Plan> = fc.record({
  status: fc.constantFrom(
    '200 OK',
    '404 Not Found',
    '204 No Content',
    '304 Not Modified',
    '205 Reset Content',
    '599 What',
  ),
  shape: fc.constantFrom('array', 'generator', 'async generator', 'iterable', 'async iterable'),
  promised: fc.boolean(),
  late: fc.boolean(),
  written: fc.array(chunk, { maxLength: 2 }),
  chunks: fc.array(chunk, { maxLength: 4 }),
  length: fc.boolean(),
  close: fc.boolean(),
  replaces: fc.boolean(),
  hints: fc.boolean(),
  trailers: fc.boolean(),
  reads: fc.array(fc.constantFrom('read', 'some', 'read1', 'readline', 'readlines', 'iterate'), { maxLength: 3 }),
  errors: fc.boolean(),
  fails: fc.constantFrom('never', 'never', 'never', 'before', 'within'),
})
const requests = fc.record({
  method: fc.constantFrom('GET', 'HEAD', 'POST', 'PROPFIND'),
  path: fc.constantFrom('/', '/a%20b?c=d', '//x', '/%ff'),
  body: fc.option(fc.constantFrom('', 'a', 'line\nand line\n', 'x'.repeat(70)), { nil: undefined }),
  /** The length is not declared. */
  chunked: fc.boolean(),
})

/** An application that records in `journal` how it is used. */
function make(plan: Plan, journal: string[]): Application {
  const contentless = /^(?:204|205|304)/.test(plan.status)
  const size = [...plan.written, ...plan.chunks].reduce((sum, { length }) => sum + length, 0)
  const headers: Headers = [['X-Plan', 'yes']]
  if (!contentless) headers.push(['Content-Type', 'application/octet-stream'])
  if (plan.length && !contentless) headers.push(['Content-Length', String(size)])

  async function prepare(environ: Environ): Promise<void> {
    const input = environ['wsgi.input']
    for (const way of plan.reads) {
      if (way === 'read') journal.push(`read ${(await input.read()).length}`)
      else if (way === 'some') journal.push(`some ${(await input.read(5)).length}`)
      else if (way === 'read1') journal.push(`read1 ${(await input.read1(3)).length}`)
      else if (way === 'readline') journal.push(`readline ${(await input.readline()).length}`)
      else if (way === 'readlines') journal.push(`readlines ${(await input.readlines(4)).length}`)
      else for await (const bytes of input) journal.push(`chunk ${bytes.length}`)
    }
  }

  function begin(environ: Environ, startResponse: StartResponse): ReturnType<StartResponse> {
    if (plan.hints) environ.gantry.earlyHints([['Link', '</a>']])
    if (plan.errors) environ['wsgi.errors'].writelines(['one\n', 'two\n'])
    environ.gantry.onFinished(({ status, bytes }) => {
      // The page of the server has the id of the request, whose length is not fixed.
      journal.push(`finished ${status} ${status === 500 ? 'page' : bytes}`)
    })
    if (plan.replaces) startResponse('500 Oh', [['Content-Type', 'text/plain']])
    const write = startResponse(plan.status, [...headers], plan.replaces ? new Error('replaced') : undefined)
    if (plan.trailers) environ.gantry.trailers(() => [['X-Sum', '1']])
    return write
  }

  function* parts(start: () => void): Generator<Uint8Array> {
    try {
      start()
      let at = 0
      for (const bytes of plan.chunks) {
        // Only while bytes are missing: after the last byte the response is complete.
        if (plan.fails === 'within' && at++ === 1 && bytes.length > 0) throw new RangeError('within')
        // A copy: a chunk that was yielded belongs to the server.
        yield bytes.slice()
      }
      journal.push('end')
    } finally {
      journal.push('finally')
    }
  }

  async function* later(start: () => void): AsyncGenerator<Uint8Array> {
    for (const bytes of parts(start)) {
      await null
      yield bytes
    }
  }

  function body(start: () => void): Body {
    const close = plan.close ? { close: () => void journal.push('close') } : {}
    if (plan.shape === 'array') {
      start()
      return Object.assign(
        plan.chunks.map((bytes) => bytes.slice()),
        close,
      )
    }
    if (plan.shape === 'generator') return Object.assign(parts(start), close)
    if (plan.shape === 'async generator') return Object.assign(later(start), close)
    if (plan.shape === 'iterable') return { [Symbol.iterator]: () => parts(start), ...close }
    return { [Symbol.asyncIterator]: () => later(start), ...close }
  }

  const asynchronous = plan.promised || plan.reads.length > 0 || plan.written.length > 0
  if (!asynchronous) {
    return (environ, startResponse) => {
      if (plan.fails === 'before') throw new RangeError('before')
      if (!plan.late) begin(environ, startResponse)
      return body(plan.late ? () => void begin(environ, startResponse) : () => {})
    }
  }
  return async (environ, startResponse) => {
    await prepare(environ)
    if (plan.fails === 'before') throw new RangeError('before')
    const now = !plan.late || plan.written.length > 0
    if (now) {
      const write = begin(environ, startResponse)
      for (const bytes of plan.written) await write(bytes.slice())
    }
    return body(now ? () => {} : () => void begin(environ, startResponse))
  }
}

interface Seen {
  readonly result: Omit<CallResult, 'header'>
  readonly journal: readonly string[]
  readonly logged: readonly string[]
}

async function see(
  plan: Plan,
  request: { method: string; path: string; body: string | undefined; chunked: boolean },
  watch: (application: Application) => Application,
): Promise<Seen> {
  const journal: string[] = []
  const logged: string[] = []
  const line = (_fields: object, message: string): void => void logged.push(message)
  const { body, chunked, ...rest } = request
  const stream = async function* (): AsyncGenerator<Uint8Array> {
    yield Buffer.from(body!)
  }
  const { header: _, ...result } = await call(watch(make(plan, journal)), {
    ...rest,
    ...(body === undefined ? {} : { body: chunked ? stream() : body }),
    log: { debug: line, info: line, warn: line, error: line } as never,
  })
  // The stack of an abort has the functions of lint.
  const headers = result.headers.filter(([name]) => name !== 'Date' && name !== 'X-Request-Id')
  return {
    result: { ...result, headers, aborted: result.aborted && (String(result.aborted) as never) },
    journal,
    logged,
  }
}

describe('an application that keeps every rule', () => {
  test('passes two layers of lint, and its response is the same as without lint', async () => {
    await fc.assert(
      fc.asyncProperty(plans, requests, async (plan, request) => {
        const bare = await see(plan, request, (application) => application)
        const faults: string[] = []
        const checks: (() => void)[] = []
        const watched = (application: Application): Application => {
          const linted = lint(application, { report: (error) => faults.push(error.message) })
          checks.push(() => linted.assertClosed())
          return linted
        }
        const under = await see(plan, request, (application) => watched(watched(application)))
        for (const check of checks) check()
        assert.deepEqual(faults, [])
        assert.deepEqual(strip(under), strip(bare))
      }),
      { numRuns: 400 },
    )
  })
})

/** The page of a server has the id of the request, and a body of lint always has a close(). */
function strip({ result, journal, logged }: Seen): unknown {
  const { closed: _, body, text: __, ...rest } = result
  const ours = rest.status === 500
  return {
    ...rest,
    body: ours ? body.toString().replace(/[0-9a-f]{12}-[0-9a-z]+/, 'ID') : body.toString('latin1'),
    headers: rest.headers.filter(([name]) => !(ours && name === 'Content-Length')),
    journal,
    logged,
  }
}
