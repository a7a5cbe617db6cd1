/**
 * An environ across processes: what a REQUEST frame carries of it, and the environ of a REQUEST frame (docs/contract.md, *The environ*).
 * Strings cross; header lines cross as they came. It knows no frames.
 */

import type { Environ } from '../contract/application.ts'
import { peerError } from '../contract/coded-errors.ts'
import { Context } from '../contract/context.ts'
import { finish, type ProcessFacts, setVariable, Variables } from '../contract/environ.ts'
import { GATEWAY_INTERFACE, isOwn, SERVER_SOFTWARE } from '../contract/own-variables.ts'
import { headerVariable, joined, variableOf } from '../contract/request-headers.ts'

/**
 * The environ of a REQUEST frame: the reverse of `variablesForWire`.
 *
 * @param variables flat; all that is no header, and `HTTP_*` that differ from what the lines say
 * @param lines flat; raw header lines
 * @throws RemoteProtocolError (400) for a reserved key or a missing one
 */
export function environFromWire(variables: string[], lines: string[], process: ProcessFacts): Environ {
  const environ = new Variables(process)
  for (let at = 0; at < variables.length; at += 2) setVariable(environ, variables[at]!, variables[at + 1]!)
  let upgrade = false
  for (let at = 0; at < lines.length; at += 2) {
    const name = lines[at]!
    const variable = variableOf(name)
    if (variable === '') {
      // Only an upgrade's pair crosses; anything else of this kind is a peer's mistake and is left out.
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

const REQUIRED = [
  'REQUEST_METHOD',
  'SCRIPT_NAME',
  'PATH_INFO',
  'QUERY_STRING',
  'SERVER_NAME',
  'SERVER_PORT',
  'SERVER_PROTOCOL',
] as const

/** What a REQUEST frame carries of an environ. */
export interface WireEnviron {
  variables: string[]
  rawHeaders: string[]
}

/**
 * What crosses to another process: the environ's strings outside `wsgi.*` and `gantry`, header lines apart.
 *
 * The lines are those that `environ.gantry` holds, as far as they still say what `HTTP_*` say: middleware may have set a
 * variable by hand, and the variable is what counts.
 *
 * @throws TypeError for a value of another type, naming its key
 */
export function variablesForWire(environ: Environ): WireEnviron {
  const lines = environ.gantry instanceof Context ? environ.gantry.lines : []
  const variables: string[] = []
  let headers = 0
  // Nearly always the variables are in the order of their lines, and one walk sees that they say the same.
  let line = 0
  for (const key in environ) {
    const value = environ[key]
    if (value === undefined || isOwn(key)) continue
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

/** Whether there is one line for each of so many header variables, and it says what the variable says. */
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

/** The lines that still agree with the variables; variables that no lines give are added to `variables`. */
function reconcile(environ: Environ, lines: string[], variables: string[]): string[] {
  const said: Map<string, string> = new Map()
  for (let at = 0; at < lines.length; at += 2) {
    const variable = wireVariable(lines[at]!)
    const before = said.get(variable)
    said.set(variable, before === undefined ? lines[at + 1]! : joined(variable, before, lines[at + 1]!))
  }
  const kept: string[] = []
  for (let at = 0; at < lines.length; at += 2) {
    const variable = wireVariable(lines[at]!)
    if (said.get(variable) === environ[variable]) kept.push(lines[at]!, lines[at + 1]!)
  }
  for (const key in environ) {
    if (!isHeader(key)) continue
    if (environ[key] !== undefined && said.get(key) !== environ[key]) variables.push(key, environ[key] as string)
  }
  return kept
}

/** Whether `environFromWire` sets it to that, whatever comes. */
function isImplied(key: string, value: string): boolean {
  return key === 'SERVER_SOFTWARE' || (key === 'GATEWAY_INTERFACE' && value === GATEWAY_INTERFACE)
}

/** Whether a variable says what a request header said. (As in `isOwn`, the first letter first.) */
function isHeader(key: string): boolean {
  const letter = key.charCodeAt(0)
  if (letter === 0x48) return key.startsWith('HTTP_')
  return letter === 0x43 && (key === 'CONTENT_TYPE' || key === 'CONTENT_LENGTH')
}

function notText(key: string, value: unknown): TypeError {
  return new TypeError(
    `environ[${JSON.stringify(key)}] cannot cross to another process: only strings do, and this is ${
      value === null ? 'null' : typeof value
    }. Set it in the process that uses it, or delete it.`,
  )
}
