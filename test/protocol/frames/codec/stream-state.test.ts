/** The table of stream states against the sentences of SPEC.md, written by hand: every event in every state. */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { LocalProtocolError, RemoteProtocolError } from '../../../../protocol/contract/errors.ts'
import {
  hasHead,
  hasStarted,
  isEnded,
  isEnding,
  nextState,
  RequestState,
  ResponseState,
  StreamEvent,
  type StreamState,
  takesData,
} from '../../../../protocol/frames/codec/stream-state.ts'

type EventName = keyof typeof StreamEvent

/** One sentence of SPEC.md, and what it says about events in states. */
interface Rule<S extends string> {
  readonly section: number
  readonly sentence: string
  readonly events: readonly EventName[]
  /** For each state: the state that follows, or `!` and the code of the error. */
  readonly outcome: { readonly [N in S]?: S | `!${string}` }
}

const EVENTS = Object.keys(StreamEvent) as EventName[]
const BODY: readonly EventName[] = ['DATA', 'QUEUE_END', 'END', 'TRAILERS']

const request: readonly Rule<keyof typeof RequestState>[] = [
  {
    section: 4,
    sentence: 'Frames for a stream that is over are ignored',
    events: EVENTS,
    outcome: { CLOSED: 'CLOSED' },
  },
  {
    section: 4,
    sentence: 'RESET ends the stream at once, in both directions.',
    events: ['CLOSE'],
    outcome: {
      OPEN: 'CLOSED',
      HELD: 'CLOSED',
      UPGRADE_ASKED: 'CLOSED',
      UPGRADE_DECLINED: 'CLOSED',
      UPGRADED: 'CLOSED',
      ENDING: 'CLOSED',
      ENDED: 'CLOSED',
    },
  },
  {
    section: 4,
    sentence: 'REQUEST, then DATA…, then END (a flag) or TRAILERS',
    events: ['DATA'],
    outcome: { OPEN: 'OPEN', HELD: 'HELD' },
  },
  {
    section: 4,
    sentence: 'REQUEST, then DATA…, then END (a flag) or TRAILERS',
    events: ['QUEUE_END'],
    outcome: { OPEN: 'ENDING', HELD: 'ENDING' },
  },
  {
    section: 4,
    sentence: 'REQUEST, then DATA…, then END (a flag) or TRAILERS',
    events: ['END'],
    outcome: { OPEN: 'ENDED', HELD: 'ENDED', ENDING: 'ENDED' },
  },
  {
    section: 1,
    sentence: 'TRAILERS is always an end',
    events: ['TRAILERS'],
    outcome: { OPEN: 'ENDED', HELD: 'ENDED' },
  },
  {
    section: 4,
    sentence: 'so are bytes or trailers after an END',
    events: ['DATA', 'QUEUE_END', 'TRAILERS'],
    outcome: { ENDING: '!ENDED', ENDED: '!ENDED' },
  },
  {
    section: 4,
    sentence: 'so are bytes or trailers after an END',
    events: ['END'],
    outcome: { ENDED: '!ENDED' },
  },
  {
    section: 4,
    sentence: 'A REQUEST with UPGRADE has neither body nor END, and its caller sends no DATA.',
    events: BODY,
    outcome: { UPGRADE_ASKED: '!TOO_EARLY', UPGRADE_DECLINED: '!TOO_EARLY' },
  },
  {
    section: 4,
    sentence: 'the stream carries raw bytes in DATA, both ways',
    events: ['DATA'],
    outcome: { UPGRADED: 'UPGRADED' },
  },
  {
    section: 4,
    sentence: 'each direction ends by its own END',
    events: ['QUEUE_END'],
    outcome: { UPGRADED: 'ENDING' },
  },
  { section: 4, sentence: 'each direction ends by its own END', events: ['END'], outcome: { UPGRADED: 'ENDED' } },
  { section: 4, sentence: 'It has no TRAILERS.', events: ['TRAILERS'], outcome: { UPGRADED: '!TOO_EARLY' } },
  {
    section: 4,
    sentence: 'Any other RESPONSE is an ordinary one',
    events: ['HEAD'],
    outcome: { OPEN: 'OPEN', HELD: 'HELD', UPGRADE_ASKED: 'UPGRADE_DECLINED', ENDING: 'ENDING', ENDED: 'ENDED' },
  },
  {
    section: 4,
    sentence: "If the RESPONSE's status is 101",
    events: ['UPGRADE'],
    outcome: { UPGRADE_ASKED: 'UPGRADED' },
  },
  {
    section: 4,
    sentence: 'A 101 without UPGRADE is a stream error.',
    events: ['UPGRADE'],
    outcome: { OPEN: '!NOT_UPGRADE', HELD: '!NOT_UPGRADE', ENDING: '!NOT_UPGRADE', ENDED: '!NOT_UPGRADE' },
  },
  {
    section: 4,
    sentence: 'a second RESPONSE',
    events: ['HEAD', 'UPGRADE'],
    outcome: { UPGRADE_DECLINED: '!RESPONDED', UPGRADED: '!RESPONDED' },
  },
  {
    section: 5,
    sentence: 'The first WINDOW comes when the application first reads',
    events: ['CREDIT'],
    outcome: { HELD: 'OPEN' },
  },
  {
    section: 5,
    sentence: 'WINDOW adds to it',
    events: ['CREDIT'],
    outcome: {
      OPEN: 'OPEN',
      UPGRADE_DECLINED: 'UPGRADE_DECLINED',
      UPGRADED: 'UPGRADED',
      ENDING: 'ENDING',
      ENDED: 'ENDED',
    },
  },
  {
    section: 5,
    sentence: 'A WINDOW for such a request before the 101 is legal and has no effect',
    events: ['CREDIT'],
    outcome: { UPGRADE_ASKED: 'UPGRADE_ASKED' },
  },
]

