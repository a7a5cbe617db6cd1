/**
 * Converts an environ to the fields of a REQUEST frame and back (docs/contract.md, *The environ*). Only strings are
 * sent to another process; header lines are sent unchanged. It knows no frames.
 */

import type { Environ } from '../contract/application.ts'
import { cgiVariableNames, GATEWAY_INTERFACE, isReservedVariable, SERVER_SOFTWARE } from '../contract/cgi-variables.ts'
import { peerError } from '../contract/coded-errors.ts'
import { Context } from '../contract/context.ts'
import { finish, type ProcessFacts, setVariable, Variables } from '../contract/environ.ts'

import { headerVariable, joined, variableOf } from '../contract/request-headers.ts'

/**
 * Builds the environ of a REQUEST frame: the reverse of `variablesForWire`.
 *
 * @param variables flat; the variables that are no headers, and each `HTTP_*` that differs from its header lines
 * @param lines flat; raw header lines
 * @throws RemoteProtocolError (400) if a variable has a reserved name or a required variable is missing
 * @example
 * ```ts
 * import { type Environ } from 'gantry'
 * import { environFromWire, variablesForWire } from 'gantry/protocol'
 *
 * export function copyOf(environ: Environ): Environ {
 *   const { variables, rawHeaders } = variablesForWire(environ)
 *   return environFromWire(variables, rawHeaders, { multithread: false, multiprocess: true, runOnce: false })
 * }
 * ```
 */
export function environFromWire(variables: string[], lines: string[], process: ProcessFacts): Environ {
  const environ = new Variables(process)
  for (let at = 0; at < variables.length; at += 2) setVariable(environ, variables[at]!, variables[at + 1]!)
  let upgrade = false
  for (let at = 0; at < lines.length; at += 2) {
    const name = lines[at]!
    const variable = variableOf(name)
    if (variable === '') {
      // Of the hop-by-hop headers only Upgrade and Connection are sent. Others are a peer's mistake and are ignored.
      const lower = name.toLowerCase()
      if (lower !== 'upgrade' && lower !== 'connection') continue
      upgrade ||= lower === 'upgrade'
      const own = lower === 'upgrade' ? 'HTTP_UPGRADE' : 'HTTP_CONNECTION'
      const before = environ[own] as string | undefined
      environ[own] = before === undefined ? lines[at + 1]! : joined('', before, lines[at + 1]!)
      continue
    }
    const before = environ[variable] as string | undefined
    environ[variable] = before === undefined ? lines[at + 1]! : joined(variable, before, lines[at + 1]!)
  }
  if (!upgrade) delete environ['HTTP_CONNECTION']
  for (const name of REQUIRED) {
    if (environ[name] === undefined)
      throw peerError('MISSING_VARIABLE', `received a request without the variable ${name}`)
  }
  environ.REQUEST_URI ??= ''
  environ.SERVER_SOFTWARE = SERVER_SOFTWARE
  return finish(environ, environ.REQUEST_SCHEME === 'https' ? 'https' : 'http', lines)
}

/** What a peer must send. */
const REQUIRED: readonly string[] = cgiVariableNames(({ presence }) => presence === 'required')

/** The fields of a REQUEST frame. */
export interface WireEnviron {
  variables: string[]
  rawHeaders: string[]
}

/**
 * Returns the parts of an environ that are sent to another process: its strings, except `wsgi.*` and `gantry`, and its
 * header lines. The lines are those of `environ.gantry`, if they agree with `HTTP_*`: middleware may have changed a
 * variable, and the variable has precedence.
 *
 * @throws TypeError if a value is no string; the message names its key
 * @example
 * ```ts
 * import { type Application } from 'gantry'
 * import { variablesForWire } from 'gantry/protocol'
 *
 * export const application: Application = (environ, startResponse) => {
 *   startResponse('200 OK', [['Content-Type', 'application/json']])
 *   return [Buffer.from(JSON.stringify(variablesForWire(environ)))]
 * }
 * ```
 */
export function variablesForWire(environ: Environ): WireEnviron {
  const lines = environ.gantry instanceof Context ? environ.gantry.lines : []
  const variables: string[] = []
  let headers = 0
  // The variables are nearly always in the order of their lines, so that one loop can compare them.
  let line = 0
  for (const key in environ) {
    const value = environ[key]
    if (value === undefined || isReservedVariable(key)) continue
    if (typeof value !== 'string') throw notText(key, value)
    if (isHeader(key)) {
      headers++
      if (value === lines[line + 1] && key === wireVariable(lines[line]!)) line += 2
    } else if (key === '') throw new TypeError('environ[""] cannot be sent to another process: a variable needs a name')
    else if (!isImplied(key, value)) variables.push(key, value)
  }
  const same = (line === lines.length && headers * 2 === line) || agree(environ, lines, headers)
  return { variables, rawHeaders: same ? lines : reconcile(environ, lines, variables) }
}

/** Whether there is one line for each header variable, with the same value. @param headers count of header variables */
function agree(environ: Environ, lines: string[], headers: number): boolean {
  if (lines.length !== headers * 2) return false
  for (let at = 0; at < lines.length; at += 2) {
    if (environ[wireVariable(lines[at]!)] !== lines[at + 1]) return false
  }
  return true
}

function wireVariable(name: string): string {
  const variable = variableOf(name)
  if (variable !== '') return variable
  const lower = name.toLowerCase()
  return lower === 'upgrade' || lower === 'connection' ? headerVariable(name) : ''
}

/** Returns the lines that agree with the variables, and adds the variables that no line has to `variables`. */
function reconcile(environ: Environ, lines: string[], variables: string[]): string[] {
  const fromLines: Map<string, string> = new Map()
  for (let at = 0; at < lines.length; at += 2) {
    const variable = wireVariable(lines[at]!)
    const before = fromLines.get(variable)
    fromLines.set(variable, before === undefined ? lines[at + 1]! : joined(variable, before, lines[at + 1]!))
  }
  const kept: string[] = []
  for (let at = 0; at < lines.length; at += 2) {
    const variable = wireVariable(lines[at]!)
    if (fromLines.get(variable) === environ[variable]) kept.push(lines[at]!, lines[at + 1]!)
  }
  for (const key in environ) {
    if (!isHeader(key)) continue
    if (environ[key] !== undefined && fromLines.get(key) !== environ[key]) variables.push(key, environ[key] as string)
  }
  return kept
}

/** Whether `environFromWire` sets this value in any case. */
function isImplied(key: string, value: string): boolean {
  return key === 'SERVER_SOFTWARE' || (key === 'GATEWAY_INTERFACE' && value === GATEWAY_INTERFACE)
}

/** Whether a variable holds a request header. (The first letter is compared first, as in `isOwn`, for speed.) */
function isHeader(key: string): boolean {
  const letter = key.charCodeAt(0)
  if (letter === 0x48) return key.startsWith('HTTP_')
  return letter === 0x43 && (key === 'CONTENT_TYPE' || key === 'CONTENT_LENGTH')
}

function notText(key: string, value: unknown): TypeError {
  return new TypeError(
    `environ[${JSON.stringify(key)}] cannot be sent to another process: expected a string, got ${
      value === null ? 'null' : typeof value
    }. Set it in the process that uses it, or delete it.`,
  )
}
