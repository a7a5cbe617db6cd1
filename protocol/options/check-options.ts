/**
 * Checks the options of a factory (`cache({ maxBytes })`) when it is called: unknown names and invalid values are
 * rejected with uniform messages. Defaults and contradictions are left to the factory; `options.ts` reads command
 * lines.
 */

import { inspect } from 'node:util'
import { nearest } from './nearest.ts'

/** The form of one option's values. */
export interface OptionForm<out T = unknown> {
  /** The text after "expected": `a whole number of bytes, 0 or more`. */
  readonly expected: string
  readonly fits: (value: unknown) => boolean
  /** The value is never shown, only its type: error messages get into logs. */
  readonly secret?: true
  /** The option must be given. */
  readonly required?: true
  /** Only for type checks: a form of numbers cannot describe an option that is a string. */
  readonly type?: T
}

/** Exactly one form for each option of `O`. An option that is undefined counts as missing. */
export type OptionForms<O> = { readonly [K in keyof O]-?: OptionForm<Exclude<O[K], undefined>> }

/**
 * Checks the options of a factory.
 *
 * @param name of the factory, for messages
 * @param options the argument to check: any value
 * @param path of options within an option: `hsts.`
 * @throws TypeError if `options` is not a plain object, or an option is unknown, invalid or missing
 */
export function checkOptions<O extends object>(
  name: string,
  options: unknown,
  forms: OptionForms<O>,
  path = '',
): asserts options is O {
  const known = forms as Readonly<Record<string, OptionForm>>
  const names = Object.keys(known)
  if (!isPlain(options)) {
    // The argument may be the value of a secret option.
    const got = names.some((option) => known[option]!.secret) ? kindOf(options) : shown(options)
    const where = path === '' ? `the options are ${got}` : `the option ${path.slice(0, -1)} is ${got}`
    throw new TypeError(`${name}: ${where}, expected an object with ${anyOf(names)}${meant(options, known, path)}`)
  }
  for (const [option, value] of Object.entries(options)) {
    const form = Object.hasOwn(known, option) ? known[option]! : undefined
    if (form === undefined) {
      const near = nearestName(option, names)
      // Without the value, which may be a password under a misspelt name.
      const instead = near ? `; did you mean ${path}${near}?` : `, expected ${anyOf(names)}`
      throw new TypeError(`${name}: unknown option ${path}${option}${instead}`)
    }
    if (value !== undefined && !form.fits(value)) {
      const got = form.secret ? kindOf(value) : shown(value)
      throw new TypeError(`${name}: the option ${path}${option} is ${got}, expected ${form.expected}`)
    }
  }
  const missing = names.find(
    (option) => known[option]!.required && (options as Record<string, unknown>)[option] === undefined,
  )
  if (missing)
    throw new TypeError(`${name}: the option ${path}${missing} is missing, expected ${known[missing]!.expected}`)
}

/** Removes properties that are undefined, so that they do not override defaults in a spread. */
export function defined<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T
}

function anyOf(names: readonly string[]): string {
  return names.length > 1 ? `any of ${names.join(', ')}` : names.join()
}

/** The nearest known name: people often use another case, or initials (CSP). */
function nearestName(option: string, names: readonly string[]): string | undefined {
  const lower = names.map((name) => name.toLowerCase())
  const near = nearest(option.toLowerCase().replace(/[-_]/g, ''), lower)
  if (near !== undefined) return names[lower.indexOf(near)]
  return names.find((name) => name.replace(/(?<=.)[a-z]/g, '').toLowerCase() === option.toLowerCase())
}

/** A hint if the value was given without its name and fits exactly one option. */
function meant(value: unknown, forms: Readonly<Record<string, OptionForm>>, path: string): string {
  // A function may well be the application, which belongs to what the factory returns.
  if (path !== '' || typeof value === 'function' || Object.values(forms).some(({ secret }) => secret)) return ''
  const fitting = Object.keys(forms).filter((name) => forms[name]!.fits(value))
  return fitting.length === 1 ? `; did you mean { ${fitting[0]}: ${shown(value)} }?` : ''
}

/**
 * Whether a value is a plain object, also of another realm. An instance of a class is not: it may be an option's value.
 */
