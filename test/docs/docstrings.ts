/** Reads the docstrings of what the package's entry points export: the text, and the code of each `@example`. */

import { readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { repositoryFile } from '../support/child.ts'

export const ENTRIES: readonly string[] = [
  'index.ts',
  'protocol/index.ts',
  'container/index.ts',
  'proxy/index.ts',
  'middleware/index.ts',
]

export interface Docstring {
  /** The file of the declaration. */
  readonly file: string
  readonly line: number
  /** The declared name; of a member of a class or interface, the member's name. */
  readonly name: string
  readonly text: string
}

export interface Example {
  readonly docstring: Docstring
  readonly code: string
}

export interface Exported {
  readonly name: string
  readonly file: string
}

/**
 * The names that the entry points export, each once; a file that is exported as a whole (`export *`) has the name `*`.
 */
export function exported(): Exported[] {
  const found = new Map<string, Exported>()
  for (const entry of ENTRIES) {
    const source = readFileSync(repositoryFile(entry), 'utf8')
    for (const [, names, from] of source.matchAll(/export (?:type )?(\*|\{[^}]*\}) from '([^']+)'/g)) {
      const file = normalize(join(dirname(entry), from!))
      for (const part of names!.replace(/[{}]/g, '').split(',')) {
        // `rules as contractRules` is declared as `rules`.
        const name = part
          .trim()
          .replace(/^type /, '')
          .replace(/ as .*$/, '')
        if (name !== '') found.set(`${file} ${name}`, declarationOf(file, name))
      }
    }
  }
  return [...found.values()]
}

/** Where `name` is declared, and under which name: `file` may only re-export it. */
function declarationOf(file: string, name: string): Exported {
  const source = readFileSync(repositoryFile(file), 'utf8')
  for (const [, names, from] of source.matchAll(/export (?:type )?\{([^}]*)\} from '([^']+)'/g)) {
    const declared = names!.split(',').map((part) => /(\w+)(?: as (\w+))?\s*$/.exec(part) ?? [])
    const found = declared.find(([, own, renamed]) => (renamed ?? own) === name)
    if (found) return { name: found[1]!, file: normalize(join(dirname(file), from!)) }
  }
  return { name, file }
}

/** Every docstring of a file. */
export function docstringsOf(file: string): Docstring[] {
  const source = readFileSync(repositoryFile(file), 'utf8')
  return [...source.matchAll(/\/\*\*((?:(?!\*\/)[\s\S])*)\*\/(?=\s*(.*))/g)].map((match) => ({
    file,
    line: source.slice(0, match.index).split('\n').length,
    name:
      /(?:function\*?|class|interface|type|const|let)\s+(\w+)/.exec(match[2]!)?.[1] ??
      /(\w+)\s*[?(:<]/.exec(match[2]!)?.[1] ??
      '',
    text: match[1]!
      .split('\n')
      .map((line) => line.replace(/^\s*\* ?/, ''))
      .join('\n')
      .trim(),
  }))
}

/** The docstring of a declaration; undefined if it has none. */
export function docstringOf({ file, name }: Exported): Docstring | undefined {
  const source = readFileSync(repositoryFile(file), 'utf8').split('\n')
  const declaration = new RegExp(`^export (?:declare )?(?:abstract )?(?:async )?[a-z]+\\*? ${name}\\b`)
  const at = source.findIndex((line) => declaration.test(line))
  return docstringsOf(file).find((one) => {
    const lines = one.text.split('\n').length
    return one.name === name && at > one.line - 2 && at <= one.line + lines + 2
  })
}

/** Whether `name` is a function that users call. */
export function isFunction({ file, name }: Exported): boolean {
  const source = readFileSync(repositoryFile(file), 'utf8')
  return new RegExp(`^export (?:async )?function\\*? ${name}\\b`, 'm').test(source)
}

/** Every `@example` of the files that the entry points export from. */
export function examples(): Example[] {
  const files = [...new Set(exported().map(({ file }) => file))].sort()
  return files.flatMap(docstringsOf).flatMap((docstring) => {
    const [, ...tags] = docstring.text.split(/^@(?=example\b)/m)
    return tags.map((tag) => {
      const [, code] = /^example[^\n]*\n```ts\n([\s\S]*?)\n```\s*(?:$|\n@)/.exec(tag) ?? []
      return { docstring, code: code ?? '' }
    })
  })
}
