import assert from 'node:assert/strict'
import { it } from 'node:test'
import fc from 'fast-check'
import { cached, calm } from './cached.ts'

/**
 * Random requests, changes of the resources and time, checked against a simple model: every body states its client,
 * resource, version and time, so that each answer can be checked by itself.
 */

const PATHS = ['/a', '/b', '/c'] as const
const LANGUAGES = ['de', 'en', undefined] as const
const CONTROLS = [
  'max-age=10',
  'max-age=10, stale-while-revalidate=20',
  'max-age=10, stale-if-error=20',
  'max-age=10, must-revalidate',
  's-maxage=5, max-age=1000',
  'no-cache',
  'no-store',
  'private, max-age=10',
  '',
] as const

/**
 * The longest time for which a body may be served after its generation or confirmation, s: without failures and with
 * them.
 */
const LIMITS: Record<string, readonly [well: number, failing: number]> = {
  'max-age=10': [10, 10],
  'max-age=10, stale-while-revalidate=20': [30, 30],
  'max-age=10, stale-if-error=20': [10, 30],
  'max-age=10, must-revalidate': [10, 10],
  's-maxage=5, max-age=1000': [5, 5],
  'no-cache': [0, 0],
  'no-store': [0, 0],
  'private, max-age=10': [0, 0],
  '': [0, 0],
}

type Step =
  | { readonly kind: 'get'; path: string; language: string | undefined; user: string; fresh: boolean }
  | { readonly kind: 'crowd'; path: string; users: readonly string[]; languages: readonly (string | undefined)[] }
  | { readonly kind: 'post'; path: string }
  | { readonly kind: 'wait'; seconds: number }
  | { readonly kind: 'control'; path: string; control: string }
  | { readonly kind: 'fail'; fails: boolean }

const path = fc.constantFrom(...PATHS)
const language = fc.constantFrom(...LANGUAGES)
const user = fc.constantFrom('anna', 'bert', 'carl')
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('get'), path, language, user, fresh: fc.boolean() }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('crowd'),
      path,
      users: fc.array(user, { minLength: 2, maxLength: 5 }),
      languages: fc.array(language, { minLength: 5, maxLength: 5 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('post'), path }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('wait'), seconds: fc.integer({ min: 1, max: 20 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('control'), path, control: fc.constantFrom(...CONTROLS) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('fail'), fails: fc.boolean() }) },
) as fc.Arbitrary<Step>

interface Said {
  readonly path: string
  readonly language: string | null
  readonly user: string | null
  readonly control: string
  /** The posts of the path. */
  readonly version: number
  readonly id: number
}

const MAX_BYTES = 12_000

it('a cache follows its rules in random sequences', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
      const control = new Map<string, string>()
      const version = new Map<string, number>()
      /** When each body was generated, or confirmed by a 304, in seconds. */
      const confirmed = new Map<number, number>()
      let fails = false
      let ids = 0
      const made = cached(
        async (environ, start) => {
          const { PATH_INFO: asked, REQUEST_METHOD: method } = environ
          if (method === 'POST') {
            version.set(asked, (version.get(asked) ?? 0) + 1)
            start('204 No Content', [])
            return []
          }
          const field = (name: string): string | null => (environ[name] as string | undefined) ?? null
          const now = made.clock.now() / 1000
          const said = control.get(asked) ?? 'max-age=10'
          const current = version.get(asked) ?? 0
          const failing = fails
          await calm()
          if (failing) {
            start('503 Service Unavailable', [])
            return [Buffer.from('"failed"')]
          }
          const headers: [string, string][] = [['Vary', 'Accept-Language']]
          if (said !== '') headers.push(['Cache-Control', said])
          const validator = /^"(\d+)-(\d+)-(.*)"$/.exec(field('HTTP_IF_NONE_MATCH') ?? '')
          if (validator && Number(validator[2]) === current && validator[3] === `${field('HTTP_ACCEPT_LANGUAGE')}`) {
            confirmed.set(Number(validator[1]), now)
            start('304 Not Modified', [...headers, ['ETag', validator[0]]])
            return []
          }
          const id = ++ids
          confirmed.set(id, now)
          headers.push(['ETag', `"${id}-${current}-${field('HTTP_ACCEPT_LANGUAGE')}"`])
          const body: Said = {
            path: asked,
            language: field('HTTP_ACCEPT_LANGUAGE'),
            user: field('HTTP_COOKIE'),
            control: said,
            version: current,
            id,
          }
          start('200 OK', headers)
          const bytes = Buffer.from(JSON.stringify(body))
          return id % 2 === 0
            ? [bytes]
            : (async function* () {
                yield bytes.subarray(0, 10)
                await calm()
                yield bytes.subarray(10)
              })()
        },
        { maxBytes: MAX_BYTES, maxObjectBytes: 4_000, maxEntries: 6 },
      )

      async function get(
        asked: string,
        wanted: string | undefined,
        who: string,
        fresh: boolean,
        least: number,
      ): Promise<void> {
        const headers: [string, string][] = [['Cookie', who]]
        if (wanted !== undefined) headers.push(['Accept-Language', wanted])
        if (fresh) headers.push(['Cache-Control', 'no-cache'])
        const answer = await made.get({ path: asked, headers })
        if (answer.status === 503) {
          assert.ok(fails, 'an unexpected failure')
          return
        }
        assert.equal(answer.status, 200)
        assert.equal(answer.aborted, undefined)
        const body = JSON.parse(answer.text) as Said
        assert.equal(body.path, asked)
        assert.equal(body.language, wanted ?? null, 'the body of another variant')
        if (/private|no-store|^$/.test(body.control)) assert.equal(body.user, who, "another's private answer")
        assert.ok(body.version >= least, 'a body from before a POST')
        const age = made.clock.now() / 1000 - confirmed.get(body.id)!
        const [well, failing] = LIMITS[body.control]!
        // The directives of the last 304 count: the longest possible ones, if they have changed since.
        const limit = control.get(asked) === body.control || !control.has(asked) ? (fails ? failing : well) : 30
        assert.ok(age <= limit, `${age} s old under ${body.control}`)
        if (fresh && !fails) assert.equal(age, 0, 'not forwarded')
        assert.ok(Number(answer.header('age') ?? 0) >= Math.floor(age), 'Age is too low')
      }

      for (const one of steps) {
        const least = 'path' in one ? (version.get(one.path) ?? 0) : 0
        if (one.kind === 'get') await get(one.path, one.language, one.user, one.fresh, least)
        else if (one.kind === 'crowd') {
          await Promise.all(one.users.map((who, at) => get(one.path, one.languages[at], who, false, least)))
        } else if (one.kind === 'post') await made.get({ path: one.path, method: 'POST' })
        else if (one.kind === 'wait') made.clock.advance(one.seconds * 1000)
        else if (one.kind === 'control') control.set(one.path, one.control)
        else fails = one.fails
        const { bytes, entries } = made.cache.stats()
        assert.ok(bytes >= 0 && bytes <= MAX_BYTES && entries <= 6, `${entries} entries of ${bytes} bytes`)
        await calm()
        await calm()
      }
      made.cache.clear()
      // Nothing is counted without being stored, and no request waits.
      assert.deepEqual([made.cache.stats().bytes, made.cache.stats().entries, made.clock.pending], [0, 0, 0])
    }),
    { numRuns: 60, interruptAfterTimeLimit: 15_000 },
  )
})