function isPlain(value: unknown): value is object {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  const prototype = Object.getPrototypeOf(value)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

/** A value for a message: on one line, and short. */
function shown(value: unknown): string {
  const text =
    typeof value === 'string'
      ? JSON.stringify(value)
      : inspect(value, { depth: 0, breakLength: Number.POSITIVE_INFINITY, maxArrayLength: 5 })
  // An error is shown with its stack.
  const line = text.replace(/\s*\n\s*/g, ' ')
  return line.length > 100 ? `${line.slice(0, 100)}…` : line
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value)
  if (Array.isArray(value)) return 'an array'
  return typeof value === 'object' ? 'an object of a class' : `a ${typeof value}`
}

// ---- forms ----------------------------------------------------------------------------------------------------------

export function form<T>(expected: string, fits: (value: unknown) => boolean): OptionForm<T> {
  return { expected, fits }
}

/** @param unit for example `bytes`; undefined if the name of the option makes it clear */
export function wholeNumber(least: number, unit?: string, most?: number): OptionForm<number> {
  const what = unit === undefined ? 'a whole number' : `a whole number of ${unit}`
  const expected = most === undefined ? `${what}, ${least} or more` : `${what} from ${least} to ${most}`
  return form(
    expected,
    (value) => Number.isSafeInteger(value) && Number(value) >= least && !(Number(value) > (most ?? Infinity)),
  )
}

/** Milliseconds above 0, or Infinity: no limit. */
export const duration: OptionForm<number> = form(
  'a number of milliseconds above 0, or Infinity',
  (value) => typeof value === 'number' && value > 0,
)

/** @param what for example `a number of bytes`. 0 has its own meaning, and Infinity means no limit. */
export function orMore(what: string): OptionForm<number> {
  return form(`${what}, 0 or more, or Infinity`, (value) => typeof value === 'number' && value >= 0)
}

export const flag: OptionForm<boolean> = form('true or false', (value) => typeof value === 'boolean')

export const anyText: OptionForm<string> = form('a string that is not empty', isText)

/** @param expected describes the pattern: `printable ASCII (RFC 7617 §2)` */
export function textOf(expected: string, pattern: RegExp): OptionForm<string> {
  return form(expected, (value) => typeof value === 'string' && pattern.test(value))
}

export function oneOf<const T extends readonly unknown[]>(...values: T): OptionForm<T[number]> {
  const shownValues = values.map((value) => (typeof value === 'string' ? `'${value}'` : String(value)))
  const last = shownValues.pop()!
  return form(shownValues.length === 0 ? last : `${shownValues.join(', ')} or ${last}`, (value) =>
    values.includes(value),
  )
}

/** Also allows `false`, which switches the option off. */
export function orFalse<T>({ expected, fits }: OptionForm<T>): OptionForm<T | false> {
  return form(`${expected}, or false`, (value) => value === false || fits(value))
}

/** @param what describes the items: `paths that begin with "/"` */
export function listOf<T>(what: string, fits: (value: unknown) => boolean): OptionForm<readonly T[]> {
  return form(`an array of ${what}`, (value) => Array.isArray(value) && value.every(fits))
}

/** @param fits checks each value. By default the factory checks the values, and can name the invalid one. */
export function record(what: string, fits: (value: unknown) => boolean = () => true): OptionForm<never> {
  return form(`an object of ${what}`, (value) => isPlain(value) && Object.values(value).every(fits))
}

/** @param what for example `a function of the environ` */
export function callable(what: string): OptionForm<never> {
  return form(what, isFunction)
}

/** @param what for example `a logger` */
export function having(what: string, ...methods: readonly string[]): OptionForm<never> {
  return form(`${what} with ${methods.map((method) => `${method}()`).join(', ')}`, (value) =>
    methods.every((method) => isFunction((value as Record<string, unknown> | null)?.[method])),
  )
}

export const anApplication: OptionForm<never> = callable('an application, which is a function')
export const aClock: OptionForm<never> = having('a clock', 'now', 'wall', 'after')

/** @param methods the methods that are called */
export function logger(...methods: readonly ('debug' | 'info' | 'warn' | 'error')[]): OptionForm<never> {
  return having('a logger', ...methods)
}

export function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}

export function isFunction(value: unknown): boolean {
  return typeof value === 'function'
}
