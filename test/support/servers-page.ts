/** The configuration blocks of docs/servers.md: the tests use exactly these lines. */

import { readFileSync } from 'node:fs'
import { repositoryFile } from './child.ts'

/**
 * The lines of a code block.
 *
 * @param language as the fence has it
 * @param index of several blocks of that language
 * @param port takes the place of the page's
 */
export function directivesOf(language: string, index: number, port: number): string[] {
  const page = readFileSync(repositoryFile('docs/servers.md'), 'utf8')
  const block = [...page.matchAll(/```(\w+)\n([\s\S]*?)```/g)].filter(([, name]) => name === language)[index]?.[2]
  if (block === undefined) throw new Error(`docs/servers.md has no block ${index} of ${language}`)
  return block.replaceAll('127.0.0.1:8000', `127.0.0.1:${port}`).trim().split('\n')
}
