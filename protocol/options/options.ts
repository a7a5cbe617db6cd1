/**
 * Options as one table: command line, environment, defaults and types all derive from it.
 *
 * A table is a plain literal (`as const`), so that it can be read, printed and typed. Does not know any particular
 * option, reads no file and prints nothing: `options-help.ts` renders tables, `gantry.ts` decides what to do on errors.
 */

import { TrustedPeers } from '../client/peers.ts'
import type { optionCodes } from '../contract/error-codes/start-codes.ts'
import {
  type Address,
  AddressError,
  type AddressKind,
  addressForms,
  parseAddress,
  withoutCredentials,
} from '../net/address.ts'

interface Described {
  /** What it does and why its default is what it is: whole sentences. */
  readonly sentence: string
  /** What stands for the value in help, in capitals: `ADDRESS`. */
  readonly value?: string
  /** Taken without its name, in the order of the table. */
  readonly positional?: true
  /** Refused when missing. */
  readonly required?: true
  /**
   * Of a positional option: takes every argument after `--` unchanged. In the environment variable they are separated
   * by spaces.
   */
  readonly rest?: true
  /** Given several times, or at once with commas. */
  readonly list?: true
  /** Never shown: not in errors, not in `given`. Such an option is read from the environment alone, since argv is public (`ps`). */
  readonly secret?: true
  /** Left out of help and tables. */
  readonly hidden?: true
  /** What happens when it is not given and has no default, for help. */
  readonly unset?: string
}

/** One option. Defaults are written as a person would write them. */
export type Option = Described &
  (
    | { readonly kind: 'text' | 'file'; readonly default?: string }
    | { readonly kind: 'flag'; readonly default?: boolean }
    | {
        readonly kind: 'integer'
        readonly default?: number
        readonly minimum?: number
        readonly maximum?: number
        /** What `auto` stands for, where that may be said. */
        readonly auto?: () => number
      }
    /** Milliseconds: `250ms`, `10s`, `5m`, `1h`; `none` is Infinity where `unlimited`. */
    | { readonly kind: 'duration'; readonly default?: string; readonly minimum?: number; readonly unlimited?: true }
    /** Bytes: `1024`, `64KiB`, `1MiB`, `1GiB`; `none` is Infinity where `unlimited`. */
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
    /** A set of peers: always one value, of all that were given. */
    | { readonly kind: 'peers'; readonly list: true; readonly default: string }
  )

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

/** The values a table gives. Lists that were not given and have no default are empty. */
export type OptionValues<T> = { readonly [K in keyof T]: Value<T[K]> }

/** Why an option cannot be used; `docs/errors.md` explains each code. */
export type OptionErrorCode = keyof typeof optionCodes

/** What a person gave cannot be used. The message says what was expected, what was given, and the nearest known name. */
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

export interface ParsedOptions<T> {
  readonly values: OptionValues<T>
  /** What was given on the command line, as texts by table key, so that it can be handed on to another process. */
  readonly given: ReadonlyMap<string, readonly string[]>
  /** Sentences for the log: environment variables that look like a misspelt option. */
  readonly warnings: readonly string[]
}

