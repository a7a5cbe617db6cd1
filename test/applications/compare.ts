/** Compares two arrangements by everything that clients saw, without values that vary from one start to the next. */

import assert from 'node:assert/strict'
import { seen } from '../frameworks/compare.ts'
import type { Answer } from '../support/client.ts'
import type { Server } from './server.ts'
import type { Case, Start } from './shape.ts'

/** Lines of a difference that are shown, and the length of each. */
const SHOWN_LINES = 24
const SHOWN_WIDTH = 300

/** What one case saw of one server. */
export interface Observation {
  /** The ports of the server, which vary. */
  readonly ports: readonly number[]
  /** The responses to the case's requests, or the result of its `run`. */
  readonly answers: readonly Answer[]
  readonly value: unknown
  readonly error?: string
}

type Varying = NonNullable<Start['varying']>

const everywhere: Varying = [
  [/\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\b/g, 'DATE'],
  [/\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, 'TIME'],
  [/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, 'UUID'],
]

/** `value` as JSON, without ports, times and ids. */
function normalised(value: unknown, ports: readonly number[], varying: Varying): unknown {
  const rules: Varying = [...everywhere, ...varying, [new RegExp(`\\b(${ports.join('|')})\\b`, 'g'), 'PORT']]
  const text = (one: string): string => rules.reduce((result, [pattern, word]) => result.replace(pattern, word), one)
  const walk = (one: unknown): unknown => {
    if (typeof one === 'string') return text(one)
    if (ports.includes(one as number)) return 'PORT'
    if (Array.isArray(one)) return one.map(walk)
    if (typeof one !== 'object' || one === null) return one
    return Object.fromEntries(Object.entries(one).map(([name, inner]) => [text(name), walk(inner)]))
  }
  return walk(JSON.parse(JSON.stringify(value ?? null)))
}

/** `answer` with its body as text, so that varying parts can be replaced. */
function shown(answer: Answer, other: Answer | undefined, except: readonly string[]): unknown {
  const { headers, ...rest } = seen(answer, other)
  const compared = headers.filter(([name]) => !except.includes(name.toLowerCase()))
  return {
    ...rest,
    headers: compared.map(([name, value]) => `${name.toLowerCase()}: ${value}`).toSorted(),
    body: answer.body.toString('latin1'),
  }
}

/** Runs `one` against `server`. */
export async function observe(one: Case, server: Server): Promise<Observation> {
  const ports = [server.port, server.own]
  try {
    if (one.run) return { ports, answers: [], value: await one.run(server) }
    const answers: Answer[] = []
    for (const request of one.requests ?? []) answers.push(await server.fetch(request))
    return { ports, answers, value: undefined }
  } catch (error) {
    return { ports, answers: [], value: undefined, error: (error as Error).message }
  } finally {
    server.closeClients()
  }
}

/** The faults of plain node's run of `one`: it must show what the case is about. */
export function faultOfPlain(
  one: Case,
  { ports, answers, value, error }: Observation,
  start: Start,
): string | undefined {
  if (error !== undefined) return error
  const status = answers.map((answer) => answer.status)
  if (one.status) return difference(one.status, status)
  return 'sees' in one ? difference(one.sees, normalised(value, ports, start.varying ?? [])) : undefined
}

/** How `other` differs from plain node. */
export function faultOf(one: Case, plain: Observation, other: Observation, start: Start): string | undefined {
  if (other.error !== undefined) return other.error
  const { varying = [] } = start
  const view = (mine: Observation, theirs: Observation): unknown => {
    if (one.run) return normalised(mine.value, mine.ports, varying)
    const answers = mine.answers.map((answer, at) => shown(answer, theirs.answers[at], one.except ?? []))
    return normalised(answers, mine.ports, varying)
  }
  return difference(one.differs ? one.differs.sees : view(plain, other), view(other, plain))
}

/** Lines with the expected (-) and the actual value (+); undefined if they are equal. */
export function difference(expected: unknown, actual: unknown): string | undefined {
  try {
    assert.deepEqual(actual, expected)
    return undefined
  } catch (error) {
    const lines = (error as Error).message.split('\n').filter((line) => /^\s*[+-] /.test(line))
    const cut = lines.slice(0, SHOWN_LINES).map((line) => line.slice(0, SHOWN_WIDTH))
    return cut.length > 0 ? cut.join('\n') : (error as Error).message.slice(0, SHOWN_WIDTH * 2)
  }
}
