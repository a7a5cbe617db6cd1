/**
 * Whether a Docker engine answers. In CI a missing engine is a failure; elsewhere the tests are skipped with the
 * reason.
 */

import { execFileSync } from 'node:child_process'

/** For a test's `skip`: false to run the test, else the reason to skip it. */
export function withoutEngine(): string | false {
  try {
    execFileSync('docker', ['version', '--format', '{{.Server.Version}}'], { stdio: 'pipe', timeout: 10_000 })
    execFileSync('docker', ['compose', 'version'], { stdio: 'pipe', timeout: 10_000 })
    return false
  } catch (error) {
    if (process.env['CI'])
      throw new Error('no Docker engine with Compose answers, and in CI one must', { cause: error })
    return 'no Docker engine with Compose answers'
  }
}