const response: readonly Rule<keyof typeof ResponseState>[] = [
  {
    section: 4,
    sentence: 'Frames for a stream that is over are ignored',
    events: EVENTS,
    outcome: {
      CLOSED_WAITING: 'CLOSED_WAITING',
      CLOSED_STARTED: 'CLOSED_STARTED',
      CLOSED_RESPONDED: 'CLOSED_RESPONDED',
    },
  },
  {
    section: 7,
    sentence: 'RESET(REFUSED) for a stream that was not said to have started',
    events: ['CLOSE'],
    outcome: { WAITING: 'CLOSED_WAITING', STARTED: 'CLOSED_STARTED' },
  },
  {
    section: 4,
    sentence: 'RESET ends the stream at once, in both directions.',
    events: ['CLOSE'],
    outcome: {
      OPEN: 'CLOSED_RESPONDED',
      ENDING: 'CLOSED_RESPONDED',
      UPGRADED: 'CLOSED_RESPONDED',
      UPGRADED_ENDING: 'CLOSED_RESPONDED',
      UPGRADED_ENDED: 'CLOSED_RESPONDED',
    },
  },
  {
    section: 6,
    sentence: 'lists streams whose applications are about to run or have begun',
    events: ['START'],
    outcome: { WAITING: 'STARTED', STARTED: 'STARTED' },
  },
  {
    section: 6,
    sentence: 'INFORM and RESPONSE say the same',
    events: ['START'],
    outcome: {
      OPEN: 'OPEN',
      ENDING: 'ENDING',
      UPGRADED: 'UPGRADED',
      UPGRADED_ENDING: 'UPGRADED_ENDING',
      UPGRADED_ENDED: 'UPGRADED_ENDED',
    },
  },
  {
    section: 6,
    sentence: 'INFORM and RESPONSE say the same',
    events: ['INFORM'],
    outcome: { WAITING: 'STARTED', STARTED: 'STARTED' },
  },
  {
    section: 4,
    sentence: 'a second RESPONSE, an INFORM after it',
    events: ['INFORM', 'HEAD', 'UPGRADE'],
    outcome: {
      OPEN: '!RESPONDED',
      ENDING: '!RESPONDED',
      UPGRADED: '!RESPONDED',
      UPGRADED_ENDING: '!RESPONDED',
      UPGRADED_ENDED: '!RESPONDED',
    },
  },
  {
    section: 4,
    sentence: 'INFORM…, RESPONSE, then DATA…, then END or TRAILERS',
    events: ['HEAD'],
    outcome: { WAITING: 'OPEN', STARTED: 'OPEN' },
  },
  {
    section: 4,
    sentence: "If the RESPONSE's status is 101",
    events: ['UPGRADE'],
    outcome: { WAITING: 'UPGRADED', STARTED: 'UPGRADED' },
  },
  {
    section: 4,
    sentence: 'DATA of a response before the RESPONSE',
    events: BODY,
    outcome: { WAITING: '!TOO_EARLY', STARTED: '!TOO_EARLY' },
  },
  {
    section: 4,
    sentence: 'INFORM…, RESPONSE, then DATA…, then END or TRAILERS',
    events: ['DATA'],
    outcome: { OPEN: 'OPEN' },
  },
  {
    section: 4,
    sentence: 'INFORM…, RESPONSE, then DATA…, then END or TRAILERS',
    events: ['QUEUE_END'],
    outcome: { OPEN: 'ENDING' },
  },
  {
    section: 4,
    sentence: '**The end of the response ends the stream**, in both directions',
    events: ['END'],
    outcome: { OPEN: 'CLOSED_RESPONDED', ENDING: 'CLOSED_RESPONDED' },
  },
  {
    section: 4,
    sentence: '**The end of the response ends the stream**, in both directions',
    events: ['TRAILERS'],
    outcome: { OPEN: 'CLOSED_RESPONDED' },
  },
  {
    section: 4,
    sentence: 'so are bytes or trailers after an END',
    events: ['DATA', 'QUEUE_END', 'TRAILERS'],
    outcome: { ENDING: '!ENDED', UPGRADED_ENDING: '!ENDED', UPGRADED_ENDED: '!ENDED' },
  },
  {
    section: 4,
    sentence: 'so are bytes or trailers after an END',
    events: ['END'],
    outcome: { UPGRADED_ENDED: '!ENDED' },
  },
  {
    section: 4,
    sentence: 'the stream carries raw bytes in DATA, both ways',
    events: ['DATA'],
    outcome: { UPGRADED: 'UPGRADED' },
  },
  {
    section: 4,
    sentence: 'each direction ends by its own END, and the stream when both have',
    events: ['QUEUE_END'],
    outcome: { UPGRADED: 'UPGRADED_ENDING' },
  },
  {
    section: 4,
    sentence: 'each direction ends by its own END, and the stream when both have',
    events: ['END'],
    outcome: { UPGRADED: 'UPGRADED_ENDED', UPGRADED_ENDING: 'UPGRADED_ENDED' },
  },
  { section: 4, sentence: 'It has no TRAILERS.', events: ['TRAILERS'], outcome: { UPGRADED: '!TOO_EARLY' } },
  {
    section: 8,
    sentence: 'no request above *last stream taken* was or will be taken',
    events: ['UNTAKEN'],
    outcome: { WAITING: 'CLOSED_WAITING' },
  },
  {
    section: 9,
    sentence: 'GOAWAY that denies a STARTED',
    events: ['UNTAKEN'],
    outcome: {
      STARTED: '!GOAWAY',
      OPEN: '!GOAWAY',
      ENDING: '!GOAWAY',
      UPGRADED: '!GOAWAY',
      UPGRADED_ENDING: '!GOAWAY',
      UPGRADED_ENDED: '!GOAWAY',
    },
  },
]

