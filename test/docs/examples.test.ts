/**
 * The examples of the docstrings are right: each one is compiled against the package, and run. `console.log(…) // text`
 * must print `text`. An example that listens on a port ends there; `./app.ts` is an application that it may import.
 */

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { TestChild } from '../support/child.ts'
import { withDirectory } from '../support/directory.ts'
import { linkPackages, prepare, typeErrors, write } from '../support/page.ts'
import { docstringOf, type Example, examples, exported, isFunction } from './docstrings.ts'

const APPLICATION = `import type { Application } from 'gantry'

export const application: Application = (_environ, startResponse) => {
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return [Buffer.from('Hello world!\\n')]
}
`

/** Loaded before an example: a server ends the process with success instead of listening. */
const NO_SERVERS = `import { Server } from 'node:net'
Server.prototype.listen = () => process.exit(0)
`

const all = examples()

function titleOf({ docstring: { file, line, name } }: Example): string {
  return `${name} (${file}:${line})`
}

/** What the comments behind `console.log(…)` say is printed. */
function printedBy(code: string): string[] {
  return [...code.matchAll(/^console\.log\(.*\) \/\/ (.*)$/gm)].map((match) => match[1]!)
}

/** Whether an example imports a package that is not part of Node or Gantry. */
function importsPackages(code: string): boolean {
  return /from '(?!gantry['/]|node:|\.)/.test(code)
}

describe('the examples of the docstrings', { concurrency: 2 }, () => {
  test('are fenced as ts', () => {
    assert.ok(all.length > 10, `${all.length} examples were found`)
    assert.deepEqual(all.filter(({ code }) => code === '').map(titleOf), [])
  })

  test('import only what the package exports', () => {
    const relative = all.filter(({ code }) => /from '\.(?!\/app\.ts')/.test(code))
    assert.deepEqual(relative.map(titleOf), [])
  })

  test('have correct types', async () => {
    const sections = all.map(({ docstring: { file, line }, code }) => ({
      title: file,
      blocks: [
        { language: 'ts', text: `// app.ts\n${APPLICATION}` },
        { language: 'ts', text: `// ${file.replaceAll('/', '-')}-line-${line}.ts\n${code}\nexport {}\n` },
      ],
    }))
    assert.equal(
      await typeErrors(
        sections,
        all.some(({ code }) => importsPackages(code)),
      ),
      '',
    )
  })

  for (const example of all) test(`${titleOf(example)} runs`, () => run(example.code))
})

function run(code: string): Promise<void> {
  return withDirectory(async (directory) => {
    prepare(directory)
    if (importsPackages(code)) linkPackages(directory)
    write(directory, 'app.ts', APPLICATION)
    write(directory, 'no-servers.mjs', NO_SERVERS)
    write(directory, 'example.ts', `${code}\nexport {}\n`)
    const child = new TestChild(['--import', join(directory, 'no-servers.mjs'), 'example.ts'], { cwd: directory })
    const { code: status, signal } = await child.exited
    assert.equal(status, 0, `the example ended with ${signal ?? status}\n${child.stderr}`)
    const expected = printedBy(code)
    if (expected.length > 0) assert.deepEqual(child.stdout.trimEnd().split('\n'), expected)
  })
}

describe('the docstrings of the entry points', () => {
  const named = exported().filter(({ name }) => name !== '*')

  test('say what each name is', () => {
    assert.ok(named.length > 100, `${named.length} names were found`)
    const silent = named.filter((one) => !docstringOf(one)?.text)
    assert.deepEqual(
      silent.map(({ name, file }) => `${file}: ${name}`),
      [],
    )
  })

  test('have an example for each function', () => {
    const functions = named.filter((one) => isFunction(one))
    assert.ok(functions.length > 30, `${functions.length} functions were found`)
    const without = functions.filter((one) => !docstringOf(one)?.text.includes('@example'))
    assert.deepEqual(
      without.map(({ name, file }) => `${file}: ${name}`),
      [],
    )
  })
})
