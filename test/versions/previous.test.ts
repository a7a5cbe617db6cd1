/**
 * The behaviour suite over two versions, as during a deploy: the previous release's proxy with this container, and this
 * proxy with the previous container. The fixtures of this version are also an application with a newer copy of Gantry.
 */

import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { pathToFileURL } from 'node:url'
import { stated } from '../suites/behaviour/suite.ts'
import { behaviour } from '../suites/behaviour.ts'
import { overPair } from '../suites/pair.ts'
import { repositoryFile } from '../support/child.ts'
import { FIXTURES, startGantry } from '../support/gantry.ts'
import { previousRelease, type Release, unpack } from '../support/release.ts'
import { temporary } from '../support/sockets.ts'
import { type Introduced, introduced, lacking, type Side } from './introduced.ts'

/** The command of the release in `folder`: releases before 0.1 have it in the root folder. */
function commandOf(folder: string): string {
  return ['cli/gantry.ts', 'gantry.ts'].map((path) => join(folder, path)).find((path) => existsSync(path))!
}

const THIS = 'test/versions/previous.test.ts'
const root = repositoryFile('.')
const found = previousRelease(root, THIS)
const unavailable = 'unavailable' in found ? found.unavailable : undefined
const name = 'unavailable' in found ? 'the previous release' : found.name

/** The list of the release in `folder`. */
async function listOf(folder: string): Promise<readonly Introduced[]> {
  const file = join(folder, 'test/versions/introduced.ts')
  if (!existsSync(file)) return []
  return ((await import(pathToFileURL(file).href)) as { introduced: readonly Introduced[] }).introduced
}

/** Two processes, `old` of the previous release, connected by `--upstream` or by `--join`. */
function meeting(old: Side, way: 'dials' | 'joins'): void {
  const names = { proxy: 'this proxy', container: 'this container', [old]: `the ${old} of ${name}` }
  const how =
    way === 'dials' ? `${names.proxy} before ${names.container}` : `${names.container} that joined ${names.proxy}`
  let lacks: ReadonlyMap<string, Introduced> = new Map()
  behaviour({
    name: how,
    unavailable,
    lacks: (sentence) => lacks.get(sentence),
    async start() {
      const directory = await temporary()
      const folder = join(directory, 'release')
      unpack(root, found as Release, folder)
      lacks = lacking(introduced, await listOf(folder), old)
      const command = (side: Side): string | undefined => (side === old ? commandOf(folder) : undefined)
      const address = `unix:${join(directory, 'socket')}`
      const env = { GANTRY_TOKEN: 'a secret of the suite' }
      const quiet = ['--access-log', 'off']
      const meet = way === 'dials' ? ['--upstream', '--listen'] : ['--join-listen', '--join']
      const proxy = () =>
        startGantry(['proxy', '--listen', '127.0.0.1:0', meet[0]!, address, ...quiet], {
          env,
          command: command('proxy'),
        })
      const container = () =>
        startGantry(['container', FIXTURES, meet[1]!, address, ...quiet], { env, command: command('container') })
      return overPair(proxy, container, () => rm(directory, { recursive: true, force: true }))
    },
  })
}

for (const old of ['proxy', 'container'] as const) for (const way of ['dials', 'joins'] as const) meeting(old, way)

describe('the list of what older releases do otherwise', () => {
  it('names sentences of the behaviour suite, each once for a process', () => {
    // Skipped suites state no sentences.
    const unknown = introduced.filter(({ sentence }) => stated.size > 0 && !stated.has(sentence))
    assert.deepEqual(unknown, [])
    const keys = introduced.map(({ by, sentence }) => `${by} ${sentence}`)
    assert.deepEqual([...new Set(keys)], keys)
  })

  it('is compared with the older release’s list', () => {
    const one: Introduced = { sentence: 'a', by: 'proxy', before: 'otherwise' }
    const two: Introduced = { sentence: 'a', by: 'container', before: 'otherwise' }
    const three: Introduced = { sentence: 'b', by: 'proxy', before: 'otherwise' }
    assert.deepEqual([...lacking([one, two, three], [two], 'proxy').values()], [one, three])
    assert.deepEqual([...lacking([one, two, three], [two], 'container').values()], [])
    assert.deepEqual([...lacking([one, two, three], [], 'container').values()], [two])
    assert.deepEqual([...lacking([one], [one, three], 'proxy').values()], [])
  })
})
