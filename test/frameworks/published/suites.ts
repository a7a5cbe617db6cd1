/**
 * The tests in published packages that call listen(), unchanged: once on node:http, and once with every `listen()`
 * served through the pair. Nothing of them is copied; each file runs in a process of its own.
 */

import { existsSync, globSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { repositoryFile, TestChild } from '../../support/child.ts'
import type { Outcome } from './reporter.ts'

/**
 * Packages with tests of node:test in what is published. Express, Koa, Hono, NestJS, koa-*, multer, compression,
 * express-session, ws and socket.io publish none; busboy's listen to nothing.
 */
export const packages: readonly string[] = [
  'fastify',
  '@fastify/formbody',
  '@fastify/multipart',
  '@fastify/static',
  '@fastify/websocket',
]

const reporter = repositoryFile('test/frameworks/published/reporter.ts')
const preload = repositoryFile('test/frameworks/published/through-the-pair.ts')

/** Timeout of a file, ms: a longer run hangs. */
const PATIENCE = 90_000

/** Files that listen for plain HTTP. */
export function filesOf(name: string): string[] {
  const folder = repositoryFile(join('node_modules', name, 'test'))
  if (!existsSync(folder)) return []
  return globSync('**/*.test.{js,mjs}', { cwd: folder })
    .map((file) => join(folder, file))
    .filter((file) => /\.listen\(|helper'\)/.test(readFileSync(file, 'utf8')))
    .filter((file) => !/\/(http2|https|bundler|internals)\//.test(file))
    .toSorted()
}

export interface Ran {
  readonly file: string
  readonly outcomes: readonly Outcome[]
}

/**
 * Runs one file to its end, or until it is killed.
 *
 * @param folder Where it is run. Default: what its folder `test` is in.
 */
export async function runFile(
  file: string,
  throughPair: boolean,
  folder: string = file.slice(0, file.lastIndexOf('/test/')),
): Promise<Ran> {
  const argv = ['--test-reporter', reporter, '--test-timeout', '20000', '--test-force-exit', file]
  const child = new TestChild(throughPair ? ['--import', preload, ...argv] : argv, {
    patience: PATIENCE,
    cwd: folder,
    env: { NODE_NO_WARNINGS: '1' },
  })
  await child.exited
  const outcomes = child.stdout
    .split('\n')
    .filter((line) => line.startsWith('{"file"'))
    .map((line) => JSON.parse(line) as Outcome)
  return { file: relative(repositoryFile('node_modules'), file), outcomes }
}
