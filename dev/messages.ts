/**
 * The messages of a container process to the development server over the IPC channel: the files that it imports, and
 * its failure. Also converts errors to messages and back.
 */

import type { BigIntStats } from 'node:fs'

/** An imported file, as it was just before it was read. */
export interface Imported {
  readonly file: string
  /** `signatureOf` the file's stats. */
  readonly signature: string
}

export interface ImportsMessage {
  readonly gantry: 'imports'
  readonly imported: readonly Imported[]
  /** Files that do not exist: the failed load may succeed when one of them is created. */
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

/** An error in a message. */
export interface Failure {
  readonly name: string
  readonly message: string
  readonly stack?: string | undefined
  readonly code?: string | undefined
  readonly cause?: Failure | undefined
}

/** The signature of a file that does not exist. */
export const ABSENT = ''

/**
 * A text that changes when a file is written or replaced. Without the inode, which changes by itself on some mounts.
 */
export function signatureOf(stats: BigIntStats): string {
  return `${stats.mtimeNs}-${stats.size}`
}

// More than any intended chain of causes has, and more than a person reads.
const MOST_CAUSES = 8

/** An error as a message. @param place `file:line` if the error's stack does not contain it, as for a syntax error */
export function failureOf(error: unknown, place?: string, depth: number = 0): Failure {
  if (!(error instanceof Error))
    return { name: 'Error', message: `the application threw ${String(error)}, which is not an Error` }
  const { code } = error as { code?: unknown }
  return {
    name: error.name,
    message: error.message,
    stack: place === undefined ? error.stack : `${error.name}: ${error.message}\n    at ${place}:1`,
    code: typeof code === 'string' ? code : undefined,
    cause: error.cause === undefined || depth >= MOST_CAUSES ? undefined : failureOf(error.cause, undefined, depth + 1),
  }
}

/** The error of a message, with its original stack. */
export function errorOf({ name, message, stack, code, cause }: Failure): Error {
  const error = new Error(message, cause && { cause: errorOf(cause) })
  error.stack = stack ?? `${name}: ${message}`
  Object.defineProperty(error, 'name', { value: name, configurable: true })
  return code === undefined ? error : Object.assign(error, { code })
}
