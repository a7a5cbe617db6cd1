/** The text of one option as its value, or an error that says what was expected. */

import { TrustedPeers } from '../client/peers.ts'
import { AddressError, type AddressKind, addressForms, parseAddress, withoutCredentials } from '../net/address.ts'
import { nearest } from './nearest.ts'
import { type Option, OptionError } from './option-table.ts'

/** The expected form of a value, for messages. */
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
      return `a duration such as 250ms, 10s, 5m or 1h${option.minimum === undefined ? '' : ` of at least ${option.minimum}ms`}${option.unlimited ? ', or none' : ''}`
    case 'size':
      return `a size such as 1024, 64KiB or 1MiB${range(option.minimum, option.maximum)}${option.unlimited ? ', or none' : ''}`
    case 'mode':
      return 'permissions in octal such as 660'
    case 'choice':
      return `${option.list ? 'any of' : 'one of'} ${option.choices.join(', ')}`
    case 'address':
      return option.forms.map((form) => addressForms[form]).join(', ')
    case 'peers':
      return 'addresses, CIDR ranges, or words such as loopback and private'
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

export function convertAll(label: string, option: Option, texts: readonly string[]): unknown {
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

/** The value; undefined if the text is invalid. */
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
// In Node, as in browsers, a timer of more than 2^31-1 ms fires immediately.
const LONGEST_DURATION = 2 ** 31 - 1

/**
 * Parses `250ms`, `10s`, `1.5s`, `5m`, `1h`, `0`. @returns milliseconds, at most 2^31 - 1 (24 days); undefined if the
 * text is invalid
 */
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

/**
 * Parses `1024`, `64KiB`, `1.5MiB`, `1GiB`. @returns bytes; undefined if the text is invalid. `64KB` and `64k` are
 * ambiguous, so they are invalid
 */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)(B|KiB|MiB|GiB|TiB|)$/.exec(text)
  if (!match) return undefined
  const bytes = Number(match[1]) * sizes[match[2]!]!
  return Number.isSafeInteger(bytes) ? bytes : undefined
}
