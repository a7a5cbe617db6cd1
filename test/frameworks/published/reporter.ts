/** A reporter of node:test: one line of JSON for each completed test, with the names of the surrounding suites. */

import type { TestEvent } from 'node:test/reporters'

export interface Outcome {
  readonly file: string
  /** Names, the outermost first. */
  readonly name: string
  readonly passed: boolean
  readonly skipped: boolean
  readonly error: string
}

interface Data {
  readonly file?: string
  readonly name: string
  readonly nesting: number
  readonly skip?: unknown
  readonly todo?: unknown
  readonly details?: { type?: string; error?: { cause?: { message?: string }; message?: string } }
}

export default async function* reporter(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const around: Map<string, string[]> = new Map()
  for await (const event of source) {
    const data = event.data as unknown as Data
    if (event.type === 'test:start') {
      const names = around.get(data.file ?? '') ?? []
      names[data.nesting] = data.name
      around.set(data.file ?? '', names)
    }
    if (event.type !== 'test:pass' && event.type !== 'test:fail') continue
    if (data.details?.type === 'suite') continue
    const names = (around.get(data.file ?? '') ?? []).slice(0, data.nesting)
    const { error } = data.details ?? {}
    const outcome: Outcome = {
      file: data.file ?? '',
      name: [...names, data.name].join(' > '),
      passed: event.type === 'test:pass',
      skipped: data.skip !== undefined || data.todo !== undefined,
      error: String(error?.cause?.message ?? error?.message ?? ''),
    }
    yield `${JSON.stringify(outcome)}\n`
  }
}