/** Events that only the other direction has; the code that fires events never gives them to this one. */
const foreign = { request: ['START', 'INFORM', 'UNTAKEN'], response: ['CREDIT'] } as const

const spec = readFileSync(new URL('../../../../protocol/frames/SPEC.md', import.meta.url), 'utf8')

/** The text of one section of SPEC.md, in one line. */
function section(number: number): string {
  const start = spec.indexOf(`\n## ${number}. `)
  const next = spec.indexOf('\n## ', start + 1)
  return spec.slice(start, next === -1 ? undefined : next).replace(/\s+/g, ' ')
}

function attempt(state: StreamState, event: EventName, isLocal: boolean): StreamState | Error {
  try {
    return nextState(state, StreamEvent[event], 'server', { id: 7, role: isLocal ? 'server' : 'caller' })
  } catch (error) {
    return error as Error
  }
}

const directions = [
  { name: 'request', states: RequestState, rules: request, foreign: foreign.request as readonly EventName[] },
  { name: 'response', states: ResponseState, rules: response, foreign: foreign.response as readonly EventName[] },
] as const

for (const { name, states, rules, foreign } of directions) {
  const numbers = states as { readonly [state: string]: StreamState }
  describe(`the states of a ${name}`, () => {
    for (const state of Object.keys(states)) {
      for (const event of EVENTS) {
        const matching = (rules as readonly Rule<string>[]).filter(
          (rule) => rule.events.includes(event) && rule.outcome[state] !== undefined,
        )
        const isClosed = state.startsWith('CLOSED')
        test(`${event} in ${state} is as SPEC.md says`, () => {
          if (foreign.includes(event) && !isClosed) {
            assert.equal(matching.length, 0)
            assert.ok(attempt(numbers[state]!, event, true) instanceof LocalProtocolError)
            return
          }
          assert.equal(matching.length, 1, 'exactly one rule is for this event in this state')
          const outcome = matching[0]!.outcome[state]!
          for (const isLocal of [true, false]) {
            const actual = attempt(numbers[state]!, event, isLocal)
            if (!outcome.startsWith('!')) {
              assert.equal(actual, numbers[outcome])
              continue
            }
            assert.ok(actual instanceof (isLocal ? LocalProtocolError : RemoteProtocolError))
            assert.equal(actual.code, outcome.slice(1))
            // The message names the stream, the role, the event and the state.
            const start = `stream 7: the server must not send ${event} in state ${name} ${state}: `
            assert.ok(actual.message.startsWith(start), actual.message)
          }
        })
      }
    }

    test('quote sentences that SPEC.md has in that section', () => {
      for (const rule of rules) {
        assert.ok(section(rule.section).includes(rule.sentence), `section ${rule.section}: ${rule.sentence}`)
      }
    })
  })
}

