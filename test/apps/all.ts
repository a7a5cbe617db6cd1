/**
 * All fixture applications as one, by the first segment of the path: for a container process, and for the suites in
 * this process. Good ones run under lint on both sides, bad ones on the server's side. `/lint` lists the broken rules.
 */

import type { Application } from '../../protocol/contract/application.ts'
import { type Linted, lint } from '../../protocol/contract/lint.ts'
import { badApps } from './bad.ts'
import { goodApps } from './good.ts'
import { Journal } from './journal.ts'
import { nodeApps } from './node.ts'
import { bytes, json, plain } from './tools.ts'

export interface Fixtures {
  application: Application
  /** The broken rules so far, of both sides. */
  broken: string[]
  /** @throws ContractError if the server has left a body open */
  assertClosed(): void
}

export function makeFixtures(): Fixtures {
  const journal = new Journal()
  const broken: string[] = []
  const linted: Map<string, Linted> = new Map()
  const report = (error: Error): void => {
    broken.push(error.message)
  }
  for (const [name, application] of Object.entries(goodApps(journal))) linted.set(name, lint(application, { report }))
  for (const [name, application] of Object.entries({ ...badApps(journal), ...nodeApps(journal) })) {
    linted.set(name, lint(application, { report, only: 'server' }))
  }
  /** The broken rules, for a test in another process. */
  linted.set(
    'lint',
    lint((_environ, startResponse) => {
      startResponse('200 OK', [...json])
      return [bytes(JSON.stringify(broken))]
    }),
  )
  const application: Application = (environ, startResponse) => {
    const app = linted.get(environ.PATH_INFO.split('/')[1] ?? '')
    if (app) return app(environ, startResponse)
    startResponse('404 Not Found', [...plain])
    return [bytes(`no fixture at ${environ.PATH_INFO}\n`)]
  }
  return {
    application,
    broken,
    assertClosed() {
      for (const app of linted.values()) app.assertClosed()
    },
  }
}

export const application: Application = makeFixtures().application