/** `accessLog` → `--access-log`. */
export function flagName(key: string): string {
  return `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
}

/** `accessLog` → `GANTRY_ACCESS_LOG`. */
export function environmentName(key: string): string {
  return `GANTRY_${key.replace(/[A-Z]/g, '_$&').toUpperCase()}`
}

/** A command line that says what was given on another one. Not for positional arguments. */
export function argumentsOf(given: Iterable<readonly [key: string, texts: readonly string[]]>): string[] {
  return [...given].flatMap(([key, texts]) => texts.map((text) => `${flagName(key)}=${text}`))
}

/** How an option is written in messages: `--listen`, `MODULE`, `GANTRY_TOKEN`. */
function optionLabel(key: string, option: Option): string {
  if (option.secret) return environmentName(key)
  return option.positional ? (option.value ?? key.toUpperCase()) : flagName(key)
}

/**
 * Reads a command line and an environment: argv over environment over default.
 *
 * `--name value`, `--name=value`, `--flag`, `--no-flag`. After `--` come the required positional arguments that are
 * still missing (they may begin with a dash), and then the arguments of the `rest` option. If an option is repeated the
 * last value counts; lists accumulate and replace the default. An empty environment variable counts as unset, as
 * Compose passes `${X:-}`.
 *
 * @param otherNames Environment names that other commands know, so that they are not taken for misspellings.
 * @throws OptionError for the first thing that cannot be used.
 */
export function parseOptions<const T extends OptionTable>(
  table: T,
  argv: readonly string[],
  environment: Readonly<Record<string, string | undefined>> = {},
  otherNames: readonly string[] = [],
): ParsedOptions<T> {
  const isSet = (key: string): boolean => (environment[environmentName(key)] ?? '') !== ''
  const given = readArgv(table, argv, isSet)
  const values: Record<string, unknown> = {}
  for (const [key, option] of Object.entries(table)) {
    const fromArgv = given.get(key)
    const variable = environment[environmentName(key)]
    // A comma in an argument belongs to the application.
    if (option.rest) values[key] = fromArgv ?? variable?.match(/\S+/g) ?? []
    else if (fromArgv !== undefined) values[key] = convertAll(optionLabel(key, option), option, fromArgv)
    else if (variable !== undefined && variable !== '')
      values[key] = convertAll(environmentName(key), option, [variable])
    else values[key] = defaultOf(key, option)
  }
  return { values: values as OptionValues<T>, given, warnings: misspelt(table, environment, otherNames) }
}

function defaultOf(key: string, option: Option): unknown {
  const label = optionLabel(key, option)
  if (option.required) {
    throw new OptionError(
      'MISSING_OPTION',
      label,
      `${label} is required (or ${environmentName(key)} in the environment)`,
    )
  }
  if (option.default !== undefined) return convertAll(label, option, [String(option.default)])
  if (option.list) return []
  return option.kind === 'flag' ? false : undefined
}

/** @param isSet whether the environment sets a positional argument that the command line lacks */
function readArgv(
  table: OptionTable,
  argv: readonly string[],
  isSet: (key: string) => boolean = () => false,
): Map<string, string[]> {
  const keys = new Map<string, string>()
  const positionals: string[] = []
  let rest: string | undefined
  for (const [key, option] of Object.entries(table)) {
    if (option.rest) rest = key
    else if (option.positional) positionals.push(key)
    else if (!option.secret) keys.set(flagName(key), key)
  }
  const given = new Map<string, string[]>()
  const give = (key: string, text: string): void => {
    const texts = given.get(key)
    if (texts !== undefined && table[key]!.list) texts.push(text)
    else given.set(key, [text])
  }
  let onlyArguments = false
  for (let index = 0; index < argv.length; index++) {
    const argument = argv[index]!
    if (argument === '--' && !onlyArguments) {
      onlyArguments = true
      // An option that the environment sets does not take one of the application's arguments.
      if (rest !== undefined) while (positionals[0] !== undefined && isSet(positionals[0])) positionals.shift()
    } else if (onlyArguments || !argument.startsWith('-') || argument === '-') {
      const key = positionals.shift() ?? (onlyArguments ? rest : undefined)
      if (key === undefined) {
        throw new OptionError(
          'UNEXPECTED_ARGUMENT',
          argument,
          `unexpected argument ${JSON.stringify(argument)}${restHint(rest, argument)}`,
        )
      }
      give(key, argument)
    } else {
      const equals = argument.indexOf('=')
      const name = equals < 0 ? argument : argument.slice(0, equals)
      const negated = name.startsWith('--no-') ? keys.get(`--${name.slice('--no-'.length)}`) : undefined
      const key = keys.get(name)
      if (key === undefined && negated !== undefined && table[negated]!.kind === 'flag' && equals < 0) {
        give(negated, 'false')
      } else if (key === undefined) {
        throw unknownOption(table, name, restHint(rest, argument))
      } else if (equals >= 0) {
        give(key, argument.slice(equals + 1))
      } else if (table[key]!.kind === 'flag') {
        give(key, 'true')
      } else {
        const value = argv[index + 1]
        if (value === undefined || value.startsWith('--')) {
          throw new OptionError('MISSING_VALUE', name, `${name} needs a value: expected ${expected(table[key]!)}`)
        }
        give(key, value)
        index++
      }
    }
  }
  return given
}

/** What to do with an argument that was probably meant for the application. */
function restHint(rest: string | undefined, argument: string): string {
  return rest === undefined ? '' : `; arguments for the application come after --, as in: -- ${argument}`
}

function unknownOption(table: OptionTable, name: string, hint: string): OptionError {
  const secret = Object.entries(table).find(([key, option]) => option.secret && flagName(key) === name)
  if (secret) {
    const variable = environmentName(secret[0])
    return new OptionError(
      'UNKNOWN_OPTION',
      name,
      `${name} would show its value to every user of this host; set ${variable} in the environment instead`,
    )
  }
  const names = Object.entries(table).flatMap(([key, option]) => {
    if (option.positional || option.secret || option.hidden) return []
    return option.kind === 'flag' ? [flagName(key), flagName(key).replace('--', '--no-')] : [flagName(key)]
  })
  const near = nearest(name, names)
  return new OptionError(
    'UNKNOWN_OPTION',
    name,
    `unknown option ${name}${near ? `; did you mean ${near}?` : ''}${hint}`,
  )
}

/** What a value must look like, for messages. */
export function expected(option: Option): string {
  switch (option.kind) {
    case 'flag':
      return 'true or false'
    case 'integer': {
      const { minimum = 0, maximum, auto } = option
      const most = maximum === undefined ? '' : ` to ${maximum}`
      return `a whole number from ${minimum}${most}${auto ? ', or auto' : ''}`
    }
    case 'duration':
      return `a duration as 250ms, 10s, 5m or 1h${option.minimum === undefined ? '' : ` of at least ${option.minimum}ms`}${option.unlimited ? ', or none' : ''}`
    case 'size':
      return `a size as 1024, 64KiB or 1MiB${range(option.minimum, option.maximum)}${option.unlimited ? ', or none' : ''}`
    case 'mode':
      return 'permissions in octal as 660'
    case 'choice':
      return `${option.list ? 'any of' : 'one of'} ${option.choices.join(', ')}`
    case 'address':
      return option.forms.map((form) => addressForms[form]).join(', ')
    case 'peers':
      return 'addresses, CIDR ranges, or words as loopback and private'
    case 'file':
      return 'a path'
    case 'text':
      return 'a text'
  }
}

function range(minimum: number | undefined, maximum: number | undefined): string {
  if (maximum !== undefined) return ` from ${minimum ?? 0} to ${maximum} bytes`
  return minimum === undefined ? '' : ` of at least ${minimum} bytes`
}

function convertAll(label: string, option: Option, texts: readonly string[]): unknown {
  if (!option.list) return convert(label, option, texts[0]!)
  const parts = texts.flatMap((text) => text.split(',')).map((part) => part.trim())
  if (option.kind === 'peers') {
    try {
      return new TrustedPeers(parts.filter((part) => part !== ''))
    } catch (error) {
      throw new OptionError('BAD_VALUE', label, `${label}: ${(error as RangeError).message}`)
    }
  }
  return parts.map((part) => convert(label, option, part))
}

function convert(label: string, option: Option, text: string): unknown {
  const value = read(option, text)
  if (value !== undefined) return value
  const given = option.kind === 'address' ? withoutCredentials(text) : text
  const got = option.secret ? '' : `, got ${JSON.stringify(given)}`
  let hint = ''
  if (option.kind === 'choice') hint = nearestHint(text, option.choices)
  if (option.kind === 'address') hint = addressHint(option.forms, text)
  throw new OptionError('BAD_VALUE', label, `${label}: expected ${expected(option)}${got}${hint}`)
}

function nearestHint(text: string, choices: readonly string[]): string {
  const near = nearest(text, choices)
  return near ? `; did you mean ${near}?` : ''
}

function addressHint(forms: readonly AddressKind[], text: string): string {
  try {
    const { kind } = parseAddress(text)
    return forms.includes(kind) ? '' : `, which has the form ${addressForms[kind]}`
  } catch (error) {
    return ` (${(error as Error).message})`
  }
}

/** The value, or undefined when the text is of the wrong form. */
function read(option: Option, text: string): unknown {
  switch (option.kind) {
    case 'text':
    case 'file':
      return text === '' ? undefined : text
    case 'flag':
      if (/^(true|1|yes|on)$/i.test(text)) return true
      return /^(false|0|no|off)$/i.test(text) ? false : undefined
    case 'integer': {
      if (option.auto && text === 'auto') return option.auto()
      const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
      return value >= (option.minimum ?? 0) && value <= (option.maximum ?? Number.MAX_SAFE_INTEGER) ? value : undefined
    }
    case 'duration': {
      if (option.unlimited && text === 'none') return Number.POSITIVE_INFINITY
      const milliseconds = parseDuration(text)
      return milliseconds !== undefined && milliseconds >= (option.minimum ?? 0) ? milliseconds : undefined
    }
    case 'size': {
      if (option.unlimited && text === 'none') return Number.POSITIVE_INFINITY
      const bytes = parseSize(text)
      return bytes === undefined || !(bytes >= (option.minimum ?? 0) && bytes <= (option.maximum ?? bytes))
        ? undefined
        : bytes
    }
    case 'mode':
      return /^0?[0-7]{3}$/.test(text) ? Number.parseInt(text, 8) : undefined
    case 'choice':
      return option.choices.includes(text) ? text : undefined
    case 'address':
      try {
        const address = parseAddress(text)
        return option.forms.includes(address.kind) ? address : undefined
      } catch (error) {
        if (error instanceof AddressError) return undefined
        throw error
      }
    case 'peers':
      return new TrustedPeers([text])
  }
}

const durations: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }
// A timer of more than 2^31-1 ms fires at once (Node, as browsers do).
const LONGEST_DURATION = 2 ** 31 - 1

/** `250ms`, `10s`, `1.5s`, `5m`, `1h`, `0` → milliseconds (at most 2^31 - 1, about 24 days); anything else: undefined. */
export function parseDuration(text: string): number | undefined {
  if (text === '0') return 0
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text)
  if (!match) return undefined
  const milliseconds = Math.round(Number(match[1]) * durations[match[2]!]!)
  return milliseconds <= LONGEST_DURATION ? milliseconds : undefined
}

const sizes: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
  TiB: 1024 ** 4,
}

/** `1024`, `64KiB`, `1.5MiB`, `1GiB` → bytes; anything else, `64KB` and `64k` included, since they mean two things: undefined. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)(B|KiB|MiB|GiB|TiB|)$/.exec(text)
  if (!match) return undefined
  const bytes = Number(match[1]) * sizes[match[2]!]!
  return Number.isSafeInteger(bytes) ? bytes : undefined
}

function misspelt(
  table: OptionTable,
  environment: Readonly<Record<string, string | undefined>>,
  otherNames: readonly string[],
): string[] {
  const names = Object.keys(table).map(environmentName)
  const known = new Set([...names, ...otherNames])
  // A variable of somebody else's may begin with GANTRY_ (one environment is often shared by many programs): only what
  // is nearly one of ours is worth a word.
  return Object.keys(environment)
    .filter((name) => name.startsWith('GANTRY_') && !known.has(name))
    .flatMap((name) => {
      const near = nearest(
        name.slice('GANTRY_'.length),
        names.map((one) => one.slice('GANTRY_'.length)),
      )
      return near ? [`the environment variable ${name} is no option and is ignored; did you mean GANTRY_${near}?`] : []
    })
}

/** The candidate with the fewest edits, if they are few for its length. */
export function nearest(text: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined
  let fewest = Number.POSITIVE_INFINITY
  for (const candidate of candidates) {
    const edits = editDistance(text, candidate)
    if (edits < fewest && edits <= Math.max(1, Math.floor(candidate.length / 3))) {
      best = candidate
      fewest = edits
    }
  }
  return best
}

/** Insertions, deletions, replacements and swaps of neighbours (optimal string alignment). */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = last[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      let edits = Math.min(last[j]! + 1, row[j - 1]! + 1, replaced)
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        edits = Math.min(edits, beforeLast[j - 2]! + 1)
      row.push(edits)
    }
    beforeLast = last
    last = row
  }
  return last[b.length]!
}
