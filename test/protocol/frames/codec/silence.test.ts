/** Each silence of a link is logged once, and its end once. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Life, type LifeEvent, nextLife } from '../../../../protocol/frames/codec/liveness.ts'
import { Silence } from '../../../../protocol/frames/codec/silence.ts'
import { seeded } from '../../../support/random.ts'

const EVENTS: readonly LifeEvent[] = ['received', 'timeout', 'unreachable', 'rival', 'confirmed', 'rival lost']

/** The reported changes of a link that is alive and gets `events`. */
function newsOf(events: readonly LifeEvent[]): string[] {
  const silence = new Silence()
  let life: Life = 'alive'
  const all: string[] = []
  for (const event of events) {
    const next = nextLife(life, event)
    if (next === life) continue
    life = next
    const news = silence.news(life)
    if (news) all.push(news)
  }
  return all
}

test('a silence is reported once, and so is its end, though a rival challenges the link in between', () => {
  assert.deepEqual(newsOf(['timeout', 'timeout', 'received']), ['silent', 'answers'])
  assert.deepEqual(newsOf(['timeout', 'timeout', 'rival', 'received']), ['silent', 'answers'])
  assert.deepEqual(newsOf(['timeout', 'timeout', 'rival', 'timeout', 'rival lost', 'rival', 'received']), [
    'silent',
    'answers',
  ])
  assert.deepEqual(newsOf(['timeout', 'timeout', 'unreachable']), ['silent', 'dead'])
})

test('a link that becomes silent while a rival challenges it is reported too', () => {
  assert.deepEqual(newsOf(['rival', 'timeout', 'rival lost', 'received']), ['silent', 'answers'])
})

test('a rival alone is not reported', () => {
  assert.deepEqual(newsOf(['rival', 'received', 'timeout', 'rival', 'rival lost', 'received']), [])
})

test('in any order of events, each reported end of a silence follows a reported start', () => {
  const random = seeded(20_261_130)
  let answers = 0
  for (let run = 0; run < 2_000; run++) {
    const news = newsOf(Array.from({ length: 40 }, () => EVENTS[Math.floor(random() * EVENTS.length)]!))
    for (const [at, one] of news.entries()) {
      if (one === 'answers') assert.equal(news[at - 1], 'silent')
      if (one === 'silent' && at > 0) assert.equal(news[at - 1], 'answers')
      if (one === 'answers') answers++
    }
  }
  assert.ok(answers > 100)
})
