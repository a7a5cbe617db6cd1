/** `deploy/compose/rollout` with a script in place of docker: how it handles failed docker commands. */

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { repositoryFile } from '../support/child.ts'
import { withDirectory } from '../support/directory.ts'

/**
 * Two old containers run, and `compose up` adds two. FAILS names a command that fails; FEW is the number of containers
 * that are added instead.
 */
const DOCKER = `#!/bin/sh
echo "$*" >> "$CALLS"
up=$CALLS.up
case "$*" in "$FAILS"*) [ "$FAILS" ] && { [ "$AFTER_UP" = "" ] || [ -e "$up" ]; } && exit 1 ;; esac
case "$*" in
  'compose ps -q '*) printf 'old1\\nold2\\n' ;;
  'compose ps -a -q '*) printf 'old1\\nold2\\n'; [ -e "$up" ] && cat "$up" ;;
  'compose up '*) printf 'new1\\nnew2\\n' | head -n "\${FEW:-2}" > "$up" ;;
  'inspect '*) echo 'healthy 0 running' ;;
esac
exit 0
`

interface Result {
  readonly code: number
  readonly said: string
  readonly calls: string[]
}

function rollout(argv: readonly string[], environment: Record<string, string> = {}): Promise<Result> {
  return withDirectory(async (directory) => {
    const docker = join(directory, 'docker')
    writeFileSync(docker, DOCKER)
    chmodSync(docker, 0o755)
    const calls = join(directory, 'calls')
    const env = { PATH: `${directory}:${process.env['PATH']}`, CALLS: calls, ...environment }
    const [code, said] = await new Promise<[number, string]>((resolve) => {
      execFile(repositoryFile('deploy/compose/rollout'), [...argv], { env }, (error, _, stderr) => {
        resolve([error ? Number(error.code) : 0, stderr])
      })
    })
    return { code, said, calls: existsSync(calls) ? readFileSync(calls, 'utf8').trim().split('\n') : [] }
  })
}

/** The containers that were stopped. */
const stopped = ({ calls }: Result): string[] =>
  calls.filter((call) => call.startsWith('stop ')).flatMap((call) => call.split(' ').slice(1))

describe('a rollout', () => {
  it('stops the old containers once the new ones are healthy', async () => {
    const result = await rollout(['image', 'web'])
    assert.deepEqual([result.code, stopped(result)], [0, ['old1', 'old2']], result.said)
  })

  const failures: Record<string, [environment: Record<string, string>, stopped: string[], says: RegExp]> = {
    'the new containers cannot be listed': [
      { FAILS: 'compose ps -a', AFTER_UP: '1' },
      [],
      /docker does not list the new containers; the old containers continue to serve/,
    ],
    'docker lists no new container': [{ FEW: '0' }, [], /0 new containers exist, expected 2/],
    'docker lists too few new containers': [{ FEW: '1' }, ['new1'], /1 new containers exist, expected 2/],
    'a new container cannot be inspected': [{ FAILS: 'inspect' }, ['new1', 'new2'], /cannot be inspected/],
    'the new containers cannot be started': [{ FAILS: 'compose up' }, [], /cannot be started/],
  }
  for (const [what, [environment, expected, says]] of Object.entries(failures)) {
    it(`leaves the old containers running, and removes the new ones it knows, if ${what}`, async () => {
      const result = await rollout(['image', 'web'], environment)
      assert.deepEqual([result.code, stopped(result)], [1, expected], result.said)
      assert.match(result.said, says)
    })
  }

  for (const argv of [
    ['image', '--help'],
    ['image', 'a b'],
    ['image', '$(id)'],
    ['image', 'web=2'],
    ['-f', 'web'],
    ['image', 'web', 'A B'],
    ['image', 'web', 'A;id'],
  ]) {
    it(`refuses ${JSON.stringify(argv)} before it calls docker`, async () => {
      const { code, calls, said } = await rollout(argv)
      assert.deepEqual([code, calls], [1, []])
      assert.match(
        said,
        /^rollout: expected (?:the name of an image|a service of the Compose file|the name of a variable), got /,
      )
    })
  }
})
