/**
 * Finds the log lines that the sources can write: each call of a logger, with its message and the names of its fields.
 */

import { globSync, readFileSync } from 'node:fs'
import { repositoryFile } from '../support/child.ts'

export interface LogCall {
  readonly file: string
  readonly line: number
  /** Literal messages, `…` in the place of what is put into them; none if a variable is passed on. */
  readonly messages: readonly string[]
  readonly fields: readonly string[]
}

/** Everything that runs in a server. */
export function sources(): string[] {
  const root = repositoryFile('')
  const folders = globSync('{cli,container,dev,interfaces,middleware,pool,process,protocol,proxy}/**/*.ts', {
    cwd: root,
  })
  return folders.sort()
}

/** A method of a logger, and the functions of this repository that take a message and pass it to one. */
const CALL =
  /(?:\blog(?:\([\w.]*\))?(?:\.(?:debug|info|warn|error)|\[[^\]\n]+\])|#(?:complain|logFailure)|\bwarn(?=\(environ, log, ))\(/g

export function logCalls(file: string): LogCall[] {
  const text = readFileSync(repositoryFile(file), 'utf8')
  const calls: LogCall[] = []
  for (const match of text.matchAll(CALL)) {
    const start = match.index + match[0].length
    const parts = split(text, start)
    // A declaration of such a function, or a call in a comment.
    if (parts.length === 0 || /^\s*(?:\*|\/\/)/.test(lineOf(text, match.index))) continue
    const isMethod = match[0].startsWith('log')
    const isWarn = match[0] === 'warn('
    const message = isMethod ? parts.at(-1)! : (parts.find((part) => /^['"`]|\?\s*['"`]/.test(part)) ?? '')
    calls.push({
      file,
      line: text.slice(0, match.index).split('\n').length,
      messages: literals(resolved(message, text, match.index)),
      fields: isMethod || isWarn ? keys(resolved(parts[isWarn ? 2 : 0]!, text, match.index)) : [],
    })
  }
  // Lines that are written without a logger.
  for (const match of text.matchAll(/\bmsg: (?=['"`])/g)) {
    const [message = ''] = split(`${text.slice(match.index + match[0].length)}`, 0)
    calls.push({ file, line: text.slice(0, match.index).split('\n').length, messages: literals(message), fields: [] })
  }
  return calls
}

/** The codes that `file` gives to errors, refusals and log lines; not those of Node and the operating system. */
export function codesIn(file: string): string[] {
  const text = readFileSync(repositoryFile(file), 'utf8').replace(/\/\*\*[\s\S]*?\*\//g, '')
  const given =
    /(?:\b(?:refuse|fail|unavailable|statusOf|abortExchange|\w*[eE]rror)\(\s*|\bcode(?:: \w+)? ?[:=] )'([A-Z][A-Z_0-9]+)'/g
  return [...text.matchAll(given)]
    .map((match) => match[1]!)
    .filter((code) => !/^E(?:RR_|[A-Z0-9]+$)/.test(code) || code === 'ENDED')
}

function lineOf(text: string, at: number): string {
  return text.slice(text.lastIndexOf('\n', at) + 1, text.indexOf('\n', at))
}

/** A constant's value, where `part` is the name of one that was declared before it. */
function resolved(part: string, text: string, before: number): string {
  if (!/^\w+$/.test(part)) return part
  const declaration = new RegExp(`const ${part}(?:: [\\w<>, ]+)? =\\s*`, 'g')
  const found = [...text.slice(0, before).matchAll(declaration)].at(-1)
  if (!found) return part
  const start = found.index + found[0].length
  const end = text.slice(start).search(/\n {0,8}(?:const|let|if|else|for|return|this|\w+\.|}|\/\/|\()/)
  return text.slice(start, end === -1 ? undefined : start + end)
}

/** The arguments of a call whose parenthesis opens before `start`. */
function split(text: string, start: number): string[] {
  const parts: string[] = []
  let depth = 0
  let from = start
  for (let at = start; at < text.length; at++) {
    const character = text[at]!
    if (character === "'" || character === '"' || character === '`') at = endOfLiteral(text, at)
    else if ('([{'.includes(character)) depth++
    else if (depth > 0 && ')]}'.includes(character)) depth--
    else if (character === ')' || (character === ',' && depth === 0)) {
      const part = text.slice(from, at).trim()
      if (part !== '') parts.push(part)
      from = at + 1
      if (character === ')') return parts
    }
  }
  return parts
}

/** Where the literal that begins at `at` ends. */
function endOfLiteral(text: string, at: number): number {
  const quote = text[at]
  for (let end = at + 1; end < text.length; end++) {
    if (text[end] === '\\') end++
    else if (text[end] === quote) return end
    else if (quote === '`' && text.startsWith('${', end)) end = endOfHole(text, end + 2)
  }
  return text.length
}

function endOfHole(text: string, from: number): number {
  let depth = 1
  for (let at = from; at < text.length; at++) {
    const character = text[at]!
    if (character === "'" || character === '"' || character === '`') at = endOfLiteral(text, at)
    else if (character === '{') depth++
    else if (character === '}' && --depth === 0) return at
  }
  return text.length
}

/** The string literals of an expression, without those that are compared with something. */
function literals(text: string): string[] {
  const found: string[] = []
  for (let at = 0; at < text.length; at++) {
    if (text[at] !== "'" && text[at] !== '"' && text[at] !== '`') continue
    const end = endOfLiteral(text, at)
    const compared = /[=!]==\s*$/.test(text.slice(0, at))
    if (!compared) found.push(plain(text.slice(at + 1, end)))
    at = end
  }
  return found
}

function plain(literal: string): string {
  let text = ''
  for (let at = 0; at < literal.length; at++) {
    if (literal[at] === '\\') text += literal[++at]
    else if (literal.startsWith('${', at)) {
      text += '…'
      at = endOfHole(literal, at + 2)
    } else text += literal[at]
  }
  return text
}

/** The names in an object literal, without those that are spread into it. */
function keys(text: string): string[] {
  const inside = /^\{([\s\S]*)\}$/.exec(text.trim())?.[1]
  if (inside === undefined) return []
  return split(`${inside})`, 0)
    .map((part) => /^(\w+)\s*(?::|$)/.exec(part.replace(/^\/\/.*\n/, '').trim())?.[1])
    .filter((name) => name !== undefined)
}

/** The members of an interface. */
export function membersOf(file: string, name: string): string[] {
  const text = readFileSync(repositoryFile(file), 'utf8')
  const body = new RegExp(`export interface ${name} \\{\\n([\\s\\S]*?)\\n\\}`).exec(text)?.[1]
  if (body === undefined) throw new Error(`${file} declares no interface ${name}`)
  return [...body.matchAll(/^ {2}(?:readonly )?(\w+)\??:/gm)].map((match) => match[1]!)
}
