/** The grace periods of the Compose and Swarm files exceed the delay, the drain timeout and the time to settle. */

import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { repositoryFile } from '../support/child.ts'

/** For aborted applications to settle, s: docs/deploy.md says so. */
const SETTLE = 6

/** Seconds of the first match, with a default of Compose (`${NAME:-2s}`) taken for the value. */
function seconds(service: string, pattern: RegExp): number | undefined {
  const text = pattern.exec(service)?.[1]
  return text === undefined ? undefined : Number(/(\d+)s\}?$/.exec(text)?.[1])
}

for (const file of [
  'docker-compose.yml',
  ...globSync(['deploy/**/*.yml', 'examples/*/compose.yml'], { cwd: repositoryFile('') }),
]) {
  const services = readFileSync(repositoryFile(file), 'utf8').split(/^ {2}(?=\w)/m)
  for (const service of services) {
    const grace = seconds(service, /stop_grace_period: (\S+)/)
    const timeout = seconds(service, /--drain-timeout=(\d+s)/)
    if (grace === undefined || timeout === undefined) continue
    test(`${file}: the grace period of ${service.split(':', 1)[0]} is above the delay and the drain timeout`, () => {
      const delay = seconds(service, /(?:--drain-delay=|GANTRY_DRAIN_DELAY: )(\d+s|\$\{[^}]+\})/) ?? 0
      assert.ok(grace > delay + timeout + SETTLE, `${grace} s for ${delay} + ${timeout} + ${SETTLE} s`)
    })
  }
}
