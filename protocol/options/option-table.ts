/**
 * What an option table is: the command line, the environment, help, defaults and types all derive from one literal
 * (`as const`). Knows no particular option.
 */

import type { TrustedPeers } from '../client/peers.ts'
import type { optionCodes } from '../contract/error-codes/start-codes.ts'
import type { Address, AddressKind } from '../net/address.ts'

interface Described {
  /** What the option does, and the reason for its default, in full sentences. */
  readonly sentence: string
  /** The placeholder for the value in help: `ADDRESS`. */
  readonly value?: string
  /** Given without its name, in the order of the table. */
  readonly positional?: true
  /** The option must be given. */
  readonly required?: true
  /**
   * For a positional option: takes every argument after `--` unchanged. In the environment variable, spaces separate
   * the arguments.
   */
  readonly rest?: true
  /** May be given several times, or once with commas. */
  readonly list?: true
  /**
   * Never shown, neither in errors nor in `given`. Read from the environment only, since other users can see argv
   * (`ps`).
   */
  readonly secret?: true
  /** Not shown in help and tables. */
  readonly hidden?: true
  /** For help: what happens if the option is not given and has no default. */
  readonly unset?: string
  readonly up?: UpUse
}

/**
 * How `gantry up`, which starts a container and a proxy, treats an option of theirs.
 *
 * - `given`: `up` has it too, and gives it to each process whose table has this entry
 * - `proxy alone`: the same, but the container gets it neither from the command line nor from the environment
 * - `withheld`: it is meant for processes elsewhere, so its environment variable reaches neither process
 *
 * Without this mark `up` does not have the option, and the environment variable reaches both processes.
 */
export type UpUse = 'given' | 'proxy alone' | 'withheld'

/** One option. Its default is written as on a command line. */
export type Option = Described &
  (
    | { readonly kind: 'text' | 'file'; readonly default?: string }
    | { readonly kind: 'flag'; readonly default?: boolean }
    | {
        readonly kind: 'integer'
        readonly default?: number
        readonly minimum?: number
        readonly maximum?: number
        /** The value of `auto`, if that is allowed. */
        readonly auto?: () => number
      }
    /** Milliseconds: `250ms`, `10s`, `5m`, `1h`; `none` is Infinity if `unlimited`. */
    | { readonly kind: 'duration'; readonly default?: string; readonly minimum?: number; readonly unlimited?: true }
    /** Bytes: `1024`, `64KiB`, `1MiB`, `1GiB`; `none` is Infinity if `unlimited`. */
    | {
        readonly kind: 'size'
        readonly default?: string
        readonly minimum?: number
        readonly maximum?: number
        readonly unlimited?: true
      }
    /** File permissions in octal: `660`. */
    | { readonly kind: 'mode'; readonly default?: string }
    | { readonly kind: 'choice'; readonly choices: readonly string[]; readonly default?: string }
    | { readonly kind: 'address'; readonly forms: readonly AddressKind[]; readonly default?: string }
    /** A set of peers: one value for all that were given. */
    | { readonly kind: 'peers'; readonly list: true; readonly default: string }
  )

/** Options by name: command line, environment, help and types derive from the table. */
export type OptionTable = { readonly [name: string]: Option }

type One<O> = O extends { kind: 'integer' | 'duration' | 'size' | 'mode' }
  ? number
  : O extends { kind: 'flag' }
    ? boolean
    : O extends { kind: 'choice'; choices: readonly (infer C)[] }
      ? C
      : O extends { kind: 'address'; forms: readonly (infer F)[] }
        ? Extract<Address, { kind: F }>
        : string

type Value<O> = O extends { kind: 'peers' }
  ? TrustedPeers
  : O extends { list: true }
    ? readonly One<O>[]
    : O extends { kind: 'flag' } | { default: unknown } | { required: true }
      ? One<O>
      : One<O> | undefined

/** The values of a table's options. Lists that were not given and have no default are empty. */
export type OptionValues<T> = { readonly [K in keyof T]: Value<T[K]> }

/** Why an option cannot be used; `docs/errors.md` explains each code. */
export type OptionErrorCode = keyof typeof optionCodes

/**
 * An option is unknown, invalid or missing. The message says what was expected, what was given, and the nearest known
 * name.
 */
export class OptionError extends Error {
  override readonly name: string = 'OptionError'
  readonly code: OptionErrorCode
  /** The option as it is written on the command line or in the environment. */
  readonly option: string

  constructor(code: OptionErrorCode, option: string, message: string) {
    super(message)
    this.code = code
    this.option = option
  }
}

/** `accessLog` → `--access-log`. */
export function flagName(key: string): string {
  return `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
}

/** `accessLog` → `GANTRY_ACCESS_LOG`. */
export function environmentName(key: string): string {
  return `GANTRY_${key.replace(/[A-Z]/g, '_$&').toUpperCase()}`
}

/** How an option is written in messages: `--listen`, `MODULE`, `GANTRY_TOKEN`. */
export function optionLabel(key: string, option: Option): string {
  if (option.secret) return environmentName(key)
  return option.positional ? (option.value ?? key.toUpperCase()) : flagName(key)
}