describe('the states in section 4 of SPEC.md', () => {
  /** What SPEC.md calls an event. QUEUE_END is local: the peer sees only the END. */
  const WIRE: { readonly [E in EventName]?: string } = {
    START: 'STARTED',
    INFORM: 'INFORM',
    HEAD: 'RESPONSE',
    UPGRADE: '101',
    END: 'END',
    TRAILERS: 'TRAILERS',
    CREDIT: 'WINDOW',
    UNTAKEN: 'GOAWAY',
    CLOSE: 'RESET',
  }

  for (const { name, states } of directions) {
    test(`list every event that changes the state of a ${name}, and the state that follows`, () => {
      const expected: string[] = []
      for (const [state, number] of Object.entries(states)) {
        if (state.endsWith('ENDING') || state.startsWith('CLOSED')) continue
        for (const [event, word] of Object.entries(WIRE)) {
          const next = attempt(number, event as EventName, true)
          if (next instanceof Error || next === number) continue
          const follows = Object.entries(states).find(([, number]) => number === next)![0]
          expected.push(`${state} ${word} ${follows}`)
        }
      }
      const listed: string[] = []
      for (const [, state, changes] of spec.matchAll(new RegExp(`^${name} +(\\w+) +(.+ → .+)$`, 'gm'))) {
        for (const change of changes!.split('; ')) {
          const [words, follows] = change.split(' → ')
          for (const word of words!.split(', ')) listed.push(`${state} ${word} ${follows}`)
        }
      }
      assert.deepEqual(listed.sort(), expected.sort())
    })
  }
})

describe('questions about a state', () => {
  const named = (predicate: (state: never) => boolean, states: object): string[] =>
    Object.entries(states)
      .filter(([, number]) => predicate(number as never))
      .map(([state]) => state)

  test('body may be added exactly where DATA is legal and the stream is open', () => {
    assert.deepEqual(named(takesData, RequestState), ['OPEN', 'HELD', 'UPGRADED'])
    assert.deepEqual(named(takesData, ResponseState), ['OPEN', 'UPGRADED'])
  })

  test('a direction is ending, then ended', () => {
    assert.deepEqual(named(isEnding, RequestState), ['ENDING'])
    assert.deepEqual(named(isEnding, ResponseState), ['ENDING', 'UPGRADED_ENDING'])
    assert.deepEqual(named(isEnded, RequestState), ['ENDED', 'CLOSED'])
    assert.deepEqual(named(isEnded, ResponseState), [
      'UPGRADED_ENDED',
      'CLOSED_WAITING',
      'CLOSED_STARTED',
      'CLOSED_RESPONDED',
    ])
  })

  test('a closed stream remembers whether its application started, and whether it had a head', () => {
    const before = ['WAITING', 'CLOSED_WAITING']
    const started = Object.keys(ResponseState).filter((state) => !before.includes(state))
    assert.deepEqual(named(hasStarted, ResponseState), started)
    const headless = [...before, 'STARTED', 'CLOSED_STARTED']
    assert.deepEqual(
      named(hasHead, ResponseState),
      Object.keys(ResponseState).filter((state) => !headless.includes(state)),
    )
  })
})
