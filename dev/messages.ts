/**
 * What a container's process tells the development server that started it, over the IPC channel: the files it imports,
 * and what it failed of. Only the messages' forms and how an error crosses; who acts on them is elsewhere.
 */

import type { BigIntStats } from 'node:fs'

/** A file that was imported, as it was when it was about to be read. */
export interface Imported {
  readonly file: string
  /** `signatureOf` its stats. */
  readonly signature: string
}

export interface ImportsMessage {
  readonly gantry: 'imports'
  readonly imported: readonly Imported[]
  /** Files that were looked for and are not there: one that appears may mend what failed. */
  readonly missing: readonly string[]
}

export interface FailedMessage {
  readonly gantry: 'failed'
  readonly failure: Failure
}

/**
 * Checks a message of a development child.
 *
 * @returns undefined for a message of the application, which shares the channel and may send anything
 */
export function devMessageOf(message: unknown): ImportsMessage | FailedMessage | undefined {
  const { gantry, imported, missing, failure } = Object(message) as Record<string, unknown>
  if (gantry === 'failed' && isFailure(failure)) return { gantry, failure }
  const isWhole =
    gantry === 'imports' && Array.isArray(imported) && imported.every(isImported) && Array.isArray(missing)
  return isWhole ? { gantry, imported, missing: missing.map(String) } : undefined
}

function isImported(value: unknown): value is Imported {
  const { file, signature } = Object(value) as Record<string, unknown>
  return typeof file === 'string' && typeof signature === 'string'
}

function isFailure(value: unknown): value is Failure {
  const { name, message, stack, code, cause } = Object(value) as Record<string, unknown>
  if (typeof name !== 'string' || typeof message !== 'string') return false
  return [stack, code].every((one) => one === undefined || typeof one === 'string') && (!cause || isFailure(cause))
}

/** An error on its way between processes. */
export interface Failure {
  readonly name: string
  readonly message: string
  readonly stack?: string | undefined
  readonly code?: string | undefined
  readonly cause?: Failure | undefined
}

/** A file that is not there. */
export const ABSENT = ''

/** What differs once a file was written or replaced. Not its inode: on some mounts that changes by itself. */
export function signatureOf(stats: BigIntStats): string {
  return `${stats.mtimeNs}-${stats.size}`
}

// What a person reads, and more than any chain of causes that was meant.
const MOST_CAUSES = 8

/** @param place `file:line` for an error whose stack does not lead there, such as one of syntax */
export function failureOf(error: unknown, place?: string, depth: number = 0): Failure {
  if (!(error instanceof Error)) return { name: 'Error', message: `it threw ${String(error)}, which is no Error` }
  const { code } = error as { code?: unknown }
  return {
    name: error.name,
    message: error.message,
    stack: place === undefined ? error.stack : `${error.name}: ${error.message}\n    at ${place}:1`,
    code: typeof code === 'string' ? code : undefined,
    cause: error.cause === undefined || depth >= MOST_CAUSES ? undefined : failureOf(error.cause, undefined, depth + 1),
  }
}

/** The failure as an error again, with the stack that it had. */
export function errorOf({ name, message, stack, code, cause }: Failure): Error {
  const error = new Error(message, cause && { cause: errorOf(cause) })
  error.stack = stack ?? `${name}: ${message}`
  Object.defineProperty(error, 'name', { value: name, configurable: true })
  return code === undefined ? error : Object.assign(error, { code })
}
