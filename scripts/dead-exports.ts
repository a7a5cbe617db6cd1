/**
 * Lists exports of the sources that no other file imports: `node scripts/dead-exports.ts`. Exits 1 if there are any.
 */

import { globSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'

const root = join(import.meta.dirname, '..')
const SOURCES = '{cli,container,dev,interfaces,middleware,pool,process,protocol,proxy}/**/*.ts'
/** Files that may use an export of the sources. */
const USERS = [SOURCES, 'index.ts', '{bench,deploy,examples,scripts,test}/**/*.ts']

const DECLARED =
  /^export (?:declare |default |async |abstract )*(?:interface|type|const|let|function\*?|class|enum) (\w+)/gm
const LISTED = /^export (?:type )?\{([^}]*)\}(?: from '([^']+)')?/gm
const IMPORTED = /\bimport (?:type )?(?:\w+,? ?)?\{([^}]*)\} from '(\.[^']+)'/g
/** `import * as`, `export *`, `import('…')`, a worker's file, and a module that a child process loads. */
const WHOLE = /(?:\* (?:as \w+ )?from |import\(|new URL\()'(\.[^']+)'|repositoryFile\('([^']+\.ts)'\)/g

/** The names of `{ a, type b as c }` as the other file has them. */
function names(list: string): string[] {
  return list
    .split(',')
    .map((name) =>
      name
        .trim()
        .replace(/^type /, '')
        .replace(/ as .*$/, ''),
    )
    .filter((name) => name !== '')
}

function files(pattern: string | readonly string[]): string[] {
  const exclude = (path: string): boolean => /(?:^|\/)(?:node_modules|installed|dist)(?:\/|$)/.test(path)
  return globSync(pattern, { cwd: root, exclude }).map(normalize).sort()
}

/** `FILE: NAME` for each export that nothing imports. */
export function deadExports(): string[] {
  const used: Set<string> = new Set()
  /** Files of which every export counts as used. */
  const whole: Set<string> = new Set(files('{cli/gantry,*/index,index}.ts'))
  for (const user of files(USERS)) {
    const text = readFileSync(join(root, user), 'utf8')
    const resolve = (path: string): string => normalize(join(dirname(user), path))
    for (const [, list = '', from = ''] of text.matchAll(IMPORTED))
      for (const name of names(list)) used.add(`${resolve(from)}: ${name}`)
    for (const [, list = '', from] of text.matchAll(LISTED))
      if (from !== undefined) for (const name of names(list)) used.add(`${resolve(from)}: ${name}`)
    for (const [, relative, absolute] of text.matchAll(WHOLE)) whole.add(relative ? resolve(relative) : absolute!)
  }
  return files(SOURCES).flatMap((file) => {
    if (whole.has(file)) return []
    const text = readFileSync(join(root, file), 'utf8')
    const exported = [...text.matchAll(DECLARED)].map(([, name]) => name!)
    for (const [, list = '', from] of text.matchAll(LISTED)) if (from === undefined) exported.push(...names(list))
    return exported.map((name) => `${file}: ${name}`).filter((entry) => !used.has(entry))
  })
}

if (import.meta.main) {
  const dead = deadExports()
  for (const entry of dead) console.log(entry)
  if (dead.length > 0) {
    console.error(`${dead.length} exports that no other file imports: remove the export, or the code`)
    process.exitCode = 1
  }
}
