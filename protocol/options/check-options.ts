/**
 * Options of a factory (`cache({ maxBytes })`), looked at once, when it is called: names that there are not, and values of the wrong
 * form, are refused in the same words everywhere. What an option that is left out becomes, and which of them contradict each other, is
 * the factory's own matter; options of the command line are `options.ts`'s.
 */

import { inspect } from 'node:util'
import { nearest } from './options.ts'

/** The form of one option's values. */
export interface OptionForm<out T = unknown> {
  /** What stands after "expected": `a whole number of bytes, 0 or more`. */
  readonly due: string
  readonly fits: (value: unknown) => boolean
  /** The value is never shown, only what kind it is of: error messages get into logs. */
  readonly secret?: true
  /** Left out, it is refused. */
  readonly required?: true
  /** Only for the type: a form of numbers does not stand for an option of texts. */
  readonly type?: T
}

/** One form for each option of `O`, no more and no less. An option that is undefined counts as left out. */
export type OptionForms<O> = { readonly [K in keyof O]-?: OptionForm<Exclude<O[K], undefined>> }

/**
 * @param name of the factory, for messages
 * @param options what came in their place: anything
 * @param path of options within an option: `hsts.`
 * @throws TypeError for what is no plain object, a name that is none, and a value of another form
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
    // What should have been a secret option's value may be in it.
    const got = names.some((option) => known[option]!.secret) ? kindOf(options) : shown(options)
    const where = path === '' ? `the options are ${got}` : `the option ${path.slice(0, -1)} is ${got}`
    throw new TypeError(`${name}: ${where}, expected an object with ${anyOf(names)}${meant(options, known, path)}`)
  }
  for (const [option, value] of Object.entries(options)) {
    const form = Object.hasOwn(known, option) ? known[option]! : undefined
    if (form === undefined) {
      const near = nearestName(option, names)
      // Without its value, which may be a password under a name that there is not.
      const instead = near ? `; did you mean ${path}${near}?` : `, expected ${anyOf(names)}`
      throw new TypeError(`${name}: unknown option ${path}${option}${instead}`)
    }
    if (value !== undefined && !form.fits(value)) {
      const got = form.secret ? kindOf(value) : shown(value)
      throw new TypeError(`${name}: the option ${path}${option} is ${got}, expected ${form.due}`)
    }
  }
  const missing = names.find(
    (option) => known[option]!.required && (options as Record<string, unknown>)[option] === undefined,
  )
  if (missing) throw new TypeError(`${name}: the option ${path}${missing} is missing, expected ${known[missing]!.due}`)
}

/** What is not undefined: an option that is left out must not take the place of its default when it is spread. */
export function defined<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T
}

function anyOf(names: readonly string[]): string {
  return names.length > 1 ? `any of ${names.join(', ')}` : names.join()
}

/** Options are often known by another case, and the fields that some set by their initials (CSP). */
function nearestName(option: string, names: readonly string[]): string | undefined {
  const lower = names.map((name) => name.toLowerCase())
  const near = nearest(option.toLowerCase().replace(/[-_]/g, ''), lower)
  if (near !== undefined) return names[lower.indexOf(near)]
  return names.find((name) => name.replace(/(?<=.)[a-z]/g, '').toLowerCase() === option.toLowerCase())
}

/** A value given without its name, where it can be only one's. */
function meant(value: unknown, forms: Readonly<Record<string, OptionForm>>, path: string): string {
  // A function is as likely the application, which is for what the factory returns.
  if (path !== '' || typeof value === 'function' || Object.values(forms).some(({ secret }) => secret)) return ''
  const fitting = Object.keys(forms).filter((name) => forms[name]!.fits(value))
  return fitting.length === 1 ? `; did you mean { ${fitting[0]}: ${shown(value)} }?` : ''
}

