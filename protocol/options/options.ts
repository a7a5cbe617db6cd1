/**
 * Reads a command line and an environment by an option table (`option-table.ts`). Reads no file and prints nothing:
 * `options-help.ts` renders tables, and `cli/gantry.ts` decides what to do on errors.
 */

import { nearest } from './nearest.ts'
import {
  environmentName,
  flagName,
  type Option,
  OptionError,
  type OptionTable,
  type OptionValues,
  optionLabel,
} from './option-table.ts'
import { convertAll, expected } from './option-values.ts'

export interface ParsedOptions<T> {
  readonly values: OptionValues<T>
  /** The options of the command line as texts, by table key, so that they can be passed to another process. */
  readonly given: ReadonlyMap<string, readonly string[]>
  /** Sentences for the log: environment variables that look like a misspelt option. */
  readonly warnings: readonly string[]
}

/** Options as command-line arguments, for another process. Not for positional arguments. */
export function argumentsOf(given: Iterable<readonly [key: string, texts: readonly string[]]>): string[] {
  return [...given].flatMap(([key, texts]) => texts.map((text) => `${flagName(key)}=${text}`))
}

/**
 * Reads options from a command line and an environment. The command line overrides the environment, which overrides the
 * default.
 *
 * Accepts `--name value`, `--name=value`, `--flag`, `--no-flag`. After `--` come the required positional arguments that
 * are still missing (they may begin with a dash), and then the arguments of the `rest` option. If an option is
 * repeated, the last value counts; lists accumulate and replace the default. An empty environment variable counts as
 * unset, since Compose passes `${X:-}` as an empty one.
 *
 * @param argv the arguments after the command's name
 * @param otherNames environment variables that other commands use, which are not reported as misspelt
 * @throws OptionError if an option is unknown, missing, or has an invalid value
 * @example
 * ```ts
 * import { type OptionTable, parseOptions } from 'gantry/protocol'
 *
 * const table = {
 *   listen: { kind: 'address', forms: ['tcp'], default: '127.0.0.1:8080', sentence: 'Where to listen.' },
 *   timeout: { kind: 'duration', default: '10s', sentence: 'How long a response may take.' },
 * } as const satisfies OptionTable
 * const { values, warnings } = parseOptions(table, process.argv.slice(2), process.env)
 * console.log(values.listen.port, values.timeout, warnings) // 8080 10000 []
 * ```
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
    // Commas in the application's arguments do not separate them.
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

/** A hint for an argument that was probably meant for the application. */
function restHint(rest: string | undefined, argument: string): string {
  return rest === undefined ? '' : `; put arguments for the application after --, for example: -- ${argument}`
}

function unknownOption(table: OptionTable, name: string, hint: string): OptionError {
  const secret = Object.entries(table).find(([key, option]) => option.secret && flagName(key) === name)
  if (secret) {
    const variable = environmentName(secret[0])
    return new OptionError(
      'UNKNOWN_OPTION',
      name,
      `${name} is not an option, since every user of this host can see command lines: set ${variable}`,
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

function misspelt(
  table: OptionTable,
  environment: Readonly<Record<string, string | undefined>>,
  otherNames: readonly string[],
): string[] {
  const names = Object.keys(table).map(environmentName)
  const known = new Set([...names, ...otherNames])
  // Another program's variable may begin with GANTRY_ too, since programs often share one environment. Report only
  // names that nearly match an option.
  return Object.keys(environment)
    .filter((name) => name.startsWith('GANTRY_') && !known.has(name))
    .flatMap((name) => {
      const near = nearest(
        name.slice('GANTRY_'.length),
        names.map((one) => one.slice('GANTRY_'.length)),
      )
      return near
        ? [`the environment variable ${name} is not an option and is ignored; did you mean GANTRY_${near}?`]
        : []
    })
}
