/**
 * Compares every method and property of node's classes, in every state of an exchange, on node:http and here: results,
 * errors, events, properties, uncaught exceptions. `probes/` calls them. The table below lists the differences with
 * their reasons; an entry that matches nothing is an error.
 */

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { before, describe, it } from 'node:test'
import { promisify } from 'node:util'
import type { Outcome, Report } from './probes/probe.ts'

const run = promisify(execFile)

interface Difference {
  /** `req.read`, all of `socket`, or any. */
  readonly of?: RegExp
  readonly state?: RegExp
  /** `result`, `events socket`, `value socket.bytesRead`. */
  readonly what: RegExp
  readonly because: string
}

const GONE = /the client has gone$/
const ENDED_GONE = /^after the end, once the client has gone$/
const ENDED_UPLOAD = /^after the end of an upload$/

const differences: readonly Difference[] = [
  {
    what: /^value socket\.(local|remote)(Address|Port|Family)$/,
    because: 'a closed socket keeps its addresses, for access logs; the ports of two connections are two',
  },
  {
    what: /^value socket\.bytes(Read|Written)$/,
    because: 'bytes are those of this request alone, without its head: the connection carries others',
  },
  { what: /^value socket\.parser$/, because: 'the parser is of the gateway, in another process' },
  {
    of: /\.eventNames$/,
    what: /^result$/,
    because: "node's server has listeners of its own on a connection, and leaves one on a request",
  },
  {
    what: /^value req\.joinDuplicateHeaders$/,
    because: 'null and false say the same',
  },
  {
    what: /^value socket\.(readableFlowing|readableDidRead|readableEncoding|readableAborted|readableBuffer|readableLength)$/,
    because: "a request's bytes come from wsgi.input, not out of its socket",
  },
  {
    state: GONE,
    what: /^value socket\.(readableEnded|writableEnded|writableFinished|errored)$/,
    because:
      "node's say whether the client left by a FIN or by a reset, or in mid-upload: that does not cross to a container",
  },
  {
    of: /^socket\./,
    state: GONE,
    what: /^(result|events socket)$/,
    because: 'as before: reading, writing and ending a closed socket tell how it was closed by their codes',
  },
  {
    state: ENDED_GONE,
    what: /^(result|(events|value) socket.*)$/,
    because: "a request's connection ends with its response: a later disconnect of its client is not seen",
  },
  {
    state: ENDED_UPLOAD,
    what: /^(result|(events|value) (req|socket).*)$/,
    because:
      'the rest of an unread upload is dropped by the gateway; on node the request drops it, and stays open meanwhile',
  },
  {
    of: /^socket\.(push|unshift)$/,
    what: /^(result|events|value)/,
    because: 'bytes that are pushed into a connection of node would be the next request on it, and break its parser',
  },
  {
    of: /^socket\.connect$/,
    what: /^(result|events|value)/,
    because: 'node tries to connect its handle again; here the socket ends with the same error',
  },
  {
    of: /^socket\.(end|destroySoon)$/,
    what: /^(events|value) socket/,
    because: "the socket closes when it has ended, without waiting for the client's FIN",
  },
  {
    what: /^value res\.chunkedEncoding$/,
    because: 'the gateway frames the body',
  },
]

describe('every object that node:http passes to a listener', { concurrency: false }, () => {
  let reports: [native: Report, ours: Report][] = []
  const used: Set<Difference> = new Set()

  before(async () => {
    const file = `${import.meta.dirname}/probes/probe.ts`
    const [native, ours] = await Promise.all(
      ['node', 'gantry'].map(async (whose) => {
        const { stdout } = await run(process.execPath, [file, whose], { maxBuffer: 2 ** 28 })
        return stdout
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line) as Report)
      }),
    )
    assert.equal(ours!.length, native!.length)
    reports = native!.map((report, at) => [report, ours![at]!])
  })

  for (const subject of ['req', 'res', 'socket'] as const) {
    it(`behaves the same on ${subject}, method by method and state by state`, () => {
      const found: string[] = []
      for (const [native, ours] of reports) {
        if (native.subject !== subject) continue
        const of = `${subject}.${native.name}`
        for (const [at, outcome] of native.outcomes.entries()) {
          for (const { what, expected, actual } of compared(outcome, ours.outcomes[at]!)) {
            const matching = differences.find(
              (one) => one.what.test(what) && (one.of?.test(of) ?? true) && (one.state?.test(outcome.state) ?? true),
            )
            if (matching) used.add(matching)
            else found.push(`${of}#${native.way} ${outcome.state}: ${what} is ${actual}, on node ${expected}`)
          }
        }
      }
      assert.deepEqual(found, [])
    })
  }

  it('has many methods of each, all of them called', () => {
    assert.ok(reports.length > 150, `${reports.length} calls`)
    for (const name of ['req.destroy', 'res.writeHead', 'res.flushHeaders', 'socket.write', 'res.end']) {
      assert.ok(
        reports.some(([{ subject, name: method }]) => `${subject}.${method}` === name),
        name,
      )
    }
  })

  it('never throws if node does not, even where it may differ', () => {
    const thrown: string[] = []
    for (const [native, ours] of reports) {
      for (const [at, { state, result }] of native.outcomes.entries()) {
        const { result: actual } = ours.outcomes[at]!
        if (actual.startsWith('throws') && !result.startsWith('throws')) {
          thrown.push(`${native.subject}.${native.name}#${native.way} ${state} ${actual}`)
        }
      }
    }
    // Invalid arguments, which a closed socket of node does not check, and a stream that has ended.
    const states = { gone: 'after the end, once the client has gone', upload: 'after the end of an upload' }
    assert.deepEqual(thrown.toSorted(), [
      `req.compose#0 ${states.upload} throws ERR_INVALID_ARG_VALUE`,
      `req.setTimeout#3 ${states.gone} throws ERR_INVALID_ARG_TYPE`,
      `req.setTimeout#4 ${states.gone} throws ERR_OUT_OF_RANGE`,
      `socket.setTimeout#3 ${states.gone} throws ERR_INVALID_ARG_TYPE`,
      `socket.setTimeout#4 ${states.gone} throws ERR_OUT_OF_RANGE`,
    ])
  })

  it('leaves nothing uncaught', () => {
    const uncaught = reports.flatMap(([, ours]) => ours.outcomes.flatMap((one) => one.uncaught))
    const expected = reports.flatMap(([native]) => native.outcomes.flatMap((one) => one.uncaught))
    assert.deepEqual(uncaught, expected)
  })

  it('differs exactly as the table says', () => {
    const unused = differences.filter((one) => !used.has(one)).map(({ because, what }) => `${what}: ${because}`)
    assert.deepEqual(unused, [])
  })
})

function* compared(native: Outcome, ours: Outcome): Iterable<{ what: string; expected: string; actual: string }> {
  const pairs: [string, string, string][] = [
    ['result', native.result, ours.result],
    ['uncaught', native.uncaught.join(), ours.uncaught.join()],
  ]
  for (const subject of ['req', 'res', 'socket'] as const) {
    pairs.push([`events ${subject}`, native.events[subject].join(), ours.events[subject].join()])
    for (const [name, value] of Object.entries(native.values[subject])) {
      pairs.push([`value ${subject}.${name}`, value, ours.values[subject][name]!])
    }
  }
  for (const [what, expected, actual] of pairs) if (expected !== actual) yield { what, expected, actual }
}