/** Of another realm too. An instance of a class is an option's value given without its name. */
export function isPlain(value: unknown): value is object {
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
  // Of an error it is the stack.
  const line = text.replace(/\s*\n\s*/g, ' ')
  return line.length > 100 ? `${line.slice(0, 100)}…` : line
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value)
  if (Array.isArray(value)) return 'an array'
  return typeof value === 'object' ? 'an object of a class' : `a ${typeof value}`
}

// ---- forms -----------------------------------------------------------------------------------------------------------

export function form<T>(due: string, fits: (value: unknown) => boolean): OptionForm<T> {
  return { due, fits }
}

/** @param unit `bytes`; what is counted goes without saying where it is left out */
export function wholeNumber(least: number, unit?: string, most?: number): OptionForm<number> {
  const what = unit === undefined ? 'a whole number' : `a whole number of ${unit}`
  const due = most === undefined ? `${what}, ${least} or more` : `${what} from ${least} to ${most}`
  return form(
    due,
    (value) => Number.isSafeInteger(value) && Number(value) >= least && !(Number(value) > (most ?? Infinity)),
  )
}

/** Milliseconds above 0, or Infinity: as long as it takes. */
export const duration: OptionForm<number> = form(
  'a number of milliseconds above 0, or Infinity',
  (value) => typeof value === 'number' && value > 0,
)

/** @param what it is: `a number of bytes`. 0 has a meaning of its own, and Infinity is no bound. */
export function orMore(what: string): OptionForm<number> {
  return form(`${what}, 0 or more, or Infinity`, (value) => typeof value === 'number' && value >= 0)
}

export const flag: OptionForm<boolean> = form('true or false', (value) => typeof value === 'boolean')

export const anyText: OptionForm<string> = form('a string that is not empty', isText)

/** @param due what it expresses: `printable ASCII (RFC 7617 §2)` */
export function textOf(due: string, pattern: RegExp): OptionForm<string> {
  return form(due, (value) => typeof value === 'string' && pattern.test(value))
}

export function oneOf<const T extends readonly unknown[]>(...values: T): OptionForm<T[number]> {
  const shownValues = values.map((value) => (typeof value === 'string' ? `'${value}'` : String(value)))
  const last = shownValues.pop()!
  return form(shownValues.length === 0 ? last : `${shownValues.join(', ')} or ${last}`, (value) =>
    values.includes(value),
  )
}

/** `false` too, which switches it off. */
export function orFalse<T>({ due, fits }: OptionForm<T>): OptionForm<T | false> {
  return form(`${due}, or false`, (value) => value === false || fits(value))
}

/** @param what each is: `paths that begin with "/"` */
export function listOf<T>(what: string, fits: (value: unknown) => boolean): OptionForm<readonly T[]> {
  return form(`an array of ${what}`, (value) => Array.isArray(value) && value.every(fits))
}

/** @param fits each value; left out, the factory looks at them, and can name the one that is wrong */
export function record(what: string, fits: (value: unknown) => boolean = () => true): OptionForm<never> {
  return form(`an object of ${what}`, (value) => isPlain(value) && Object.values(value).every(fits))
}

/** @param what it is asked: `a function of the environ` */
export function callable(what: string): OptionForm<never> {
  return form(what, isFunction)
}

/** @param what with these methods: `a logger` */
export function having(what: string, ...methods: readonly string[]): OptionForm<never> {
  return form(`${what} with ${methods.map((method) => `${method}()`).join(', ')}`, (value) =>
    methods.every((method) => isFunction((value as Record<string, unknown> | null)?.[method])),
  )
}

export const anApplication: OptionForm<never> = callable('an application, which is a function')
export const aClock: OptionForm<never> = having('a clock', 'now', 'wall', 'after')

/** @param methods those that are called */
export function logger(...methods: readonly ('debug' | 'info' | 'warn' | 'error')[]): OptionForm<never> {
  return having('a logger', ...methods)
}

export function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}

export function isFunction(value: unknown): boolean {
  return typeof value === 'function'
}
